"""From a float32 file to an int8 one that was measured before anybody is asked to use it."""

from __future__ import annotations

import tempfile
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, shape_inference

from fgd_yolo.datasets import dataset_classes
from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration import Ranges, calibration_images, input_batches, measure_ranges
from fgd_yolo.export.measure import map_of, seconds_per_run
from fgd_yolo.export.quantize import always_float, quantize
from fgd_yolo.export.sample_images import spread
from fgd_yolo.export.sensitivity import rank_layers
from fgd_yolo.export.tail import body, quicken

SEARCH_IMAGES = 8


@dataclass(frozen=True)
class Int8Report:
    """What int8 made of a file, and whether it is worth having.

    Args:
        float_nodes: nodes that had to stay float32 for accuracy, beside the decode tail and the layer that
            reads the image; none as a rule.
        calibration: number of images, how many more could not be read, sha256 of those that were, data, method.
        map_fp32: mAPs of the float32 file on the val split, in [0, 1].
        map_int8: the same of the int8 file.
        drop_points: what the worst of its mAP50-95 lost, in points of a hundred; negative for a gain.
        speed_ratio: how many times as fast as float32 on this machine's CPU, one thread.
        accepted: faster, and within the drop that was allowed, where float32 had more than that to lose.
        refusal: the numbers in a sentence, where it was not.
    """

    float_nodes: tuple[str, ...]
    calibration: dict[str, Any]
    map_fp32: dict[str, float]
    map_int8: dict[str, float]
    drop_points: float
    speed_ratio: float
    accepted: bool
    refusal: str | None


@dataclass(frozen=True)
class _Attempt:
    """One choice of float nodes, and what it is worth."""

    model: ModelProto
    float_nodes: tuple[str, ...]
    maps: dict[str, float]
    drop_points: float
    speed_ratio: float

    def accepted(self, max_drop: float) -> bool:
        return self.speed_ratio > 1 and self.drop_points <= max_drop


@dataclass(frozen=True)
class _Subject:
    """What all attempts have in common."""

    source: Path
    folder: Path
    model: ModelProto
    ranges: Ranges
    images: tuple[Path, ...]
    data: str | Path
    imgsz: int | tuple[int, int]
    task: str
    maps: dict[str, float]

    def attempt(self, float_nodes: Sequence[str]) -> _Attempt:
        quantized = quantize(self.model, self.ranges, [*always_float(self.model), *float_nodes])
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".int8-") as folder:
            path = Path(folder) / "int8.onnx"
            onnx.save(quantized, path)
            maps = map_of(path, self.data, self.imgsz, self.task)
            slow, fast = seconds_per_run([self.source, path], imgsz=self.imgsz)
        return _Attempt(quantized, tuple(float_nodes), maps, _drop(self.maps, maps), slow / fast)

    def ranked(self) -> list[list[str]]:
        """Return the layers, the most sensitive first."""
        model = body(self.model)
        images = spread(list(self.images), SEARCH_IMAGES)
        batches = list(input_batches(model, images, self.imgsz))
        return rank_layers(model, self.ranges, always_float(self.model), batches)


def make_int8(
    source: Path,
    target: Path,
    *,
    info: Mapping[str, Any],
    data: str | Path | None,
    recorded: Any,
    imgsz: int | tuple[int, int],
    max_drop: float = 1.0,
) -> Int8Report:
    """Write an int8 copy of a float32 file, and measure both on the val split and on this machine's CPU.

    Everything is int8 but the decode tail and the first layer. Where that loses more than `max_drop`, the
    most sensitive layers return to float32, first one, then 2, 4, 8 and so on, until it does not.

    Convention:
        Ranges, and the order in which layers return, come from train images alone. The val split is measured
        for acceptance and, where layers must return, to know when to stop.
    Args:
        source: float32, with the host's metadata, which the copy keeps.
        target: the file to write, whatever the verdict; of several attempts the fastest that is accepted,
            else the most accurate that is faster than float32.
        info: the metadata of the source, of which `task` and `names` are read.
        data: dataset YAML given by the user.
        recorded: what the checkpoint says it was trained on, used when no data is given.
        imgsz: height and width, or the side of a square, of a file with a dynamic size, in pixels.
        max_drop: mAP50-95 points, of a hundred, that int8 may lose.
    Raises:
        FGDError: no images to calibrate or to measure on, or a file that cannot be quantized.
    """
    given = data if data is not None else recorded
    _check_classes(info, given)
    images = calibration_images(data, recorded)
    model = _prepared(source)
    ranges = measure_ranges(body(model), images.paths, imgsz)
    task = info.get("task", "detect")
    before = map_of(source, given, imgsz, task)
    subject = _Subject(source, target.parent, model, ranges, images.paths, given, imgsz, task, before)
    best = _best(list(_attempts(subject, max_drop)), max_drop)
    onnx.save(best.model, target)
    calibration = {
        "images": len(images.paths),
        "unreadable": images.unreadable,
        "sha256": images.sha256,
        "data": Path(given).name,
        "method": "minmax",
    }
    accepted = best.accepted(max_drop) and not _vain(before, max_drop)
    refusal = None if accepted else _refusal(best, before, max_drop)
    figures = (best.drop_points, best.speed_ratio)
    return Int8Report(best.float_nodes, calibration, before, best.maps, *figures, accepted, refusal)


def _check_classes(info: Mapping[str, Any], data: Any) -> None:
    """Refuse data of other classes: their mAP would say nothing about this model."""
    names = dataset_classes(data)
    own = literal_eval(info["names"])
    if names is not None and len(names) != len(own):
        raise FGDError(
            f"int8 is measured on the data, but {data} has {len(names)} classes and the model {len(own)}: pass data= "
            "(--data) with the data that it was trained on"
        )


def _prepared(source: Path) -> ModelProto:
    model = onnx.load(source)
    quicken(model)
    return shape_inference.infer_shapes(model)


def _attempts(subject: _Subject, max_drop: float) -> Iterator[_Attempt]:
    """Yield attempts with more and more layers in float32, until one is accepted or none is faster any more."""
    tried = subject.attempt(())
    yield tried
    if tried.accepted(max_drop) or tried.speed_ratio <= 1:
        return
    layers = subject.ranked()
    count = 1
    while count < len(layers) and tried.speed_ratio > 1 and not tried.accepted(max_drop):
        tried = subject.attempt([name for layer in layers[:count] for name in layer])
        yield tried
        count *= 2


def _best(attempts: Sequence[_Attempt], max_drop: float) -> _Attempt:
    """Return the first that is accepted, which is the fastest; else the most accurate of those that are faster."""
    return min(attempts, key=lambda tried: (tried.speed_ratio <= 1, max(tried.drop_points, max_drop)))


def _drop(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    return max(100 * (value - after[name]) for name, value in before.items() if name.endswith("map50_95"))


def _vain(map_fp32: Mapping[str, float], max_drop: float) -> bool:
    """Return whether any loss would pass, as on data with other classes; who allows all 100 points wants that."""
    return 100 * map_fp32["map50_95"] <= max_drop < 100


def _refusal(tried: _Attempt, map_fp32: Mapping[str, float], max_drop: float) -> str:
    before, after = map_fp32["map50_95"], tried.maps["map50_95"]
    if _vain(map_fp32, max_drop):
        return (
            f"float32 itself has {100 * before:.2f} mAP50-95 points on the val split, no more than int8 may lose "
            f"({max_drop:g}), so nothing can be measured: pass data= (--data) with this model's classes"
        )
    pace = f"runs {tried.speed_ratio:.2f} times as fast as float32 here"
    loss = f"loses {tried.drop_points:.2f} mAP50-95 points (boxes: {before:.4f} to {after:.4f})"
    kept = f" even with {len(tried.float_nodes)} sensitive nodes in float32" if tried.float_nodes else ""
    return f"int8 {pace} and {loss}{kept}; it must be faster and may lose {max_drop:g}"
