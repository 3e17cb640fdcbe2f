"""The detector that a camera box runs: photos in, objects in photo pixels out."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.preprocessing import Placement, letterbox, place, rotated_to_image, to_image, to_planes
from fgd_yolo.runtime.decode import Candidates, decode_anchors, decode_rows
from fgd_yolo.runtime.detections import Detections, rotated_corners
from fgd_yolo.runtime.images import UnreadableImageError, as_bgr, failure_detail, load_image
from fgd_yolo.runtime.instance_masks import photo_masks
from fgd_yolo.runtime.model_info import read_model_info
from fgd_yolo.runtime.nms import suppress, suppress_rotated
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS, ImageTooLargeError, PixelBudget
from fgd_yolo.runtime.session import open_session
from fgd_yolo.text import printable

# Photos that are read, prepared and run at a time where a file takes any number. Bounds the memory of a long list.
TOGETHER = 8
_PIXELS_PER_ANCHOR = 1024 / 21  # of three levels with strides 8, 16 and 32
_END_TO_END_ROWS = 300  # the host's, where the file does not say


class OnnxDetector:
    """An exported YOLO, ready to detect, segment, find keypoints or oriented boxes.

    Gives the host's boxes for the same file, except that OpenVINO computes int8 in its own way. Calls may be made from
    several threads: nothing is kept between them but a count.

    Objects with a number that is not finite, as where a float16 network overflows, are left out and counted in
    `not_finite`; the first time is said on standard error.

    Args:
        path: the ONNX file.
        device: `auto`, `cpu`, `cuda`, `tensorrt` or `openvino`; an explicit one that cannot be had is an error.
        threads: CPU threads; None takes the cores that this process may use.
        mode: `latency` gives all threads to one photo, `throughput` works on several photos at once.
        conf: objects at or below this score are left out, in [0, 1]. A file with NMS inside already left out those
            below the threshold it was exported with, 0.25 by the host's default; it does not record which.
        iou: boxes of one class that overlap by more are one object, in [0, 1].
        agnostic: let boxes of different classes suppress each other too. `iou` and `agnostic` mean nothing to files
            that have no need of NMS, or have it inside.
        max_detections: at most so many per photo, the best ones.
        max_megapixels: a file with more pixels is not decoded; arrays may have any size.

    Raises:
        UsageError: a threshold or the device's name is wrong.
        FGDError: the file cannot be opened, is no detector, or the device cannot be had.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        threads: int | None = None,
        *,
        mode: str = "latency",
        conf: float = 0.25,
        iou: float = 0.7,
        agnostic: bool = False,
        max_detections: int = 300,
        max_megapixels: float = DEFAULT_MEGAPIXELS,
    ):
        for name, threshold in (("conf", conf), ("iou", iou)):
            if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
                raise UsageError(f"{name} is {threshold!r}, but must be a number from 0 to 1")
        if isinstance(max_detections, bool) or not isinstance(max_detections, Integral) or max_detections < 1:
            raise UsageError(f"max_detections is {max_detections!r}, but must be a whole number above 0")
        self._budget = PixelBudget(max_megapixels)
        self.conf, self.iou, self.agnostic, self.max_detections = conf, iou, agnostic, max_detections
        self._session = open_session(Path(path), device, threads, mode)
        self.device = self._session.device
        self.info, warnings = read_model_info(self._session.metadata, self._session.inputs, self._session.outputs)
        for warning in warnings:
            print(f"{printable(Path(path).name)}: {warning}", file=sys.stderr)
        self.not_finite = 0
        self._name, self._lock = printable(Path(path).name), threading.Lock()
        self.workers = self._session.workers
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="detector") if self.workers > 1 else None
        self.together = self._count_together()
        self._least_pixels = self._count_least_pixels()

    @property
    def names(self) -> dict[int, str]:
        """The name of each class."""
        return self.info.names

    def __call__(self, images: Any) -> Detections | list[Detections]:
        """Detect on one image, or on several in order.

        Args:
            images: an array (height, width, 3) BGR uint8 or any other that is an image, or the path of one; or a list
                or tuple of those, or an array (B, height, width, 3).
        Returns:
            Detections of the one image; a list for a list, a tuple or a stack, empty for an empty one.
        Raises:
            FGDError: an image cannot be read, or an array is none.
        """
        several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
        if not several:
            return self._detect([images])[0]
        windows = [images[start : start + self.together] for start in range(0, len(images), self.together)]
        results = self._pool.map(self._detect, windows) if self._pool else map(self._detect, windows)
        return [detections for window in results for detections in window]

    def preprocess(self, image: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, Placement]:
        """Make the network's input of a photo.

        Args:
            image: an array that is an image.
            out: an array to write to, of the file's input for one photo; it is made if absent.
        Returns:
            (1, 3, h, w) RGB in [0, 1], or (1, h, w, 3) BGR uint8 where the file takes that; and where the photo is.
        """
        image = as_bgr(image)
        info = self.info
        placement = place(image.shape[:2], info.imgsz, info.stride if info.dynamic_size else None)
        if placement.canvas[0] * placement.canvas[1] < self._least_pixels:
            placement = place(image.shape[:2], info.imgsz)
        if info.uint8_input:
            canvas = np.empty((1, *placement.canvas, 3), np.uint8) if out is None else out
            letterbox(image, placement, canvas[0])
            return canvas, placement
        planes = np.empty((1, 3, *placement.canvas), info.dtype) if out is None else out
        return to_planes(letterbox(image, placement), planes), placement

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Run the network on inputs of one shape, stacked; a file of a fixed batch is filled up with zeros."""
        count, batch = len(tensor), self.info.batch
        if batch is None or count == batch:
            return self._session.run(tensor)
        filler = np.zeros((batch - count, *tensor.shape[1:]), tensor.dtype)
        return [output[:count] for output in self._session.run(np.concatenate([tensor, filler]))]

    def postprocess(self, outputs: Sequence[np.ndarray], placements: Sequence[Placement]) -> list[Detections]:
        """Read the network's outputs: one placement and one result per photo of the batch."""
        return [
            self._to_detections(self._candidates(outputs[0][index]), outputs, index, placement)
            for index, placement in enumerate(placements)
        ]

    def _count_together(self) -> int:
        """Return how many photos go into one run of the network, at most."""
        if self.info.batch is not None:
            return self.info.batch
        if self._pool:
            return 1
        # NMS inside a file of open batch is unrolled for the batch size that it was exported with.
        limit = self._session.metadata.get("batch", "") if self.info.embedded_nms else str(TOGETHER)
        return min(TOGETHER, int(limit)) if limit.isdecimal() else 1

    def _count_least_pixels(self) -> float:
        """Return the smallest canvas for an end-to-end head of open size: it fails with fewer anchors than rows."""
        info = self.info
        if not info.dynamic_size or not info.decoded or info.embedded_nms:
            return 0
        return (self._session.outputs[0].shape[1] or _END_TO_END_ROWS) * _PIXELS_PER_ANCHOR

    def _detect(self, images: Sequence[Any]) -> list[Detections]:
        """Detect on a few images, those whose inputs have one shape together."""
        prepared = [self.preprocess(_load(image, self._budget)) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (tensor, _) in enumerate(prepared):
            groups.setdefault(tensor.shape, []).append(index)
        found: dict[int, Detections] = {}
        for group in groups.values():
            tensors = [prepared[index][0] for index in group]
            outputs = self.infer(tensors[0] if len(group) == 1 else np.concatenate(tensors))
            found.update(zip(group, self.postprocess(outputs, [prepared[index][1] for index in group]), strict=True))
        return [found[index] for index in range(len(prepared))]

    def _candidates(self, output: np.ndarray) -> Candidates:
        """Return the objects of one image on the canvas, after NMS."""
        if self.info.decoded:
            return self._usable(decode_rows(output, self.conf, self.max_detections))
        rotated = self.info.task == "obb"
        found = self._usable(decode_anchors(output, len(self.info.names), self.conf, rotated))
        boxes = np.concatenate([found.boxes, found.extras], axis=1) if rotated else found.boxes
        choose = suppress_rotated if rotated else suppress
        return found.take(choose(boxes, found.scores, found.classes, self.iou, self.agnostic, self.max_detections))

    def _usable(self, found: Candidates) -> Candidates:
        keep = found.usable()
        if keep.all():
            return found
        self._leave_out(int((~keep).sum()))
        return found.take(keep)

    def _leave_out(self, count: int) -> None:
        """Count objects whose numbers are not finite."""
        with self._lock:
            first, self.not_finite = not self.not_finite, self.not_finite + count
        if first:
            advice = "does it overflow in float16? export it again with --precision fp32"
            print(f"{self._name}: objects with numbers that are not finite are left out: {advice}", file=sys.stderr)

    def _to_detections(
        self, found: Candidates, outputs: Sequence[np.ndarray], index: int, placement: Placement
    ) -> Detections:
        """Move the objects to photo pixels, with what the task adds."""
        task, count = self.info.task, len(found.scores)
        extra: dict[str, np.ndarray] = {}
        if task == "obb":
            rotated = rotated_to_image(np.concatenate([found.boxes, found.extras], axis=1), placement)
            corners = rotated_corners(rotated)
            boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
            extra["rotated_boxes"] = rotated
        else:
            boxes = to_image(found.boxes.reshape(count, 2, 2), placement).reshape(count, 4)
        if task == "pose":
            keypoints = found.extras.reshape(count, *self.info.keypoint_shape)
            points = to_image(keypoints[..., :2], placement)
            extra["keypoints"] = np.concatenate([points, keypoints[..., 2:]], axis=2)
        elif task == "segment":
            extra["masks"] = photo_masks(outputs[1][index], found.extras, boxes, placement)
        detections = Detections(boxes, found.scores, found.classes, self.info.names, placement.image, **extra)
        if task == "segment":  # like the host, an object without a single pixel of mask is none
            drawn = extra["masks"].any(axis=(1, 2))
            if not drawn.all() and not np.isfinite(outputs[1][index]).all():
                self._leave_out(int((~drawn).sum()))
            return detections[drawn]
        return detections


def _load(image: Any, budget: PixelBudget) -> np.ndarray:
    """Read a path; anything else is taken for an array."""
    if not isinstance(image, (str, Path)):
        return image
    try:
        return load_image(image, budget)
    except (UnreadableImageError, ImageTooLargeError) as error:
        raise FGDError(f"{image} cannot be read as an image{failure_detail(error)}") from None
