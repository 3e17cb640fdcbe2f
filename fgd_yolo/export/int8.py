"""Convert a float32 file to int8, and measure how much it loses and how much speed it gains."""

from __future__ import annotations

import tempfile
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, shape_inference

from fgd_yolo.datasets import read_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.export.agreement import label_with_detections
from fgd_yolo.export.calibration import CalibrationImages, Ranges, calibration_files, calibration_images, measure_ranges
from fgd_yolo.export.decode_tail import transpose_softmax, without_decode_tail
from fgd_yolo.export.file_metrics import seconds_per_run
from fgd_yolo.export.int8_checks import AgreementCheck, Check, LabelCheck
from fgd_yolo.export.metadata import read_metadata
from fgd_yolo.export.precisions import Conversion
from fgd_yolo.export.quantize import always_float, quantize, rank_layers
from fgd_yolo.export.sample_images import input_batches, input_channels, read_images, spread
from fgd_yolo.task_table import TASKS, Accuracy
from fgd_yolo.text import listed

SENSITIVITY_IMAGES = 8


@dataclass(frozen=True)
class Int8Report:
    """What int8 changed, and whether the file should be used.

    Args:
        float_nodes: nodes that had to stay float32 for accuracy, besides the decode tail and the layer that
            reads the image; usually none.
        calibration: number of images, number of unreadable ones, sha256 of their content, data or frames, method.
        check: what the mAPs are measured against: the labels of the val split, so that they are accuracy, or float32's
            own detections on held-out frames, so that they are agreement with it.
        map_fp32: mAPs of the float32 file.
        map_int8: mAPs of the int8 file.
        drop_points: largest loss of an mAP50-95, of what the task predicts or of the boxes, in points (hundredths);
            negative for a gain.
        speed_ratio: speed relative to float32 on this machine's CPU, one thread.
        refusal: why the file should not be used: it is not faster, loses more than allowed, or the mAP of float32
            itself is no more than that. None if it may be used.
    """

    float_nodes: tuple[str, ...]
    calibration: dict[str, Any]
    check: Check
    map_fp32: Accuracy
    map_int8: Accuracy
    drop_points: float
    speed_ratio: float
    refusal: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the file may be used."""
        return self.refusal is None

    def metadata(self) -> dict[str, Any]:
        """Return entries for the file's metadata; the mAPs are those of the int8 file."""
        return {
            **self.check.metadata(self.map_fp32, self.map_int8, self.drop_points),
            "speed_ratio": self.speed_ratio,
            "calibration": dict(self.calibration),
            "float_nodes": list(self.float_nodes),
            **({"refused": self.refusal} if self.refusal else {}),
        }

    def summary(self) -> list[str]:
        """Return the change of accuracy, or the agreement with float32, and of speed on this machine."""
        lines = [
            *self.check.changes(self.map_fp32, self.map_int8),
            f"{self.speed_ratio:.2f} times as fast as fp32 on this machine's CPU",
        ]
        if self.float_nodes:
            count = len(self.float_nodes)
            stay = "1 sensitive node stays" if count == 1 else f"{count} sensitive nodes stay"
            lines.append(f"{stay} in float32: {listed(self.float_nodes)}")
        return lines


def convert(conversion: Conversion) -> Int8Report:
    """Write an int8 copy of a float32 file, and measure both on real images and on this machine's CPU.

    Everything is int8 except for the decode tail and the first layer. If that loses more than it may, the most
    sensitive layers return to float32, first one, then 2, 4, 8 and so on, until the loss is allowed.

    Convention:
        Ranges, and the order in which layers return, come from the train images or the frames to calibrate on only.
        The val split or, without labelled data, the held-out frames are measured for acceptance and, if layers must
        return, to know when to stop.
    Args:
        conversion: files and options. A file is written even if it is refused: the fastest attempt that is accepted,
            else the most accurate one that is faster than float32.
    Raises:
        FGDError: there are no images to calibrate or to measure on, or the file cannot be quantized.
    """
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-agreement-") as folder:
        model = _simplified(conversion.source)
        check = _check(conversion, input_channels(model), Path(folder))
        return _convert(conversion, model, check)


def _check(conversion: Conversion, channels: int, folder: Path) -> Check:
    """Return what the files are measured against; without data, the folder gets float32's detections as labels."""
    metadata = read_metadata(conversion.source)
    task = TASKS[metadata.get("task", "detect")]
    if conversion.frames is None or conversion.data is not None:
        _check_data(metadata, channels, conversion.data)
        return LabelCheck(task, conversion.data)
    held_out = conversion.frames.held_out
    return AgreementCheck(task, label_with_detections(conversion.source, held_out, folder, channels))


def _convert(conversion: Conversion, model: ModelProto, check: Check) -> Int8Report:
    imgsz = conversion.imgsz
    max_drop = check.max_drop if conversion.max_map_drop is None else conversion.max_map_drop
    images = _images_to_calibrate(conversion, input_channels(model))
    ranges = measure_ranges(without_decode_tail(model), images.paths, imgsz)
    map_fp32 = check.measure(conversion.source, imgsz)
    search = _Search(conversion.source, conversion.target.parent, model, ranges, images.paths, imgsz, check, map_fp32)
    best = _best(list(_attempts(search, max_drop)), max_drop)
    onnx.save(best.model, conversion.target)
    accepted = best.accepted(max_drop) and check.flaw(map_fp32, max_drop) is None
    return Int8Report(
        best.float_nodes,
        _calibration_entry(conversion, images),
        check,
        map_fp32,
        best.maps,
        best.drop_points,
        best.speed_ratio,
        refusal=None if accepted else _refusal(best, check, map_fp32, max_drop),
    )


def _images_to_calibrate(conversion: Conversion, channels: int) -> CalibrationImages:
    if conversion.frames is None:
        return calibration_images(conversion.data, channels=channels)
    return calibration_files(
        conversion.frames.calibration, "frames to calibrate on", "calibrate= (--calibrate)", channels
    )


def _calibration_entry(conversion: Conversion, images: CalibrationImages) -> dict[str, Any]:
    frames = conversion.frames
    return {
        "images": len(images.paths),
        "unreadable": images.unreadable,
        "sha256": images.sha256,
        **({"data": Path(conversion.data).name} if frames is None else {"frames": list(frames.names)}),
        "method": "minmax",
    }


@dataclass(frozen=True)
class _Attempt:
    """An int8 model with some nodes in float32, and its measurements."""

    model: ModelProto
    float_nodes: tuple[str, ...]
    maps: Accuracy
    drop_points: float
    speed_ratio: float

    def accepted(self, max_map_drop: float) -> bool:
        return self.speed_ratio > 1 and self.drop_points <= max_map_drop


@dataclass(frozen=True)
class _Search:
    """The inputs that all attempts share."""

    source: Path
    folder: Path
    model: ModelProto
    ranges: Ranges
    images: tuple[Path, ...]
    imgsz: int | tuple[int, int]
    check: Check
    map_fp32: Accuracy

    def attempt(self, float_nodes: Sequence[str]) -> _Attempt:
        """Quantize all but some nodes, and measure the result."""
        quantized = quantize(self.model, self.ranges, [*always_float(self.model), *float_nodes])
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".int8-") as folder:
            path = Path(folder) / "int8.onnx"
            onnx.save(quantized, path)
            maps = self.check.measure(path, self.imgsz)
            fp32_s, int8_s = seconds_per_run([self.source, path], imgsz=self.imgsz)
        return _Attempt(quantized, tuple(float_nodes), maps, _largest_drop(self.map_fp32, maps), fp32_s / int8_s)

    def ranked_layers(self) -> list[list[str]]:
        """Return the nodes of each layer, the most sensitive layer first."""
        body = without_decode_tail(self.model)
        images = read_images(spread(self.images, SENSITIVITY_IMAGES), "reading images", input_channels(body))
        batches = list(input_batches(body, images, self.imgsz))
        return rank_layers(body, self.ranges, always_float(self.model), batches)


def _check_data(metadata: Mapping[str, str], channels: int, data: Any) -> None:
    """Refuse data with other numbers of classes or channels, on which the mAP of this model would be meaningless."""
    try:
        dataset = read_dataset(data, recorded=True)
    except FGDError:  # the problem is reported when its images are read
        return
    model_counts = {"classes": len(literal_eval(metadata["names"])), "channels": channels}
    for noun, count in {"classes": len(dataset.names), "channels": dataset.channels}.items():
        if count != model_counts[noun]:
            raise FGDError(
                f"int8 is measured on the data, but {data} has {count} {noun} and the model {model_counts[noun]}: pass "
                "data= (--data) with the data that it was trained on"
            )


def _simplified(source: Path) -> ModelProto:
    model = onnx.load(source)
    transpose_softmax(model)
    return shape_inference.infer_shapes(model)


def _attempts(search: _Search, max_map_drop: float) -> Iterator[_Attempt]:
    """Yield attempts with more and more layers in float32, until one is accepted or is no longer faster."""
    attempt = search.attempt(())
    yield attempt
    if attempt.accepted(max_map_drop) or attempt.speed_ratio <= 1:
        return
    layers = search.ranked_layers()
    count = 1
    while count < len(layers) and attempt.speed_ratio > 1 and not attempt.accepted(max_map_drop):
        attempt = search.attempt([name for layer in layers[:count] for name in layer])
        yield attempt
        count *= 2


def _best(attempts: Sequence[_Attempt], max_map_drop: float) -> _Attempt:
    """Return the first accepted attempt, which is the fastest, else the most accurate one faster than float32."""
    return min(attempts, key=lambda attempt: (attempt.speed_ratio <= 1, max(attempt.drop_points, max_map_drop)))


def _largest_drop(before: Accuracy, after: Accuracy) -> float:
    return 100 * max(before.map50_95 - after.map50_95, before.box_map50_95 - after.box_map50_95)


def _refusal(attempt: _Attempt, check: Check, map_fp32: Accuracy, max_map_drop: float) -> str:
    flaw = check.flaw(map_fp32, max_map_drop)
    if flaw:
        return flaw
    speed = f"runs {attempt.speed_ratio:.2f} times as fast as float32 here"
    loss = check.loss(map_fp32, attempt.maps, attempt.drop_points)
    float_layers = f" even with {len(attempt.float_nodes)} sensitive nodes in float32" if attempt.float_nodes else ""
    return f"int8 {speed} and {loss}{float_layers}; it must be faster and may lose {max_map_drop:g}"
