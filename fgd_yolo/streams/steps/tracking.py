"""Who is who from frame to frame: ByteTrack of the `trackers` package, one per stream."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.steps.source_clock import SourceClock

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_FRAME_RATE = 30.0  # what the tracker's own step stands for; the real times go with every frame
_KEPT_S = 1.0  # how long an object that is not seen keeps its id
_LEAST_STEP_S = 1e-6  # the library warns about two frames of one time
_UNKNOWN = -1


class ObjectTracker:
    """Gives every result of every stream its track ids; results of one stream must come in order.

    Convention:
        An id belongs to one object of one stream and is never used again in a run, not even after a gap; they count
        from 1. An object has id -1 until it was seen in two frames that follow each other, or while it is too weak.
        The frame's time is the source's, as in `SourceClock`: how fast things move does not depend on the rate.
    Args:
        min_score: an object of a lower score continues a track but begins none, in [0, 1].
    Raises:
        FGDError: the `trackers` package is not installed.
    """

    def __init__(self, min_score: float = 0.5):
        self._tracker_class, self._detections_class = _load()
        self._least_score = min_score
        self._streams: dict[str, _StreamTracker] = {}

    def __call__(self, result: Result) -> None:
        """Set the result's `ids` (n,), also where nothing was found: tracks age by that."""
        stream = result.frame.stream
        if stream not in self._streams:
            self._streams[stream] = _StreamTracker(self._tracker_class, self._least_score)
        result.ids = self._streams[stream].update(result, self._detections_class)

    def gap(self, stream: str, reason: str) -> None:
        """Forget who was in the picture: what is there after a gap has new ids."""
        if stream in self._streams:
            self._streams[stream].reset()


class _StreamTracker:
    """The tracker of one stream; keeps ids apart that the library would give again after a reset."""

    def __init__(self, tracker_class: Any, min_score: float):
        self._tracker = tracker_class(
            lost_track_buffer=round(_KEPT_S * 30),  # counted in frames at 30 fps, whatever the rate
            frame_rate=_FRAME_RATE,
            track_activation_threshold=min_score,
            high_conf_det_threshold=min_score,
        )
        self._clock = SourceClock()
        self._tracked_s = -math.inf
        self._next_id, self._highest = 1, 0

    def update(self, result: Result, detections_class: Any) -> np.ndarray:
        frame, found = result.frame, result.detections
        now_s, begun_anew = self._clock.read(frame)
        if begun_anew:
            self.reset()
        self._tracked_s = max(now_s, self._tracked_s + _LEAST_STEP_S)
        boxes = detections_class(
            xyxy=found.boxes.astype(np.float32).reshape(-1, 4),
            confidence=found.scores,
            class_id=found.classes,
            data={"row": np.arange(len(found))},
        )
        tracked = self._tracker.update(boxes, timestamp=self._tracked_s)
        ids = np.full(len(found), _UNKNOWN, np.int64)
        if len(tracked):
            own = np.asarray(tracked.tracker_id, np.int64)
            ids[tracked.data["row"]] = np.where(own >= 0, own + self._next_id, _UNKNOWN)
            self._highest = max(self._highest, int(ids.max()))
        return ids

    def reset(self) -> None:
        self._tracker.reset()
        self._tracked_s = -math.inf
        self._next_id = self._highest + 1


def _load() -> tuple[Any, Any]:
    try:
        from supervision import Detections
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise FGDError("trackers is not installed; run pip install 'fgd_yolo[stream]'") from error
    return ByteTrackTracker, Detections
