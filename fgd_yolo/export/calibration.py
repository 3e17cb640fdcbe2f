"""Real images of the train split, and the range that every activation takes on them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from fgd_yolo.console import progress
from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.export.sample_images import as_input, letterbox, spread
from fgd_yolo.runtime.images import read_image

CALIBRATION_IMAGES = 128  # of 292: from 16 on, more images moved a YOLOv8n's mAP by no more than 0.1 point
LEAST_IMAGES = 16

Ranges = dict[str, tuple[float, float]]
"""The smallest and the largest value of each tensor, by its name."""


@dataclass(frozen=True)
class CalibrationImages:
    """What a file is calibrated on.

    Args:
        paths: the images, all of which can be read.
        unreadable: how many more could not be.
        sha256: of the images' bytes, the same wherever they lie and whatever they are called.
    """

    paths: tuple[Path, ...]
    unreadable: int
    sha256: str


def calibration_images(data: str | Path | None, recorded: Any, count: int = CALIBRATION_IMAGES) -> CalibrationImages:
    """Return images of the train split, evenly spread over it.

    Args:
        data: dataset YAML given by the user.
        recorded: what the checkpoint says it was trained on, used when no data is given.
        count: at most so many.
    Raises:
        FGDError: no such data, or fewer images than calibration needs.
    """
    paths = spread(split_images(data if data is not None else recorded, "train", "to calibrate int8 on"), count)
    readable = [path for path in progress(paths, "reading calibration images") if read_image(path) is not None]
    if len(readable) < LEAST_IMAGES:
        raise FGDError(
            f"int8 must be calibrated on at least {LEAST_IMAGES} images, but only {len(readable)} of the "
            f"{len(paths)} train images of {data if data is not None else recorded} can be read; "
            "pass data= (--data) with more of them"
        )
    digests = sorted(hashlib.sha256(path.read_bytes()).digest() for path in readable)
    return CalibrationImages(tuple(readable), len(paths) - len(readable), hashlib.sha256(b"".join(digests)).hexdigest())


def input_batches(
    model: ModelProto, paths: Sequence[Path], imgsz: int | tuple[int, int], what: str = "reading images"
) -> Iterator[np.ndarray]:
    """Yield network inputs made from image files, each read when it is asked for.

    Args:
        model: as for `photo_batches`.
        paths: images that can be read.
        imgsz: as for `photo_batches`.
        what: name of the progress bar.
    """
    return photo_batches(model, map(read_image, progress(paths, what)), imgsz)


def photo_batches(
    model: ModelProto, photos: Iterable[np.ndarray], imgsz: int | tuple[int, int]
) -> Iterator[np.ndarray]:
    """Yield network inputs made from photos, a batch at a time.

    Convention:
        Letterboxed as Ultralytics' validator does it; (B, 3, H, W), RGB, in [0, 1]. The last batch of a file
        with a fixed batch is filled up with its first images.
    Args:
        model: the detector; its fixed batch and size count before `imgsz`.
        photos: BGR uint8 images of any size.
        imgsz: height and width, or the side of a square, of a file with a dynamic size, in pixels.
    """
    batch, _, *size = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    height, width = size if all(size) else np.broadcast_to(imgsz, 2).tolist()
    batch, photos = batch or 1, iter(photos)
    while group := list(islice(photos, batch)):
        inputs = as_input(letterbox(group, height, width))
        yield np.resize(inputs, (batch, *inputs.shape[1:]))


def measure_ranges(model: ModelProto, paths: Sequence[Path], imgsz: int | tuple[int, int]) -> Ranges:
    """Return the smallest and largest value of every float tensor of a model over all images.

    Minimum and maximum, because nothing else was better: percentiles (99.99, 99.999, 99.9999), entropy and
    moving averages stayed within 0.3 mAP point of them, and cost the histograms' memory.

    Args:
        model: float32, with shapes inferred, and without parts whose tensors may be empty.
        paths: images that can be read; one batch at a time is in memory.
        imgsz: as for `input_batches`.
    """
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-calibration-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, augmented_model_path=augmented, calibrate_method=CalibrationMethod.MinMax)
        calibrator.collect_data(_Reader(model.graph.input[0].name, input_batches(model, paths, imgsz, "calibrating")))
        found = calibrator.compute_data()
    ranges = {name: found[name].range_value for name in found.keys()}  # noqa: SIM118 (it is no dictionary)
    return {name: (np.min(lowest).item(), np.max(highest).item()) for name, (lowest, highest) in ranges.items()}


class _Reader(CalibrationDataReader):
    """Feeds the calibrator."""

    def __init__(self, name: str, batches: Iterator[np.ndarray]):
        self._name = name
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
