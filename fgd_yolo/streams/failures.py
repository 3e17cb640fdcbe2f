"""When the detector fails on a frame: say each kind once, and know when to give up."""

from __future__ import annotations

import threading

from fgd_yolo.errors import FGDError, whole_line
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.say import say
from fgd_yolo.text import shortened

LIMIT = 100  # in a row, over all streams: no bad picture does that, the detector itself is at fault


class Failures:
    """Counts frames in a row on which the detector failed. Any thread may report."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._said: set[type] = set()

    def went_well(self) -> None:
        """A frame went through."""
        self._in_a_row = 0  # one store, which needs no lock: this is called for every frame

    def note(self, stream: str, error: Exception) -> FGDError | None:
        """A frame failed; return the error to stop with when that has happened too often in a row."""
        kind, text = type(error), shortened(redact(whole_line(error)))
        with self._lock:
            self._in_a_row += 1
            reached = self._in_a_row == LIMIT
            new = kind not in self._said
            self._said.add(kind)
        if new:
            say(stream, f"a frame is dropped, {kind.__name__}: {text} (counted; not said again)")
        if not reached:
            return None
        return FGDError(f"the detector failed on {LIMIT} frames in a row: {text}; try the model with fgd-yolo predict")
