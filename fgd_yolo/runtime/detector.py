"""The detector: images in, detections in image pixels out."""

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
from fgd_yolo.preprocessing import Placement, letterbox, place, stretch, to_planes
from fgd_yolo.runtime.decode import Candidates, decode_anchors, decode_rows, fractions_to_corners
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.images import UnreadableImageError, convert_channels, failure_detail, load_image
from fgd_yolo.runtime.model_info import read_model_info
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU, suppress, suppress_rotated
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS, ImageTooLargeError, PixelBudget
from fgd_yolo.runtime.session import open_session
from fgd_yolo.runtime.tasks import DECODERS, OutputContext
from fgd_yolo.text import printable

MAX_BATCH = 8
"""Images that are read, preprocessed and run at a time by a file of dynamic batch; limits the memory of a long list."""
_PIXELS_PER_ANCHOR = 1024 / 21  # for three levels of strides 8, 16 and 32
_END_TO_END_ROWS = 300  # Ultralytics' default, if the file has no fixed number


class OnnxDetector:
    """An exported YOLO for detection, segmentation, pose or oriented boxes.

    Returns the same boxes as Ultralytics for the same file, except that OpenVINO computes int8 differently. Calls are
    thread-safe.

    Objects with non-finite values, such as from an overflow in float16, are dropped and counted in `non_finite`; a
    warning is printed for the first of them.

    Args:
        path: the ONNX file.
        device: `auto`, `cpu`, `cuda`, `tensorrt` or `openvino`.
        threads: CPU threads; None uses the cores that this process may use.
        mode: `latency` uses all threads for one image, `throughput` processes several images at once.
        conf: confidence threshold in [0, 1]; objects with a score at or below it are dropped. A file with embedded NMS
            has already dropped those below the threshold of its export (0.25 by default), which it does not record.
        iou: NMS threshold in [0, 1]: of two boxes of a class that overlap by more, the one of lower score is dropped.
        agnostic: let boxes of different classes suppress each other too. `iou` and `agnostic` have no effect on files
            that need no NMS or have it embedded.
        max_detections: maximum number of objects per image, those of the highest scores.
        max_megapixels: image files with more pixels are not decoded; arrays may have any size.

    Raises:
        UsageError: an argument is invalid.
        FGDError: the file cannot be opened or is not a detector, or the device is not available.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        threads: int | None = None,
        *,
        mode: str = "latency",
        conf: float = DEFAULT_CONFIDENCE,
        iou: float = DEFAULT_IOU,
        agnostic: bool = False,
        max_detections: int = 300,
        max_megapixels: float = DEFAULT_MEGAPIXELS,
    ):
        for name, threshold in (("conf", conf), ("iou", iou)):
            if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
                raise UsageError(f"{name} must be a number from 0 to 1, got {threshold!r}")
        if isinstance(max_detections, bool) or not isinstance(max_detections, Integral) or max_detections < 1:
            raise UsageError(f"max_detections must be an integer of at least 1, got {max_detections!r}")
        self._budget = PixelBudget(max_megapixels)
        self.conf, self.iou, self.agnostic, self.max_detections = conf, iou, agnostic, max_detections
        self._session = open_session(Path(path), device, threads, mode)
        self.device = self._session.device
        self.info, warnings = read_model_info(self._session.metadata, self._session.inputs, self._session.outputs)
        for warning in warnings:
            print(f"{printable(Path(path).name)}: {warning}", file=sys.stderr)
        self.non_finite = 0
        self._name, self._lock = printable(Path(path).name), threading.Lock()
        self.workers = self._session.workers
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="detector") if self.workers > 1 else None
        self.max_batch = self._maximum_batch()
        self._min_canvas_pixels = self._minimum_canvas()

    @property
    def names(self) -> dict[int, str]:
        """The name of each class."""
        return self.info.names

    def __call__(self, images: Any) -> Detections | list[Detections]:
        """Detect on one image, or on several in order.

        Args:
            images: an array (height, width, channels) uint8, BGR for a model of three channels; another array that
                `convert_channels` accepts; or the path of an image. Or a list or tuple of these, or an array
                (B, height, width, channels).
        Returns:
            The detections of one image, or a list of them for a list, tuple or batch.
        Raises:
            FGDError: a file cannot be read, or an array is not an image, or has a number of channels that the model
                cannot take.
        """
        several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
        if not several:
            return self._detect([images])[0]
        chunks = [images[start : start + self.max_batch] for start in range(0, len(images), self.max_batch)]
        results = self._pool.map(self._detect, chunks) if self._pool else map(self._detect, chunks)
        return [detections for chunk in results for detections in chunk]

    def preprocess(self, image: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, Placement]:
        """Preprocess an image for the network.

        Args:
            image: an array that `convert_channels` accepts.
            out: an array to write to, of the shape and type of the input for one image; None creates one.
        Returns:
            The input, (1, C, h, w) in [0, 1], RGB for three channels, or (1, h, w, C) uint8, BGR for three, for a file
            with such an input; and the placement of the image in it.
        """
        info = self.info
        image = convert_channels(image, info.channels)
        placement = self._place(image.shape[:2])
        if out is None:
            out = np.empty(info.input_shape(1, placement.canvas), info.dtype)
        if info.uint8_input:
            letterbox(image, placement, out[0])
            return out, placement
        return to_planes(letterbox(image, placement), out), placement

    def _place(self, image: tuple[int, int]) -> Placement:
        """Return the placement of an image of this height and width in the input."""
        info = self.info
        if info.rtdetr:
            return stretch(image, info.imgsz)
        placement = place(image, info.imgsz, info.stride if info.dynamic_size else None)
        if placement.canvas[0] * placement.canvas[1] < self._min_canvas_pixels:
            return place(image, info.imgsz)
        return placement

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Run the network on a batch of inputs; for a file of fixed batch it is padded with zeros."""
        count, batch = len(tensor), self.info.batch
        if batch is None or count == batch:
            return self._session.run(tensor)
        padding = np.zeros((batch - count, *tensor.shape[1:]), tensor.dtype)
        return [output[:count] for output in self._session.run(np.concatenate([tensor, padding]))]

    def postprocess(self, outputs: Sequence[np.ndarray], placements: Sequence[Placement]) -> list[Detections]:
        """Return the detections of each image of a batch from the network's outputs and the placements."""
        return [
            self._to_detections(self._candidates(outputs[0][index], placement), outputs, index, placement)
            for index, placement in enumerate(placements)
        ]

    def _maximum_batch(self) -> int:
        """Return the maximum number of images in one run of the network."""
        if self.info.batch is not None:
            return self.info.batch
        if self._pool:
            return 1
        # NMS embedded in a file of dynamic batch is unrolled for the batch size of its export.
        limit = self._session.metadata.get("batch", "") if self.info.embedded_nms else str(MAX_BATCH)
        return min(MAX_BATCH, int(limit)) if limit.isdecimal() else 1

    def _minimum_canvas(self) -> float:
        """Return the minimum number of input pixels for an end-to-end head of dynamic size, else 0.

        Such a network fails if it has fewer anchors than rows of output.
        """
        info = self.info
        if not info.dynamic_size or not info.decoded or info.embedded_nms:
            return 0
        return (self._session.outputs[0].shape[1] or _END_TO_END_ROWS) * _PIXELS_PER_ANCHOR

    def _detect(self, images: Sequence[Any]) -> list[Detections]:
        """Detect on a few images; inputs of the same shape run as one batch."""
        prepared = [self.preprocess(_load(image, self._budget, self.info.channels)) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (tensor, _) in enumerate(prepared):
            groups.setdefault(tensor.shape, []).append(index)
        results: dict[int, Detections] = {}
        for group in groups.values():
            tensors = [prepared[index][0] for index in group]
            outputs = self.infer(tensors[0] if len(group) == 1 else np.concatenate(tensors))
            results.update(zip(group, self.postprocess(outputs, [prepared[index][1] for index in group]), strict=True))
        return [results[index] for index in range(len(prepared))]

    def _candidates(self, output: np.ndarray, placement: Placement) -> Candidates:
        """Return the candidates of one image after NMS, in pixels of the canvas."""
        if self.info.decoded:
            rows = self._drop_non_finite(decode_rows(output, self.conf, self.max_detections))
            return rows._replace(boxes=fractions_to_corners(rows.boxes, placement.canvas)) if self.info.rtdetr else rows
        rotated = DECODERS[self.info.task].rotated
        candidates = self._drop_non_finite(decode_anchors(output, len(self.info.names), self.conf, rotated))
        boxes = np.concatenate([candidates.boxes, candidates.extras], axis=1) if rotated else candidates.boxes
        nms = suppress_rotated if rotated else suppress
        scores, classes = candidates.scores, candidates.classes
        return candidates.take(nms(boxes, scores, classes, self.iou, self.agnostic, self.max_detections))

    def _drop_non_finite(self, candidates: Candidates) -> Candidates:
        keep = candidates.finite()
        if keep.all():
            return candidates
        self._count_non_finite(int((~keep).sum()))
        return candidates.take(keep)

    def _count_non_finite(self, count: int) -> None:
        """Count objects with non-finite values, and warn of the first ones."""
        with self._lock:
            first, self.non_finite = not self.non_finite, self.non_finite + count
        if first:
            advice = "if the model overflows in float16, export it with --precision fp32"
            print(f"{self._name}: objects with non-finite values are dropped; {advice}", file=sys.stderr)

    def _to_detections(
        self, candidates: Candidates, outputs: Sequence[np.ndarray], index: int, placement: Placement
    ) -> Detections:
        """Convert candidates to detections in image pixels, with the further fields of the task."""
        prototypes = outputs[1][index] if len(outputs) > 1 else None
        context = OutputContext(placement, prototypes, self.info.keypoint_shape)
        boxes, fields = DECODERS[self.info.task].to_fields(candidates, context)
        detections = Detections(
            boxes, candidates.scores, candidates.classes, self.info.names, placement.image, **fields
        )
        if detections.mask is None:
            return detections
        keep = detections.mask.any(axis=(1, 2))  # as in Ultralytics, an object with an empty mask is dropped
        if not keep.all() and not np.isfinite(prototypes).all():
            self._count_non_finite(int((~keep).sum()))
        return detections[keep]


def _load(image: Any, budget: PixelBudget, channels: int) -> np.ndarray:
    """Read the file of a path; return anything else unchanged."""
    if not isinstance(image, (str, Path)):
        return image
    try:
        return load_image(image, budget, channels)
    except (UnreadableImageError, ImageTooLargeError) as error:
        raise FGDError(f"{image} cannot be read as an image{failure_detail(error)}") from None
