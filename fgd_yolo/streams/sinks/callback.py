"""A sink that calls a Python function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result


class CallbackSink:
    """Calls a function with every result, from one thread and in each stream's order.

    Args:
        function: takes a result. An exception is counted and reported; later results are still delivered.
        on_gap: called with the stream's name and the reason when frames are missing.
    """

    def __init__(self, function: Callable[[Result], object], on_gap: Callable[[str, str], object] | None = None):
        self.name = f"callback {getattr(function, '__name__', type(function).__name__)}"
        self._function, self._on_gap = function, on_gap

    def write(self, result: Result) -> None:
        """Call the function."""
        self._function(result)

    def gap(self, stream: str, reason: str) -> None:
        """Call `on_gap`, if given."""
        if self._on_gap:
            self._on_gap(stream, reason)

    def close(self) -> None:
        """Do nothing: no resource is held."""
