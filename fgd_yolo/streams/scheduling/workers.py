"""The threads that run the detector on frames, and the limit on its failures in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fgd_yolo.errors import FGDError, error_message
from fgd_yolo.preprocessing import Placement
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.log import log
from fgd_yolo.streams.scheduling.scheduler import RunSlots, Scheduler
from fgd_yolo.text import shortened

MAX_FAILURES = 100  # in a row, over all streams: no bad frame causes that, so the detector itself is broken

_Preprocessed = tuple[int, np.ndarray, Placement]


class Worker:
    """The detector's three stages for one thread, with its own input buffer.

    Workers share nothing but the detector and its run slots.

    Args:
        detector: the detector.
        slots: its run slots.
        batch: the most frames of one run.
    """

    def __init__(self, detector: OnnxDetector, slots: RunSlots, batch: int = 1):
        self._detector, self._slots = detector, slots
        info = detector.info
        self._buffer = None if info.dynamic_size else np.empty(info.input_shape(batch, info.imgsz), info.dtype)

    def detect(self, frames: Sequence[Frame]) -> list[Result | Exception]:
        """Return, for each frame in order, its result or the error that it raised."""
        outcomes: dict[int, Result | Exception] = {}
        preprocessed: list[_Preprocessed] = []
        start = time.monotonic()
        for index, frame in enumerate(frames):
            row = None if self._buffer is None else self._buffer[len(preprocessed) : len(preprocessed) + 1]
            try:
                preprocessed.append((index, *self._detector.preprocess(frame.image(), row)))
            except Exception as error:  # one invalid frame must not fail the others
                outcomes[index] = error
        self._slots.record_preprocessing(time.monotonic() - start)
        for group in self._group_by_shape(preprocessed):
            members = [index for index, _, _ in group]
            try:
                results = self._run(group, [frames[index] for index in members])
                outcomes.update(zip(members, results, strict=True))
            except Exception as error:
                outcomes.update(dict.fromkeys(members, error))
        return [outcomes[index] for index in range(len(frames))]

    def _group_by_shape(self, preprocessed: list[_Preprocessed]) -> list[list[_Preprocessed]]:
        """Split frames into runs: a single one, unless the model takes any input size."""
        groups: dict[Any, list[_Preprocessed]] = {}
        for item in preprocessed:
            groups.setdefault(item[1].shape, []).append(item)
        return list(groups.values())

    def _run(self, group: list[_Preprocessed], frames: Sequence[Frame]) -> list[Result]:
        tensors = [tensor for _, tensor, _ in group]
        if self._buffer is not None:
            batch = self._buffer[: len(tensors)]
        else:
            batch = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
        with self._slots.acquire():
            start = time.monotonic()
            outputs = self._detector.infer(batch)
            end = time.monotonic()
        detections = self._detector.postprocess(outputs, [placement for _, _, placement in group])
        return [Result(frame, objects, start, end) for frame, objects in zip(frames, detections, strict=True)]


class WorkerPool:
    """As many workers as keep the run slots busy, which take frames from one scheduler.

    Args:
        detector: the detector.
        window_s: how long the first frame of a batch waits for others.
        on_failure: called with the error to stop with when the detector fails on frame after frame.
    """

    def __init__(self, detector: OnnxDetector, window_s: float, on_failure: Callable[[FGDError], object]):
        self._detector, self._on_failure = detector, on_failure
        slots = detector.workers
        # Two workers keep a single slot busy; several slots keep each other's cores busy.
        self._count = slots if slots > 1 else 2
        self._batch = _batch_size(detector, window_s)
        self._slots = RunSlots(slots, self._notify if self._count > slots else lambda: None)
        self._failures = DetectorFailures()
        self._threads: list[threading.Thread] = []
        self.scheduler = Scheduler(self._slots, self._batch, window_s)

    @property
    def frames_per_stream(self) -> int:
        """The most frames of one stream in flight, including finished ones that wait behind a slower one."""
        return 2 * self._count * self._batch

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._count):
            worker = Worker(self._detector, self._slots, self._batch)
            thread = threading.Thread(target=self._work, args=(worker,), name=f"worker {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop handing out frames: no worker takes another one."""
        self.scheduler.close()

    def join(self, deadline: float) -> None:
        """Wait until a monotonic time for the workers to finish their frames; a stuck worker is left behind."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, worker: Worker) -> None:
        while batch := self.scheduler.next_batch():
            outcomes = worker.detect([scheduled.frame for scheduled in batch])
            for scheduled, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Result):
                    self._failures.reset()
                    scheduled.stream.finish(scheduled.ticket, outcome)
                    continue
                scheduled.stream.finish(scheduled.ticket, None)
                if error := self._failures.record(scheduled.stream.name, outcome):
                    self._on_failure(error)

    def _notify(self) -> None:
        self.scheduler.notify()


def _batch_size(detector: OnnxDetector, window_s: float) -> int:
    """Return how many frames go into one run: several only where the batch is fixed, or where they run faster."""
    if detector.info.batch is not None:
        return detector.info.batch
    on_gpu = detector.device.startswith(("cuda", "tensorrt"))
    return detector.max_batch if on_gpu or window_s > 0 else 1


class DetectorFailures:
    """Counts frames in a row on which the detector failed. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._reported: set[type] = set()

    def reset(self) -> None:
        """Start to count again: a frame succeeded."""
        self._in_a_row = 0  # one store, which needs no lock: this is called for every frame

    def record(self, stream: str, error: Exception) -> FGDError | None:
        """Count a failed frame, report each kind of error once, and return the error to stop with, if there were too
        many in a row."""
        kind, text = type(error), shortened(redact(error_message(error)))
        with self._lock:
            self._in_a_row += 1
            reached = self._in_a_row == MAX_FAILURES
            new = kind not in self._reported
            self._reported.add(kind)
        if new:
            log(stream, f"a frame is dropped, {kind.__name__}: {text} (counted; not reported again)")
        if not reached:
            return None
        return FGDError(
            f"the detector failed on {MAX_FAILURES} frames in a row: {text}; try the model with fgd-yolo predict"
        )
