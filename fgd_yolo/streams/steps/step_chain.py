"""Functions that complete every result before the sinks see it, such as tracking; none of them can break a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fgd_yolo.errors import error_message
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.log import log

_CAUGHT = (Exception, SystemExit)  # sys.exit() in a step would end a worker silently


class StepChain:
    """Calls functions that complete a result in place, in their order and in the order of a stream's frames.

    Different streams may call at the same time. A step that raises leaves the result as it is; each kind of error is
    reported once.

    Args:
        steps: functions; the method `gap(stream, reason)` of a step, if it has one, is called at every gap.
    """

    def __init__(self, steps: Sequence[Callable[[Result], object]] = ()):
        self._steps = steps
        self._reported: set[type] = set()

    def __call__(self, result: Result) -> None:
        """Complete a result."""
        for step in self._steps:
            try:
                step(result)
            except _CAUGHT as error:
                self._report(result.frame.stream, step, error)

    def gap(self, stream: str, reason: str) -> None:
        """Call the `gap` of every step that has one: frames of a stream are missing here."""
        for step in self._steps:
            try:
                getattr(step, "gap", _ignore)(stream, reason)
            except _CAUGHT as error:
                self._report(stream, step, error)

    def _report(self, stream: str, step: Callable[[Result], object], error: BaseException) -> None:
        if type(error) not in self._reported:
            self._reported.add(type(error))
            name = getattr(step, "__name__", type(step).__name__)
            log(stream, f"{name} failed, {type(error).__name__}: {error_message(error)} (not reported again)")


def _ignore(*_: str) -> None:
    """The `gap` of a plain function."""
