"""Track ids of objects: ByteTrack of the `trackers` package, one tracker per stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fgd_yolo.errors import not_installed
from fgd_yolo.streams.source_clock import SourceClock

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result
    from fgd_yolo.streams.stream_options import RunOptions

_FRAME_RATE = 30.0  # nominal; the actual time is passed with every frame
LOST_AFTER_S = 1.0
"""An object that is not detected keeps its id and its last position for so long."""
_MIN_STEP_S = 1e-6  # the library warns about two frames with the same time
_NO_ID = -1


class ObjectTracker:
    """A step that assigns track ids to the objects of every stream. Results of one stream must be given in order.

    Convention:
        Ids count from 1 within a stream and are never reused in a run, not even after a gap. An object has id -1 until
        it has been detected in two consecutive frames, or while its confidence is too low. The time of a frame is the
        source's, as in `SourceClock`, so that assumed speeds do not depend on the frame rate.
    Args:
        min_confidence: an object of a lower confidence continues a track but does not start one, in [0, 1].
    Raises:
        FGDError: the `trackers` package is not installed.
    """

    def __init__(self, min_confidence: float = 0.5):
        self._tracker_class, self._detections_class = _load()
        self._min_confidence = min_confidence
        self._streams: dict[str, _StreamTracker] = {}

    @classmethod
    def from_options(cls, options: RunOptions, names: Mapping[int, str]) -> ObjectTracker | None:
        """Create the tracker of `--track`, which zones and lines need too."""
        return cls() if _is_needed(options) else None

    def __call__(self, result: Result) -> None:
        """Set the `tracker_id` of the detections, also for a frame without objects: it ages the tracks."""
        stream = result.frame.stream
        if stream not in self._streams:
            self._streams[stream] = _StreamTracker(self._tracker_class, self._min_confidence)
        tracker_id = self._streams[stream].update(result, self._detections_class)
        result.detections = replace(result.detections, tracker_id=tracker_id)

    def gap(self, stream: str, reason: str) -> None:
        """Forget all tracks of a stream: objects after a gap get new ids."""
        if stream in self._streams:
            self._streams[stream].reset()


def check_tracking(options: RunOptions) -> None:
    """Check that objects can be tracked if the options ask for it, before a model is loaded.

    Raises:
        FGDError: the `trackers` package is not installed.
    """
    if _is_needed(options):
        _load()


def _is_needed(options: RunOptions) -> bool:
    return options.track or any(stream.zones or stream.lines for stream in options.streams.values())


class _StreamTracker:
    """The tracker of one stream; its ids continue after a reset, where the library would start again."""

    def __init__(self, tracker_class: Any, min_confidence: float):
        self._tracker = tracker_class(
            lost_track_buffer=round(LOST_AFTER_S * _FRAME_RATE),  # in frames at the nominal rate
            frame_rate=_FRAME_RATE,
            track_activation_threshold=min_confidence,
            high_conf_det_threshold=min_confidence,
        )
        self._clock = SourceClock()
        self._tracked_s = -math.inf
        self._first_id, self._highest = 1, 0

    def update(self, result: Result, detections_class: Any) -> np.ndarray:
        detections = result.detections
        now_s, restarted = self._clock.read(result.frame)
        if restarted:
            self.reset()
        self._tracked_s = max(now_s, self._tracked_s + _MIN_STEP_S)
        boxes = detections_class(
            xyxy=detections.xyxy.astype(np.float32).reshape(-1, 4),
            confidence=detections.confidence,
            class_id=detections.class_id,
            data={"row": np.arange(len(detections))},
        )
        tracked = self._tracker.update(boxes, timestamp=self._tracked_s)
        ids = np.full(len(detections), _NO_ID, np.int64)
        if len(tracked):
            tracker_ids = np.asarray(tracked.tracker_id, np.int64)
            ids[tracked.data["row"]] = np.where(tracker_ids >= 0, tracker_ids + self._first_id, _NO_ID)
            self._highest = max(self._highest, int(ids.max()))
        return ids

    def reset(self) -> None:
        self._tracker.reset()
        self._tracked_s = -math.inf
        self._first_id = self._highest + 1


def _load() -> tuple[Any, Any]:
    try:
        from supervision import Detections
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise not_installed("trackers", "stream") from error
    return ByteTrackTracker, Detections
