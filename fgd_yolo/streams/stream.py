"""One stream of a pipeline: the frames that wait, the frames in flight, and the delivery of its results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from fgd_yolo.streams.address import show_address
from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy, FrameBuffer
from fgd_yolo.streams.scheduling.reorder_buffer import ReorderBuffer
from fgd_yolo.streams.sinks import SinkQueue
from fgd_yolo.streams.stats import StreamStats
from fgd_yolo.streams.steps.step_chain import StepChain

_ROOM_TIMEOUT_S = 1.0


class Stream:
    """A named source with its frame buffer, reorder buffer and statistics.

    Any thread may call. Nothing here blocks, because sinks have queues. If no frame may be dropped and a queue is full,
    a separate thread waits for room, so that no worker does.

    After `close`, its last results and one gap reach the sinks. Then `drained` is set, and nothing of this stream
    follows.

    Args:
        name: the stream's name.
        address: the address of its source.
        policy: which of its frames are dropped.
        limit: the most frames in flight.
        lock: the scheduler's.
        on_ready: called when a frame waits that a worker may take.
        on_idle: called when the stream may have ended.
        steps: complete every result before the sinks see it.
        previous: the `drained` event of an earlier stream of this name; until it is set no worker takes a frame of
            this one.
    """

    def __init__(
        self,
        name: str,
        address: str | int,
        policy: DropPolicy,
        limit: int,
        lock: threading.RLock,
        on_ready: Callable[[], object],
        on_idle: Callable[[], object],
        steps: StepChain | None = None,
        previous: threading.Event | None = None,
    ):
        self.name, self.address, self.policy = name, address, policy
        self.stats = StreamStats(name, self._state_changed)
        self.frames = FrameBuffer(policy, self.stats, lock, on_ready)
        self.in_flight: ReorderBuffer[Result] = ReorderBuffer(limit)
        self.last_served = 0
        self.reader: Reader | None = None
        self.queues: Sequence[SinkQueue] = ()
        self._lock, self._on_ready, self._on_idle = lock, on_ready, on_idle
        self.drained = threading.Event()
        self._steps, self._previous = steps or StepChain(), previous
        self._state_at_close: dict[str, str] | None = None
        self._delivering = False
        self._gap: str | None = None
        self._gap_after = -1

    @property
    def is_ready(self) -> bool:
        """Whether a worker may take a frame."""
        return len(self.frames) > 0 and not self.in_flight.full and self.name_drained is self.drained

    @property
    def name_drained(self) -> threading.Event:
        """The event after which nothing of this name follows: the earlier stream's, while that is not drained."""
        return self.drained if self._previous is None or self._previous.is_set() else self._previous

    @property
    def ended(self) -> bool:
        """Whether its source has ended and all of its results were delivered."""
        return self.stats.state == "ENDED" and not self.frames and not self.in_flight

    def snapshot(self) -> dict[str, Any]:
        """Return address, policy and statistics as plain JSON; a closed stream keeps the state before it was closed."""
        stats = {"address": show_address(self.address), "policy": str(self.policy), **self.stats.snapshot()}
        return {**stats, **(self._state_at_close or {})}

    def pop(self) -> tuple[int, Frame] | None:
        """Take the next frame for a worker, with its ticket; None if it was dropped. Call it with the lock held."""
        frame = self.frames.pop()
        if frame is None:  # the frame that was too old may have been the last one
            self.deliver()
            return None
        return self.in_flight.start(), frame

    def finish(self, ticket: int, outcome: Result | None) -> None:
        """Accept a worker's result, None if it failed, and deliver the results that are next in order."""
        with self._lock:
            if not self.in_flight.is_pending(ticket):  # it was counted as stopped in the meantime
                return
            if outcome is None:
                self.stats.count_dropped("error")
            else:
                outcome.stats = self.stats
                self.stats.count_inferred(outcome.ages_s(), outcome.infer_end)
            self.in_flight.finish(ticket, outcome)
        self.deliver()

    def abandon(self, cause: str) -> None:
        """Deliver the finished results, and count the frames that are still in flight as dropped."""
        with self._lock:
            self.stats.count_dropped(cause, self.in_flight.abandon())
        self.deliver()

    def close(self, cause: str) -> None:
        """Accept no more frames, drop those that wait, and tell the sinks after the last result."""
        with self._lock:
            if self._state_at_close is None:
                self.frames.close(cause)
                self._note_gap(cause)
                if not self.in_flight.has_started:  # no result was ever delivered, so there is no gap
                    self._gap = None
                self._state_at_close = {"state": self.stats.state, "reason": self.stats.reason}
        self.deliver()

    def _state_changed(self) -> None:
        with self._lock:
            if self.stats.state in ("DOWN", "ENDED"):
                self._note_gap(self.stats.reason or self.stats.state.lower())
        self.deliver()

    def _note_gap(self, reason: str) -> None:
        # The reader may put one more frame, and report its end, after the stream was closed.
        if self._state_at_close is None and self.frames.last_index > self._gap_after:
            self._gap, self._gap_after = reason, self.frames.last_index

    def deliver(self) -> None:
        """Pass the results that are next in order to the sinks, and report when nothing is left.

        While one thread delivers, others return at once: it delivers their results too.
        """
        with self._lock:
            if self._delivering:
                return
            self._delivering = True
        self._deliver_all()

    def _deliver_all(self, may_block: bool = False) -> None:
        while result := self._next_result():
            self._steps(result)  # outside the lock, because tracking takes time
            full = [queue for queue in self.queues if not self._put(result, queue)]
            if full and not may_block:
                name = f"waits for sinks, {self.name}"
                threading.Thread(target=self._deliver_blocking, args=(result, full), name=name, daemon=True).start()
                return
            self._wait_for_room(result, full)
            self._delivered(result)

    def _put(self, result: Result, queue: SinkQueue) -> bool:
        """Put a result into a queue; return False without doing so if it is full and this stream can wait.

        Under the policy `every` a slow sink slows the stream down; a live stream cannot wait.
        """
        if self.policy.keeps_all:
            return queue.offer(result)
        queue.put(result)
        return True

    def _deliver_blocking(self, result: Result, full: Sequence[SinkQueue]) -> None:
        """Wait for room in a separate thread, and continue there with all results that are next."""
        self._wait_for_room(result, full)
        self._delivered(result)
        self._deliver_all(may_block=True)

    def _wait_for_room(self, result: Result, full: Sequence[SinkQueue]) -> None:
        for queue in full:
            queue.put(result, _ROOM_TIMEOUT_S)

    def _delivered(self, result: Result) -> None:
        """Count a delivered result, and free its place in the reorder buffer."""
        self.stats.count_delivered()
        if not self.queues:
            self.stats.count_sink_done(result.frame.arrived)
        with self._lock:
            was_full = self.in_flight.full
            self.in_flight.pop()
            self._report_room(was_full)

    def _report_room(self, was_full: bool) -> None:
        if was_full and not self.in_flight.full and self.frames:
            self._on_ready()

    def _next_result(self) -> Result | None:
        """Return the next result, after the gap before it. Without one, end the delivery, with the gap that is left."""
        with self._lock:
            was_full = self.in_flight.full
            result = self.in_flight.peek()  # skips frames that failed
            self._report_room(was_full)
            is_empty = not self.frames and not self.in_flight
            if self._gap is not None and (result.frame.index > self._gap_after if result else is_empty):
                self._steps.gap(self.name, self._gap)
                for queue in self.queues:
                    queue.gap(self.name, self._gap)
                self._gap = None
            if result is None:
                self._delivering = False
                if is_empty:
                    self._on_idle()
                    if self._state_at_close is not None and not self.drained.is_set():
                        self.drained.set()
                        self._on_ready()  # for the next stream of this name
            return result
