"""One stream inside a pipeline: where its frames wait, where they are on their way, and where its results go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fgd_yolo.streams.address import show_address
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.scheduling.mailbox import Mailbox
from fgd_yolo.streams.scheduling.policy import Policy
from fgd_yolo.streams.scheduling.reorder import Order
from fgd_yolo.streams.stats import StreamStats
from fgd_yolo.streams.steps.step_chain import StepChain

if TYPE_CHECKING:
    from fgd_yolo.streams.reader import Reader
    from fgd_yolo.streams.sinks import SinkQueue

_PATIENCE_S = 1.0


class Stream:
    """A named source with its mailbox, order and stats.

    Any thread may call. Nothing here blocks, because sinks have queues; where every frame counts and a queue is full, a
    thread of the stream's own waits for it, so that no lane does.

    After `close` its last results and one gap reach the sinks, then `gone` is set, and nothing of it comes any more.

    Args:
        name: of the stream.
        address: of its source.
        policy: how its frames wait.
        limit: so many of them may be on their way through the lanes.
        lock: the pipeline's.
        on_put: called when a frame waits that may be taken.
        on_settled: called when the stream may be at its end.
        steps: complete every result before the sinks see it.
        after: set when an earlier stream of this name is gone; before that no lane takes a frame of this one.
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
        steps: StepChain | None = None,
        after: threading.Event | None = None,
    ):
        self.name, self.address = name, address
        self.stats = StreamStats(name, self._state_changed)
        self.mailbox = Mailbox(policy, self.stats, lock, on_put)
        self.order: Order[Result] = Order(limit)
        self.served = 0  # when a frame was last taken, in turns
        self.reader: Reader | None = None
        self.queues: Sequence[SinkQueue] = ()
        self._lock, self._on_put, self._on_settled = lock, on_put, on_settled
        self.gone = threading.Event()
        # Where every frame counts a slow sink slows the stream down; one that is live cannot wait.
        self._can_wait = policy.name == "every"
        self._steps, self._after = steps or StepChain(), after
        self._closed_as: dict[str, str] | None = None
        self._delivering = False
        self._gap: str | None = None
        self._gap_after = -1

    @property
    def waiting(self) -> bool:
        """Whether a lane can take a frame."""
        return len(self.mailbox) > 0 and not self.order.full and self.last_of_name is self.gone

    @property
    def last_of_name(self) -> threading.Event:
        """What is set when nothing of this name comes any more: the stream before this one may still be on its way."""
        return self.gone if self._after is None or self._after.is_set() else self._after

    @property
    def ended(self) -> bool:
        """Whether its source has ended and all that came of it was delivered."""
        return self.stats.state == "ENDED" and not self.mailbox and not self.order

    def snapshot(self) -> dict[str, Any]:
        """Return what it is and did, as plain JSON; state and reason of a closed stream are those before it."""
        found = {"address": show_address(self.address), "policy": str(self.mailbox.policy), **self.stats.snapshot()}
        return {**found, **(self._closed_as or {})}

    def finish(self, ticket: int, outcome: Result | None) -> None:
        """Take what a lane made of a frame, None if it failed, and deliver what is next in order."""
        with self._lock:
            if not self.order.waits_for(ticket):  # it was counted as stopped meanwhile
                return
            if outcome is None:
                self.stats.count_dropped("error")
            else:
                outcome.stats = self.stats
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
            if self._closed_as is None:
                self.mailbox.close(cause)
                self._note_gap(cause)
                if not self.order.began:  # nothing of it was ever given out, so there is no gap
                    self._gap = None
                self._closed_as = {"state": self.stats.state, "reason": self.stats.reason}
        self.settle()

    def _state_changed(self) -> None:
        with self._lock:
            if self.stats.state in ("DOWN", "ENDED"):
                self._note_gap(self.stats.reason or self.stats.state.lower())
        self.settle()

    def _note_gap(self, reason: str) -> None:
        # Its reader may bring one more frame, and say that it has ended, when the stream is closed already.
        if self._closed_as is None and self.mailbox.last_index > self._gap_after:
            self._gap, self._gap_after = reason, self.mailbox.last_index

    def settle(self) -> None:
        """Give out what is due, in order, and say so when nothing is left.

        Whoever comes while another thread does it leaves it to that one.
        """
        with self._lock:
            if self._delivering:
                return
            self._delivering = True
        self._deliver()

    def _deliver(self, may_wait: bool = False) -> None:
        while result := self._next_due():
            self._steps(result)  # outside the lock, because tracking takes its time
            full = [queue for queue in self.queues if not self._hand(result, queue)]
            if full and not may_wait:
                name = f"waits for sinks, {self.name}"
                threading.Thread(target=self._wait, args=(result, full), name=name, daemon=True).start()
                return
            self._wait_for_room(result, full)
            self._handed(result)

    def _hand(self, result: Result, queue: SinkQueue) -> bool:
        """Give a queue a result; False, and nothing else, where there is no room and this stream can wait for it."""
        if self._can_wait:
            return queue.offer(result)
        queue.put(result)
        return True

    def _wait(self, result: Result, full: Sequence[SinkQueue]) -> None:
        """Wait for room, in a thread of its own, and go on there with all that is due."""
        self._wait_for_room(result, full)
        self._handed(result)
        self._deliver(may_wait=True)

    def _wait_for_room(self, result: Result, full: Sequence[SinkQueue]) -> None:
        for queue in full:
            queue.put(result, _PATIENCE_S)

    def _handed(self, result: Result) -> None:
        """Count a result that was given out, and let the next frame in."""
        self.stats.count_delivered()
        if not self.queues:
            self.stats.sink_done(result)
        with self._lock:
            was_full = self.order.full
            self.order.done()
            self._say_room(was_full)

    def _say_room(self, was_full: bool) -> None:
        if was_full and not self.order.full and self.mailbox:
            self._on_put()

    def _next_due(self) -> Result | None:
        """Return the next result, behind its gap; or end the delivery, with the gap that is left, and return None."""
        with self._lock:
            was_full = self.order.full
            result = self.order.due()  # passes over frames that failed
            self._say_room(was_full)
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
                    if self._closed_as is not None and not self.gone.is_set():
                        self.gone.set()
                        self._on_put()  # for the next stream of this name
            return result
