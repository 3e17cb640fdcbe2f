"""One stream inside a pipeline: where its frames wait, where they are on their way, and where its results go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fgd_yolo.streams.address import redact
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.mailbox import Mailbox
from fgd_yolo.streams.order import Order
from fgd_yolo.streams.policy import Policy
from fgd_yolo.streams.stats import StreamStats
from fgd_yolo.streams.steps import Steps

if TYPE_CHECKING:
    from fgd_yolo.streams.reader import Reader
    from fgd_yolo.streams.sinks import SinkQueue

_PATIENCE_S = 1.0


class Stream:
    """A named source with its mailbox, order and stats.

    Any thread may call. Nothing here blocks, because sinks have queues.

    Args:
        name: of the stream.
        address: of its source.
        policy: how its frames wait.
        limit: so many of them may be on their way through the lanes.
        lock: the pipeline's.
        on_put: called when a frame waits that may be taken.
        on_settled: called when the stream may be at its end.
        steps: complete every result before the sinks see it.
    """

    def __init__(
        self,
        name: str,
        address: str | int,
        policy: Policy,
        limit: int,
        lock: threading.RLock,
        on_put: Callable[[], object],
        on_settled: Callable[[], object],
        steps: Steps | None = None,
    ):
        self.name, self.address = name, address
        self.stats = StreamStats(name, self._state_changed)
        self.mailbox = Mailbox(policy, self.stats, lock, on_put)
        self.order: Order[Result] = Order(limit)
        self.served = 0  # when a frame was last taken, in turns
        self.reader: Reader | None = None
        self.queues: Sequence[SinkQueue] = ()
        self._lock, self._on_put, self._on_settled = lock, on_put, on_settled
        # Where every frame counts a slow sink slows the stream down; one that is live cannot wait.
        self._patience_s = _PATIENCE_S if policy.name == "every" else 0.0
        self._steps = steps or Steps()
        self._delivering = False
        self._gap: str | None = None
        self._gap_after = -1

    @property
    def waiting(self) -> bool:
        """Whether a lane can take a frame."""
        return len(self.mailbox) > 0 and not self.order.full

    @property
    def ended(self) -> bool:
        """Whether its source has ended and all that came of it was delivered."""
        return self.stats.state == "ENDED" and not self.mailbox and not self.order

    def snapshot(self) -> dict[str, Any]:
        """Return what it is and did, as plain JSON."""
        return {"address": redact(self.address), "policy": str(self.mailbox.policy), **self.stats.snapshot()}

    def finish(self, ticket: int, outcome: Result | None) -> None:
        """Take what a lane made of a frame, None if it failed, and deliver what is next in order."""
        with self._lock:
            if not self.order.waits_for(ticket):  # it was counted as stopped meanwhile
                return
            if outcome is None:
                self.stats.count_dropped("error")
            else:
                self.stats.count_inferred(outcome)
            self.order.finish(ticket, outcome)
        self.settle()

    def abandon(self, cause: str) -> None:
        """Deliver what is finished, and count as dropped what is still on its way."""
        with self._lock:
            self.stats.count_dropped(cause, self.order.abandon())
        self.settle()

    def close(self, cause: str) -> None:
        """Let no more frames in, drop those that wait, and tell the sinks when the last result is delivered."""
        with self._lock:
            self.mailbox.close(cause)
            self._note_gap(cause)
        self.settle()

    def _state_changed(self) -> None:
        with self._lock:
            if self.stats.state in ("DOWN", "ENDED"):
                self._note_gap(self.stats.reason or self.stats.state.lower())
        self.settle()

    def _note_gap(self, reason: str) -> None:
        if self.mailbox.last_index > self._gap_after:
            self._gap, self._gap_after = reason, self.mailbox.last_index

    def settle(self) -> None:
        """Give out what is due, in order, and say so when nothing is left.

        Whoever comes while another thread does it leaves it to that one.
        """
        with self._lock:
            if self._delivering:
                return
            self._delivering = True
        while result := self._next_due():
            self._steps(result)  # outside the lock, because tracking takes its time
            for queue in self.queues:
                queue.put(result, self._patience_s)
            self.stats.count_delivered()
            if not self.queues:
                self.stats.sink_done(result)
            with self._lock:
                was_full = self.order.full
                self.order.done()
                if was_full and self.mailbox:
                    self._on_put()

    def _next_due(self) -> Result | None:
        """Return the next result, behind its gap; or end the delivery, with the gap that is left, and return None."""
        with self._lock:
            result = self.order.due()
            drained = not self.mailbox and not self.order
            if self._gap is not None and (result.frame.index > self._gap_after if result else drained):
                self._steps.gap(self.name, self._gap)
                for queue in self.queues:
                    queue.gap(self.name, self._gap)
                self._gap = None
            if result is None:
                self._delivering = False
                if drained:
                    self._on_settled()
            return result
