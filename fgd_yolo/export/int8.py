"""Convert a float32 file to int8, and measure how much accuracy it loses and speed it gains."""

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
from fgd_yolo.export.calibration import Ranges, calibration_images, measure_ranges
from fgd_yolo.export.decode_tail import transpose_softmax, without_decode_tail
from fgd_yolo.export.file_metrics import measure_map, seconds_per_run
from fgd_yolo.export.metadata import read_metadata
from fgd_yolo.export.precisions import Conversion
from fgd_yolo.export.quantize import always_float, quantize, rank_layers
from fgd_yolo.export.sample_images import input_batches, input_channels, read_images, spread
from fgd_yolo.task_table import TASKS, Accuracy, YoloTask
from fgd_yolo.text import listed

SENSITIVITY_IMAGES = 8


@dataclass(frozen=True)
class Int8Report:
    """What int8 changed, and whether the file should be used.

    Args:
        float_nodes: nodes that had to stay float32 for accuracy, besides the decode tail and the layer that
            reads the image; usually none.
        calibration: number of images, number of unreadable ones, sha256 of their content, data, method.
        task: task of the model.
        map_fp32: accuracy of the float32 file on the val split.
        map_int8: accuracy of the int8 file.
        drop_points: largest loss of an mAP50-95, of what the task predicts or of the boxes, in points (hundredths);
            negative for a gain.
        speed_ratio: speed relative to float32 on this machine's CPU, one thread.
        refusal: why the file should not be used: it is not faster, loses more than allowed, or the mAP of float32
            itself is no more than that. None if it may be used.
    """

    float_nodes: tuple[str, ...]
    calibration: dict[str, Any]
    task: YoloTask
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
            **self.map_int8._asdict(),
            "fp32": self.map_fp32._asdict(),
            "drop_points": self.drop_points,
            "speed_ratio": self.speed_ratio,
            "calibration": dict(self.calibration),
            "float_nodes": list(self.float_nodes),
            **({"refused": self.refusal} if self.refusal else {}),
        }

    def summary(self) -> list[str]:
        """Return the change of accuracy on the val images and of speed on this machine."""
        lines = [
            *_changes(self.task, self.map_fp32, self.map_int8),
            f"{self.speed_ratio:.2f} times as fast as fp32 on this machine's CPU",
        ]
        if self.float_nodes:
            count = len(self.float_nodes)
            stay = "1 sensitive node stays" if count == 1 else f"{count} sensitive nodes stay"
            lines.append(f"{stay} in float32: {listed(self.float_nodes)}")
        return lines


def convert(conversion: Conversion) -> Int8Report:
    """Write an int8 copy of a float32 file, and measure both on the val split and on this machine's CPU.

    Everything is int8 except for the decode tail and the first layer. If that loses more than `max_map_drop`, the most
    sensitive layers return to float32, first one, then 2, 4, 8 and so on, until the loss is allowed.

    Convention:
        Ranges, and the order in which layers return, come from train images only. The val split is measured
        for acceptance and, if layers must return, to know when to stop.
    Args:
        conversion: files and options. A file is written even if it is refused: the fastest attempt that is accepted,
            else the most accurate one that is faster than float32.
    Raises:
        FGDError: there are no images to calibrate or to measure on, or the file cannot be quantized.
    """
    source, data, imgsz, max_map_drop = conversion.source, conversion.data, conversion.imgsz, conversion.max_map_drop
    metadata = read_metadata(source)
    model = _simplified(source)
    channels = input_channels(model)
    _check_data(metadata, channels, data)
    images = calibration_images(data, channels=channels)
    ranges = measure_ranges(without_decode_tail(model), images.paths, imgsz)
    task = TASKS[metadata.get("task", "detect")]
    map_fp32 = measure_map(source, data, imgsz, task.name)
    search = _Search(source, conversion.target.parent, model, ranges, images.paths, data, imgsz, task, map_fp32)
    best = _best(list(_attempts(search, max_map_drop)), max_map_drop)
    onnx.save(best.model, conversion.target)
    calibration = {
        "images": len(images.paths),
        "unreadable": images.unreadable,
        "sha256": images.sha256,
        "data": Path(data).name,
        "method": "minmax",
    }
    accepted = best.accepted(max_map_drop) and not _is_inconclusive(map_fp32, max_map_drop)
    return Int8Report(
        best.float_nodes,
        calibration,
        task,
        map_fp32,
        best.maps,
        best.drop_points,
        best.speed_ratio,
        refusal=None if accepted else _refusal(best, task, map_fp32, max_map_drop),
    )


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
    data: str | Path
    imgsz: int | tuple[int, int]
    task: YoloTask
    map_fp32: Accuracy

    def attempt(self, float_nodes: Sequence[str]) -> _Attempt:
        """Quantize all but some nodes, and measure the result."""
        quantized = quantize(self.model, self.ranges, [*always_float(self.model), *float_nodes])
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".int8-") as folder:
            path = Path(folder) / "int8.onnx"
            onnx.save(quantized, path)
            maps = measure_map(path, self.data, self.imgsz, self.task.name)
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


def _changes(task: YoloTask, before: Accuracy, after: Accuracy) -> list[str]:
    """Return a line for each mAP50-95 of a task: in float32, in int8, and the difference in points."""
    lines = []
    for words, prefix in task.accuracies.items():
        fp32, int8 = (100 * getattr(measured, f"{prefix}map50_95") for measured in (before, after))
        change = f"{abs(fp32 - int8):.2f} points {'lost' if fp32 >= int8 else 'gained'}"
        of_words = f" of {words}" if len(task.accuracies) > 1 else ""
        lines.append(f"mAP50-95{of_words} {fp32:.2f} in fp32, {int8:.2f} in int8: {change}")
    return lines


def _is_inconclusive(map_fp32: Accuracy, max_map_drop: float) -> bool:
    """Return whether every loss would be accepted, as on data with other classes; a limit of 100 requests just that."""
    return 100 * map_fp32.map50_95 <= max_map_drop < 100


def _refusal(attempt: _Attempt, task: YoloTask, map_fp32: Accuracy, max_map_drop: float) -> str:
    if _is_inconclusive(map_fp32, max_map_drop):
        return (
            f"float32 itself has {100 * map_fp32.map50_95:.2f} {task.map_name} points on the val split, no more than "
            f"int8 may lose ({max_map_drop:g}), so the loss cannot be measured: train the model longer, or pass the "
            "data= (--data) that it was trained on"
        )
    speed = f"runs {attempt.speed_ratio:.2f} times as fast as float32 here"
    numbers = (
        f"{words}: {getattr(map_fp32, f'{prefix}map50_95'):.4f} to {getattr(attempt.maps, f'{prefix}map50_95'):.4f}"
        for words, prefix in task.accuracies.items()
    )
    loss = f"loses {attempt.drop_points:.2f} mAP50-95 points ({', '.join(numbers)})"
    float_layers = f" even with {len(attempt.float_nodes)} sensitive nodes in float32" if attempt.float_nodes else ""
    return f"int8 {speed} and {loss}{float_layers}; it must be faster and may lose {max_map_drop:g}"
