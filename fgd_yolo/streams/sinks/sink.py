"""What every place for results promises, and how it says that the other side does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fgd_yolo.errors import FGDError

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result


class SinkUnavailable(FGDError):
    """What a sink raises while the other side does not answer: counted, but it may come back, however late."""


class Sink(Protocol):
    """A place for results. `name` is for people; every method is called by one thread, its queue's.

    `write` may block and may raise; it returns False where it had nothing to do with a result, and never else. `gap`
    says that a stream stopped for a while, so that what follows does not continue what was before. After `close`
    nothing is called.
    """

    name: str

    def write(self, result: Result) -> bool | None: ...

    def gap(self, stream: str, reason: str) -> None: ...

    def close(self) -> None: ...
