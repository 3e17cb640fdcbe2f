"""A lane carries frames through the detector's three stages, with an input buffer of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fgd_yolo.preprocessing import Placement
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.scheduling.run_slots import Runs

Prepared = tuple[int, np.ndarray, Placement]


class Lane:
    """The stages of one thread; nothing is shared with other lanes but the detector and its run slots.

    Args:
        detector: what runs.
        runs: its run slots.
        batch: frames that go together, at most.
    """

    def __init__(self, detector: OnnxDetector, runs: Runs, batch: int = 1):
        self._detector, self._runs = detector, runs
        info = detector.info
        height, width = info.imgsz
        shape = (batch, height, width, 3) if info.uint8_input else (batch, 3, height, width)
        self._buffer = None if info.dynamic_size else np.empty(shape, info.dtype)

    def detect(self, frames: Sequence[Frame]) -> list[Result | Exception]:
        """Return, for each frame in order, what was found on it or why that failed."""
        outcomes: dict[int, Result | Exception] = {}
        prepared: list[Prepared] = []
        start = time.monotonic()
        for index, frame in enumerate(frames):
            slot = None if self._buffer is None else self._buffer[len(prepared) : len(prepared) + 1]
            try:
                prepared.append((index, *self._detector.preprocess(frame.image(), slot)))
            except Exception as error:  # one picture that is none must not take the others with it
                outcomes[index] = error
        self._runs.prepared(time.monotonic() - start)
        for group in self._groups(prepared):
            members = [index for index, _, _ in group]
            try:
                results = self._run(group, [frames[index] for index in members])
                outcomes.update(zip(members, results, strict=True))
            except Exception as error:
                outcomes.update(dict.fromkeys(members, error))
        return [outcomes[index] for index in range(len(frames))]

    def _groups(self, prepared: list[Prepared]) -> list[list[Prepared]]:
        """Split into runs: all together, or by shape where the file takes any."""
        groups: dict[Any, list[Prepared]] = {}
        for item in prepared:
            groups.setdefault(item[1].shape, []).append(item)
        return list(groups.values())

    def _run(self, group: list[Prepared], frames: Sequence[Frame]) -> list[Result]:
        tensors = [tensor for _, tensor, _ in group]
        if self._buffer is not None:
            batch = self._buffer[: len(tensors)]
        else:
            batch = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
        with self._runs.slot():
            start = time.monotonic()
            outputs = self._detector.infer(batch)
            end = time.monotonic()
        found = self._detector.postprocess(outputs, [placement for _, _, placement in group])
        return [Result(frame, detections, start, end) for frame, detections in zip(frames, found, strict=True)]
