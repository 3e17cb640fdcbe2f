"""Calibrate a file: measure the range of every activation on real images, of the train split or of cameras."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from fgd_yolo.export.sample_images import input_batches, input_channels, read_images, spread
from fgd_yolo.runtime.images import try_load_image

CALIBRATION_IMAGES = 128  # of 292; more than 16 changed a YOLOv8n's mAP by at most 0.1 points
MIN_IMAGES = 16

Ranges = dict[str, tuple[float, float]]
"""The smallest and the largest value of each tensor, by its name."""


@dataclass(frozen=True)
class CalibrationImages:
    """The images that a file is calibrated on.

    Args:
        paths: readable images.
        unreadable: number of further images that could not be read.
        sha256: hash of the images' content, independent of their paths and names.
    """

    paths: tuple[Path, ...]
    unreadable: int
    sha256: str


def calibration_images(data: Any, count: int = CALIBRATION_IMAGES, channels: int = 3) -> CalibrationImages:
    """Return images of the train split, evenly spread over it.

    Args:
        data: dataset, as the user or a checkpoint names it.
        count: maximum number of images.
        channels: number of channels that the model takes.
    Raises:
        FGDError: the dataset does not exist, or has fewer images than calibration needs.
    """
    paths = split_images(data, "train", "to calibrate int8 on")
    return calibration_files(paths, f"train images of {data}", "data= (--data)", channels, count)


def calibration_files(
    paths: Sequence[Path], described: str, option: str, channels: int = 3, count: int = CALIBRATION_IMAGES
) -> CalibrationImages:
    """Return the readable ones of images, evenly spread over them.

    Args:
        paths: images, in an order in which neighbours may be alike.
        described: what they are, for the error message.
        option: where the user passes more of them.
        channels: number of channels that the model takes.
        count: maximum number of images.
    Raises:
        FGDError: fewer images can be read than calibration needs.
    """
    paths = spread(paths, count)
    read = progress(paths, "reading calibration images")
    readable = [path for path in read if try_load_image(path, channels=channels) is not None]
    if len(readable) < MIN_IMAGES:
        raise FGDError(
            f"int8 must be calibrated on at least {MIN_IMAGES} images, but only {len(readable)} of the "
            f"{len(paths)} {described} can be read; pass {option} with more of them"
        )
    digests = sorted(hashlib.sha256(path.read_bytes()).digest() for path in readable)
    return CalibrationImages(tuple(readable), len(paths) - len(readable), hashlib.sha256(b"".join(digests)).hexdigest())


def measure_ranges(model: ModelProto, paths: Sequence[Path], imgsz: int | tuple[int, int]) -> Ranges:
    """Return the smallest and largest value of every float tensor of a model over all images.

    Minimum and maximum are used because nothing else was better: percentiles (99.99, 99.999, 99.9999), entropy and
    moving averages stayed within 0.3 mAP points of them, and cost the memory of histograms.

    Args:
        model: float32, with shapes inferred, and without parts whose tensors may be empty.
        paths: images that can be read; one batch at a time is in memory.
        imgsz: height and width, or the side of a square, for a file of dynamic size, in pixels.
    """
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-calibration-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, augmented_model_path=augmented, calibrate_method=CalibrationMethod.MinMax)
        batches = input_batches(model, read_images(paths, "calibrating", input_channels(model)), imgsz)
        calibrator.collect_data(_BatchReader(model.graph.input[0].name, batches))
        data = calibrator.compute_data()
    ranges = {name: data[name].range_value for name in data.keys()}  # noqa: SIM118 (not a dictionary)
    return {name: (np.min(lowest).item(), np.max(highest).item()) for name, (lowest, highest) in ranges.items()}


class _BatchReader(CalibrationDataReader):
    """Feeds batches to the calibrator."""

    def __init__(self, name: str, batches: Iterator[np.ndarray]):
        self._name = name
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
