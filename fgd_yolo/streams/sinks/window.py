"""A sink that shows each stream in a window, on a machine with a screen."""

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
    from fgd_yolo.streams.stream_options import RunOptions

_PROBE_TIMEOUT_S = 20
_QUIT_KEYS = (ord("q"), 27)


class WindowSink:
    """Shows each stream in a window titled with its name; q or Escape closes all windows for good.

    Args:
        on_quit: called once when one of these keys is pressed.
    Raises:
        FGDError: there is no screen, or OpenCV was built without windows.
    """

    name = "window"

    def __init__(self, on_quit: Callable[[], object] | None = None):
        _check_screen()
        self._on_quit, self._is_open = on_quit, True

    @classmethod
    def from_options(cls, options: RunOptions, stop_run: Callable[[], object]) -> WindowSink:
        """Open the windows of `--show`; closing them ends the run."""
        return cls(stop_run)

    def write(self, result: Result) -> bool | None:
        """Show the frame with its detections; return False once the windows are closed."""
        if not self._is_open:
            return False
        cv2.imshow(result.frame.stream, overlay(result))
        if cv2.waitKey(1) & 0xFF in _QUIT_KEYS:
            self.close()
            if self._on_quit:
                self._on_quit()
        return None

    def gap(self, stream: str, reason: str) -> None:
        """Keep the last frame on screen: its clock stops."""

    def close(self) -> None:
        """Close the windows."""
        if self._is_open:
            self._is_open = False
            cv2.destroyAllWindows()


def _check_screen() -> None:
    # Without a screen OpenCV's GUI library aborts the whole process, so a child process tries first.
    probe = [sys.executable, "-c", "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"]
    try:
        opened = subprocess.run(probe, capture_output=True, timeout=_PROBE_TIMEOUT_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        opened = False
    if not opened:
        advice = "view the streams with --web or record them with --save"
        raise FGDError(f"no window can be opened: there is no screen, or OpenCV has no GUI support; {advice}")
