"""Results to a Python function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result


class CallbackSink:
    """Calls a function with every result, in order within a stream, from one thread.

    Args:
        function: gets each result; what it raises is counted and said, and the next result comes all the same.
        on_gap: gets the name of a stream and the reason, where frames are missing.
    """

    def __init__(self, function: Callable[[Result], object], on_gap: Callable[[str, str], object] | None = None):
        self.name = f"callback {getattr(function, '__name__', type(function).__name__)}"
        self._function, self._on_gap = function, on_gap

    def write(self, result: Result) -> None:
        """Call the function."""
        self._function(result)

    def gap(self, stream: str, reason: str) -> None:
        """Call the other function, if there is one."""
        if self._on_gap:
            self._on_gap(stream, reason)

    def close(self) -> None:
        """Nothing is held."""
