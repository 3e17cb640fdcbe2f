"""Any number of streams through one detector to any number of sinks, until they end or it is stopped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.json_message import json_message
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS, PixelBudget
from fgd_yolo.streams.address import check_name, unique_name
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy, parse_policy
from fgd_yolo.streams.scheduling.workers import WorkerPool
from fgd_yolo.streams.sinks import Sink, SinkQueue
from fgd_yolo.streams.sinks.callback import CallbackSink
from fgd_yolo.streams.sources import check_address, is_live
from fgd_yolo.streams.steps.step_chain import StepChain
from fgd_yolo.streams.stream import Stream

_MAX_REMOVED = 32  # removed streams that the closing table shows


class Pipeline:
    """Runs a detector on cameras and files, and passes the results to sinks.

    Every stream has a reader, every sink has a queue and a thread, and workers carry frames through all stages of the
    detector. Nothing waits for anything slower than itself, everything is bounded, and every frame is accounted for.

    Args:
        detector: the detector; in its mode `throughput` several frames run at once.
        sinks: where results go; `stop` closes them.
        policy: `latest`, `every` or `max-age=MS` for all streams; None takes `latest` for live sources and `every` for
            files.
        batch_window_s: how long the first frame of a batch waits for others. Frames are batched on a GPU, or if this
            is above 0. A model with a fixed batch size always takes the frames that are ready.
        steps: functions that complete each result in place before the sinks see it, such as `ObjectTracker` and
            `ZoneCounter`; they are called in the order of a stream's frames, and block their caller, mostly a worker.
        observers: functions that get every result. They cannot block or break the pipeline; one that is too slow
            misses results.
        max_megapixels: limit for one frame, and for all streams together. Larger frames are not decoded, and the state
            of their stream says so.
    Raises:
        UsageError: the policy, the window or the megapixels are invalid.
    """

    def __init__(
        self,
        detector: OnnxDetector,
        sinks: Sequence[Sink] = (),
        *,
        policy: str | None = None,
        batch_window_s: float = 0.0,
        steps: Sequence[Callable[[Result], object]] = (),
        observers: Sequence[Callable[[Result], object]] = (),
        max_megapixels: float = DEFAULT_MEGAPIXELS,
    ):
        if not 0 <= batch_window_s <= 10:
            raise UsageError(f"the batch window must be from 0 to 10 s, got {batch_window_s!r}")
        self._detector = detector
        self.budget = PixelBudget(max_megapixels)
        self._policy = None if policy is None else parse_policy(policy)
        self._sinks = [*sinks, *map(CallbackSink, observers)]
        self._observers = len(observers)
        self._steps = StepChain(steps)
        self._workers = WorkerPool(detector, batch_window_s, self._give_up)
        self._scheduler = self._workers.scheduler
        self._lock = self._scheduler.lock
        self._changed = threading.Condition(self._lock)
        self._queues: list[SinkQueue] = []
        self._removed: deque[Stream] = deque(maxlen=_MAX_REMOVED)
        self._draining: dict[str, threading.Event] = {}  # of removed streams, by name
        self._state = "new"  # new, running, stopped
        self._started = 0.0
        self._failure: FGDError | None = None
        self._all_ended = False  # before it was stopped

    def add(self, address: str | int, name: str | None = None, *, policy: str | None = None) -> str:
        """Add a stream, before the start or while the pipeline runs.

        Args:
            address: the address of the source, as `open_source` takes it.
            name: the stream's name; None derives one from the address.
            policy: the drop policy of this stream alone.
        Returns:
            The name.
        Raises:
            UsageError: the address or policy is invalid, a stream has this name, or the source cannot have as many
                channels as the model takes.
            FGDError: the pipeline was stopped.
        """
        channels = self._detector.info.channels
        check_address(address, self.budget, channels)
        drop_policy = parse_policy(policy) if policy is not None else self._policy
        drop_policy = drop_policy or DropPolicy("latest" if is_live(address) else "every")
        with self._lock:
            if self._state == "stopped" or self._failure:
                raise FGDError("the pipeline was stopped: create a new one")
            name = self._choose_name(address, name)
            stream = Stream(
                name,
                address,
                drop_policy,
                limit=self._workers.frames_per_stream,
                lock=self._lock,
                on_ready=self._scheduler.notify,
                on_idle=self._changed.notify_all,
                steps=self._steps,
                previous=self._draining.get(name),
            )
            stream.reader = Reader(
                name, address, stream.frames.put, stream.stats, budget=self.budget, channels=channels
            )
            stream.queues = self._queues
            self._scheduler.streams[name] = stream
            if self._state == "running":
                stream.reader.start()
        return name

    def remove(self, name: str) -> None:
        """Remove a stream. Its frames in flight are delivered; those that wait are counted as dropped.

        Raises:
            UsageError: there is no such stream.
        """
        with self._lock:
            if name not in self._scheduler.streams:
                raise UsageError(f"there is no stream '{name}'")
            stream = self._scheduler.streams.pop(name)
            if self._state == "running":
                self._removed.append(stream)
            stream.close("removed")
            stream.reader.stop()
            draining = {**self._draining, name: stream.name_drained}
            self._draining = {name: drained for name, drained in draining.items() if not drained.is_set()}
            self._changed.notify_all()

    def start(self) -> None:
        """Open the sources and start; a camera that is down is retried.

        Raises:
            FGDError: it was started before.
        """
        with self._lock:
            if self._state != "new":
                raise FGDError("a pipeline runs only once: create a new one")
            self._state, self._started = "running", time.monotonic()
            self._open_queues()
            self._workers.start()
            for stream in self._scheduler.streams.values():
                stream.reader.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all streams have ended, or the pipeline was stopped. Without streams it never ends.

        Returns:
            Whether all streams have ended and their results were delivered.
        Raises:
            FGDError: the detector failed on too many frames in a row.
        """
        with self._lock:
            self._changed.wait_for(lambda: self._failure or self._state == "stopped" or self._ended(), timeout_s)
            if self._failure:
                raise self._failure
            return self._ended()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Deliver the finished results and close the sinks, within the timeout even if a camera hangs or a sink blocks.

        Frames that are not finished are counted as dropped, with the cause `stopped`.
        """
        deadline = time.monotonic() + timeout_s
        with self._lock:
            if self._state == "stopped":
                return
            ran, self._all_ended = self._state == "running", self._ended()
            self._state = "stopped"
            if not ran:
                self._open_queues()
            self._close_streams()
            self._changed.notify_all()
            streams = [*self._scheduler.streams.values(), *self._removed] if ran else []
        self._workers.join(deadline - timeout_s / 2)
        for stream in streams:
            stream.abandon("stopped")
        self._wait_for_delivery(streams, deadline - timeout_s / 2)
        # All at once: one that blocks must not use up the others' time. A tenth is left to count what it did not write.
        left_s = 0.9 * max(0.0, deadline - time.monotonic())
        closers = [threading.Thread(target=queue.close, args=(left_s,), daemon=True) for queue in self._queues]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(max(0.0, deadline - time.monotonic()))
        self._wait_for_delivery(streams, deadline)  # of results that waited for a queue that is closed now
        for stream in streams:
            stream.reader.join(max(0.0, deadline - time.monotonic()))

    def stats(self) -> dict[str, Any]:
        """Return the statistics so far as a message of kind `stats`: per stream, per removed stream and per sink."""
        with self._lock:
            streams, removed = list(self._scheduler.streams.values()), list(self._removed)
        content = {
            "state": self._state,
            "failure": self._failure and str(self._failure),
            "uptime_s": round(time.monotonic() - self._started, 3) if self._started else 0.0,
            "device": self._detector.device,
            "streams": {stream.name: stream.snapshot() for stream in streams},
            "removed": [{"name": stream.name, **stream.snapshot()} for stream in removed],
            "sinks": [queue.snapshot() for queue in self._queues],
        }
        return json_message("stats", content)

    def __enter__(self) -> Pipeline:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _give_up(self, failure: FGDError) -> None:
        with self._lock:
            if self._state == "running":
                self._failure = failure
                self._close_streams()
                self._changed.notify_all()

    def _open_queues(self) -> None:
        sinks = len(self._sinks) - self._observers or 1  # without sinks the first observer counts as one
        for index, sink in enumerate(self._sinks):
            self._queues.append(SinkQueue(sink, on_done=_sink_done if index < sinks else None))

    def _close_streams(self) -> None:
        for stream in self._scheduler.streams.values():
            stream.close("stopped")
            stream.reader.stop()
        self._workers.stop()

    def _wait_for_delivery(self, streams: Sequence[Stream], until: float) -> None:
        with self._lock:
            left_s = max(0.0, until - time.monotonic())
            self._changed.wait_for(lambda: all(stream.drained.is_set() for stream in streams), left_s)

    def _ended(self) -> bool:
        if self._state == "stopped":  # that ended all readers
            return self._all_ended
        streams = self._scheduler.streams.values()
        return bool(streams) and all(stream.ended for stream in streams)

    def _choose_name(self, address: str | int, name: str | None) -> str:
        if name is not None:
            check_name(name)
            if name in self._scheduler.streams:
                raise UsageError(f"stream '{name}' exists already: choose another name")
            return name
        return unique_name(address, self._scheduler.streams)


def _sink_done(result: Result) -> None:
    result.stats.count_sink_done(result.frame.arrived)
