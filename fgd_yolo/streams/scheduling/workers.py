"""The threads that carry frames through the detector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.streams.failures import Failures
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.scheduling.run_slots import Runs
from fgd_yolo.streams.scheduling.scheduler import Turns
from fgd_yolo.streams.scheduling.worker import Lane


class Lanes:
    """As many lanes as keep the detector's run slots busy, taking frames by turns.

    Args:
        detector: what runs.
        window_s: where frames may go together, so long the first one waits for others.
        on_failure: called with the error to stop with when the detector fails again and again.
    """

    def __init__(self, detector: OnnxDetector, window_s: float, on_failure: Callable[[FGDError], object]):
        self._detector, self._on_failure = detector, on_failure
        workers = detector.workers
        # A single run slot is kept busy by two lanes; several slots keep each other's cores busy.
        self._count = workers if workers > 1 else 2
        self._batch = _batch_size(detector, window_s)
        self._runs = Runs(workers, self._wake if self._count > workers else lambda: None)
        self._failures = Failures()
        self._threads: list[threading.Thread] = []
        self.turns = Turns(self._runs, self._batch, window_s)

    @property
    def frames_per_stream(self) -> int:
        """How many frames of one stream may be on their way, finished ones behind a slow one included."""
        return 2 * self._count * self._batch

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._count):
            lane = Lane(self._detector, self._runs, self._batch)
            thread = threading.Thread(target=self._work, args=(lane,), name=f"lane {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let no lane take another frame."""
        self.turns.close()

    def join(self, deadline: float) -> None:
        """Wait for the lanes to finish what they have, until a monotonic time; a stuck one is left behind."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, lane: Lane) -> None:
        while turns := self.turns.take():
            outcomes = lane.detect([turn.frame for turn in turns])
            for turn, outcome in zip(turns, outcomes, strict=True):
                if isinstance(outcome, Result):
                    self._failures.went_well()
                    turn.stream.finish(turn.ticket, outcome)
                    continue
                turn.stream.finish(turn.ticket, None)
                if failure := self._failures.note(turn.stream.name, outcome):
                    self._on_failure(failure)

    def _wake(self) -> None:
        self.turns.wake()


def _batch_size(detector: OnnxDetector, window_s: float) -> int:
    """Return how many frames go into one run: several only where the file computes them anyway, or a GPU gains."""
    if detector.info.batch is not None:
        return detector.info.batch
    on_gpu = detector.device.startswith(("cuda", "tensorrt"))
    return detector.together if on_gpu or window_s > 0 else 1
