"""The interface of a sink, and the error of a sink whose peer does not respond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fgd_yolo.errors import FGDError

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result


class SinkUnavailable(FGDError):
    """The other side of a sink does not respond. It may come back, so such failures never disable the sink."""


class SinkStopped(FGDError):
    """A sink takes no more results for the rest of the run; the message, which is printed once, says why.

    Args:
        message: why, and what to do.
        failed: whether results are missing because of it; otherwise the sink has what it was to get.
    """

    def __init__(self, message: str, *, failed: bool):
        super().__init__(message)
        self.failed = failed


class Sink(Protocol):
    """A destination of results. Every method is called from one thread, that of the sink's queue.

    `name` identifies the sink in messages and must not contain secrets. `write` may block and may raise; it returns
    False if the sink skips the result, such as a webhook one without objects, and in no other case. `gap` says that
    frames of a stream are missing here: what follows does not continue what came before. Nothing is called after
    `close`. A sink may also have `details`, which any thread may call: it returns entries for the sink's statistics.
    """

    name: str

    def write(self, result: Result) -> bool | None: ...

    def gap(self, stream: str, reason: str) -> None: ...

    def close(self) -> None: ...
