"""Give results back in the order in which their frames were taken, although lanes overtake each other."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Order(Generic[Item]):
    """The frames of one stream that are on their way through the lanes. Not locked: its owner does that.

    Args:
        limit: so many may be on their way, finished ones behind a slow one included.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._next_ticket = self._next_due = 0
        self._finished: dict[int, Item | None] = {}

    def __len__(self) -> int:
        return self._next_ticket - self._next_due

    @property
    def full(self) -> bool:
        """Whether no more may start for now."""
        return len(self) >= self._limit

    @property
    def began(self) -> bool:
        """Whether any has started yet."""
        return self._next_ticket > 0

    def start(self) -> int:
        """Return the ticket of a frame that starts."""
        self._next_ticket += 1
        return self._next_ticket - 1

    def waits_for(self, ticket: int) -> bool:
        """Say whether a ticket is still to be finished; after `abandon` none is."""
        return self._next_due <= ticket < self._next_ticket and ticket not in self._finished

    def finish(self, ticket: int, item: Item | None) -> None:
        """Hand in what came of a ticket, None if nothing did."""
        self._finished[ticket] = item

    def due(self) -> Item | None:
        """Return what is to be given out now, None if nothing is; it counts as on its way until `done`."""
        while self._next_due in self._finished:
            if self._finished[self._next_due] is not None:
                return self._finished[self._next_due]
            self.done()
        return None

    def done(self) -> None:
        """What was due was given out."""
        del self._finished[self._next_due]
        self._next_due += 1

    def abandon(self) -> int:
        """Wait for no ticket any more and return how many were still to be finished."""
        missing = [ticket for ticket in range(self._next_due, self._next_ticket) if ticket not in self._finished]
        self._finished.update(dict.fromkeys(missing))
        return len(missing)
