"""A sink that keeps the frames worth learning from, as input for the next training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import sha256_of_file
from fgd_yolo.near_duplicates import NearDuplicates
from fgd_yolo.runtime.images import as_bgr
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE
from fgd_yolo.streams.sinks.collection import Collection, LimitReachedError
from fgd_yolo.streams.sinks.message import collected_message, to_line
from fgd_yolo.streams.sinks.sink import SinkStopped
from fgd_yolo.streams.sinks.worth_keeping import Choice, FrameChooser
from fgd_yolo.streams.source_clock import SourceClock

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Frame, Result
    from fgd_yolo.streams.stream_options import RunOptions

_JPEG_QUALITY = 95
_REMEMBERED = 10_000  # frames that later ones are compared with
_JPEG_CHANNELS = (1, 3)


class CollectSink:
    """Keeps frames on which the detector is unsure, and some ordinary ones, each as a JPEG with its JSON.

    `worth_keeping` says which; near-duplicates of kept frames are left out. A frame is kept as it was detected on:
    upright, in full resolution, without boxes. If the limit of the folder is reached, or it cannot be written to,
    collecting stops for the rest of the run, and everything else goes on.

    Convention:
        An hour is one of the stream's own time, which for a file does not depend on the speed of the machine.
    Args:
        folder: it is created with the first frame. It is input for `--unlabeled`.
        per_hour: limit of frames in an hour of each stream.
        limit_mb: limit of all files in the folder, in megabytes; files of earlier runs count too.
        threshold: the detector's confidence threshold, in [0, 1].
        model: the detector's file, of which each JSON has name and digest.
    Raises:
        FGDError: the model cannot be read, or ImageHash is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        per_hour: int = 120,
        limit_mb: float = 1000,
        threshold: float = DEFAULT_CONFIDENCE,
        model: str | Path | None = None,
    ):
        self.name = f"collect {folder}"
        self._collection = Collection(Path(folder), limit_mb)
        self._per_hour, self._threshold, self._limit_mb = per_hour, threshold, limit_mb
        self._model = None if model is None else {"name": Path(model).name, "sha256": _digest(model)}
        self._kept_images = NearDuplicates(remember=_REMEMBERED)
        self._streams: dict[str, _StreamCollector] = {}
        self._kept: dict[str, dict[str, int]] = {}  # replaced and never changed, since other threads read it

    @classmethod
    def from_options(cls, options: RunOptions, stop_run: Callable[[], object]) -> CollectSink:
        """Open the folder of `--collect`, with the limits of `--collect-per-hour` and `--collect-mb`."""
        limits = {"per_hour": options.collect_per_hour, "limit_mb": options.collect_mb}
        return cls(options.collect, threshold=options.conf, model=options.model, **limits)

    def write(self, result: Result) -> bool:
        """Keep this frame, or an earlier one on which a track flickered; return False if none is kept.

        Raises:
            SinkStopped: the folder's limit is reached, or it cannot be written to.
        """
        stream = result.frame.stream
        if stream not in self._streams:
            self._streams[stream] = _StreamCollector(FrameChooser(self._per_hour, self._threshold, self._is_new))
        choice = self._streams[stream].choose(result)
        if choice is None:
            return False
        self._keep(choice)
        return True

    def gap(self, stream: str, reason: str) -> None:
        """Forget the tracks of a stream: frames are missing."""
        if stream in self._streams:
            self._streams[stream].chooser.gap()

    def close(self) -> None:
        """Release the frames that are held; every file is complete."""
        self._streams.clear()

    def details(self) -> dict[str, Any]:
        """Return how many frames were kept, by stream and reason."""
        return {"kept": self._kept}

    def _is_new(self, result: Result) -> bool:
        return self._kept_images.is_new(as_bgr(result.frame.image()))

    def _keep(self, choice: Choice[Result]) -> None:
        frame = choice.item.frame
        jpeg = _to_jpeg(frame)
        message = collected_message(choice.item, choice.reason, self._model)
        try:
            self._collection.add(frame.stream, message["time"], jpeg, to_line(message) + b"\n")
        except LimitReachedError:
            limit = f"its limit of {self._limit_mb:g} MB is reached"
            advice = "move frames to another place or raise --collect-mb"
            raise SinkStopped(f"collecting stops, the streams go on: {limit}; {advice}", failed=False) from None
        except (OSError, FGDError) as error:
            raise SinkStopped(f"collecting stops, the streams go on: {one_line(error)}", failed=True) from error
        counts = Counter(self._kept.get(frame.stream, {})) + Counter([choice.reason])
        self._kept = {**self._kept, frame.stream: dict(counts)}


class _StreamCollector:
    """One stream: its time, which never goes back, and the choice of its frames."""

    def __init__(self, chooser: FrameChooser[Result]):
        self.chooser = chooser
        self._clock, self._last_s, self._now_s = SourceClock(), 0.0, 0.0

    def choose(self, result: Result) -> Choice[Result] | None:
        time_s, restarted = self._clock.read(result.frame)
        if restarted:
            self.chooser.gap()
        else:
            self._now_s += time_s - self._last_s
        self._last_s = time_s
        detections = result.detections
        track_ids = None if detections.tracker_id is None else detections.tracker_id.tolist()
        return self.chooser.choose(self._now_s, detections.confidence.tolist(), track_ids, result)


def _to_jpeg(frame: Frame) -> bytes:
    image = frame.image()
    channels = image.shape[2]
    if channels not in _JPEG_CHANNELS:
        raise SinkStopped(f"collecting stops: a JPEG has 1 or 3 channels, and the frames have {channels}", failed=True)
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise FGDError(f"a frame of {image.shape[1]} x {image.shape[0]} pixels cannot be written as JPEG")
    return data.tobytes()


def _digest(model: str | Path) -> str:
    try:
        return sha256_of_file(model)
    except OSError as error:
        raise FGDError(f"{model} cannot be read: {one_line(error)}") from error
