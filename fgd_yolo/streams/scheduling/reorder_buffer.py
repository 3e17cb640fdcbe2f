"""Returns results in the order in which their frames were taken, although workers overtake each other."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReorderBuffer(Generic[Item]):
    """The frames of one stream that are in flight. Not locked: its owner holds a lock.

    Args:
        limit: the most frames in flight, including finished ones that wait behind a slower one.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._next_ticket = self._next_out = 0
        self._finished: dict[int, Item | None] = {}

    def __len__(self) -> int:
        return self._next_ticket - self._next_out

    @property
    def full(self) -> bool:
        """Whether no further frame may start for now."""
        return len(self) >= self._limit

    @property
    def has_started(self) -> bool:
        """Whether any frame was ever started."""
        return self._next_ticket > 0

    def start(self) -> int:
        """Return a ticket for a frame that starts; tickets are numbered in order."""
        self._next_ticket += 1
        return self._next_ticket - 1

    def is_pending(self, ticket: int) -> bool:
        """Whether a ticket was started and not yet finished or abandoned."""
        return self._next_out <= ticket < self._next_ticket and ticket not in self._finished

    def finish(self, ticket: int, item: Item | None) -> None:
        """Store the result of a ticket, None if there is none."""
        self._finished[ticket] = item

    def peek(self) -> Item | None:
        """Return the result that is next in order, None if it is not finished; it stays in flight until `pop`."""
        while self._next_out in self._finished:
            if self._finished[self._next_out] is not None:
                return self._finished[self._next_out]
            self.pop()
        return None

    def pop(self) -> None:
        """Remove the result that `peek` returned."""
        del self._finished[self._next_out]
        self._next_out += 1

    def abandon(self) -> int:
        """Give up all pending tickets and return how many there were."""
        missing = [ticket for ticket in range(self._next_out, self._next_ticket) if ticket not in self._finished]
        self._finished.update(dict.fromkeys(missing))
        return len(missing)
