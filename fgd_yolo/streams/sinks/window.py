"""Results in a window per stream, on a machine with a screen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.overlay import overlay

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_PROBE_S = 20
_QUIT = (ord("q"), 27)


class WindowSink:
    """Shows each stream in a window of its name; q or Escape closes them all, and nothing is shown after that.

    Args:
        on_quit: is called once when that key was pressed.
    Raises:
        FGDError: there is no screen, or this OpenCV cannot open windows.
    """

    name = "window"

    def __init__(self, on_quit: Callable[[], object] | None = None):
        _check_screen()
        self._on_quit, self._open = on_quit, True

    def write(self, result: Result) -> bool | None:
        """Show the frame with what was found; False once the windows are closed."""
        if not self._open:
            return False
        cv2.imshow(result.frame.stream, overlay(result))
        if cv2.waitKey(1) & 0xFF in _QUIT:
            self.close()
            if self._on_quit:
                self._on_quit()
        return None

    def gap(self, stream: str, reason: str) -> None:
        """The last picture stays: its clock stands still."""

    def close(self) -> None:
        """Close the windows."""
        if self._open:
            self._open = False
            cv2.destroyAllWindows()


def _check_screen() -> None:
    # Without a screen OpenCV's window library ends the whole process, so another one tries.
    attempt = [sys.executable, "-c", "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"]
    try:
        opened = subprocess.run(attempt, capture_output=True, timeout=_PROBE_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        opened = False
    if not opened:
        advice = "look at the streams with --web, or record them with --save"
        raise FGDError(f"no window can be opened: there is no screen, or OpenCV was built without windows; {advice}")
