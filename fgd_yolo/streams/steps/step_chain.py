"""What is added to every result before the sinks see it, such as track ids; no such step can break a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fgd_yolo.errors import whole_line
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.say import say

_RAISED = (Exception, SystemExit)  # a step's sys.exit() too: it would end a lane in silence


class StepChain:
    """Functions that complete a result in place, called one after the other and in the order of a stream's frames.

    Different streams may call at the same time. A step that raises leaves the result as it is, and is said once per
    kind.

    Args:
        steps: functions; one that has a `gap(stream, reason)` hears of gaps too.
    """

    def __init__(self, steps: Sequence[Callable[[Result], object]] = ()):
        self._steps = steps
        self._said: set[type] = set()

    def __call__(self, result: Result) -> None:
        """Complete a result."""
        for step in self._steps:
            try:
                step(result)
            except _RAISED as error:
                self._report(result.frame.stream, step, error)

    def gap(self, stream: str, reason: str) -> None:
        """Tell the steps that frames of a stream are missing here."""
        for step in self._steps:
            try:
                getattr(step, "gap", _nothing)(stream, reason)
            except _RAISED as error:
                self._report(stream, step, error)

    def _report(self, stream: str, step: Callable[[Result], object], error: BaseException) -> None:
        if type(error) not in self._said:
            self._said.add(type(error))
            name = getattr(step, "__name__", type(step).__name__)
            say(stream, f"{name} failed, {type(error).__name__}: {whole_line(error)} (not said again)")


def _nothing(*_: str) -> None:
    """A plain function does not care for gaps."""
