"""ONNX export by the host's exporter, and the checks that a file must pass before it appears."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from fgd_yolo.errors import FGDError, UsageError, one_line

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ExportedModel:
    """A file that passed every check, and how closely it follows the checkpoint.

    Args:
        path: the ONNX file.
        imgsz: side of the square input, in pixels.
        images: images that were compared.
        detections: detections that the checkpoint finds on them, all of which the file finds too.
        box_difference_px: largest difference of a box coordinate, in input pixels.
        score_difference: largest difference of a class score, which lies in [0, 1].
    """

    path: Path
    imgsz: int
    images: int
    detections: int
    box_difference_px: float
    score_difference: float


def export_onnx(
    weights: str | Path,
    output: str | Path | None = None,
    *,
    imgsz: int | None = None,
    data: str | Path | None = None,
    check_images: Iterable[str | Path] | None = None,
) -> ExportedModel:
    """Export a detector to ONNX in float32, and keep the file only if it sees what the checkpoint sees.

    A converted detector that is subtly wrong still draws boxes, so nobody notices. Here the file is validated
    and its outputs are compared with PyTorch's on real images; it is written beside the target and renamed
    when all has passed, so that a failure leaves what was there before.

    Convention:
        The output is what the host's own evaluation reads: for heads with two branches (YOLO26) the
        one-to-many branch, so every file gives (1, 4 + classes, anchors), centre-size boxes in input pixels,
        and wants NMS. A head that lost that branch by fusion gives (1, rows, 6), corner boxes, score, class.
    Args:
        weights: the `.pt` checkpoint. It is read, never executed.
        output: the file to write; the default is the checkpoint's name with `.onnx`.
        imgsz: side of the input in pixels, a multiple of the model's stride; the default is what it was
            trained with.
        data: dataset YAML whose val images are compared; the default is the one that the checkpoint names.
        check_images: image files to compare on instead.
    Raises:
        FGDError: no detector, no image to compare on, or a file that is invalid or differs; the numbers are
            named.
        UsageError: an image size or an output that cannot be.
    """
    for module in ("torch", "ultralytics", "onnx", "onnxslim"):
        _require(module)
    from fgd_yolo.export.images import load_inputs
    from fgd_yolo.export.parity import compare_with_torch
    from fgd_yolo.host import load_detector

    model, checkpoint = load_detector(weights)
    trained = checkpoint.get("train_args") or {}
    size = _input_size(model, imgsz, trained.get("imgsz"))
    target = _target(Path(weights), output)
    inputs = load_inputs(size, data=data, recorded=trained.get("data"), files=check_images)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            candidate = _convert(model, size, Path(folder))
            _validate(candidate)
            parity = compare_with_torch(candidate, model, inputs)
            candidate.replace(target)
    except OSError as error:
        raise FGDError(f"cannot write {target}: {error.strerror or error}") from error
    return ExportedModel(target, size, *parity)


def _require(module: str) -> None:
    try:
        import_module(module)
    except ImportError as error:
        raise FGDError(f"export needs {module}: pip install 'fgd_yolo[train]' ({error})") from error


def _input_size(model: nn.Module, asked: int | None, trained: int | list[int] | None) -> int:
    """Return the side of the input; the default rounds up to a multiple of the stride, as the host trains."""
    from ultralytics.nn.modules import Detect

    if not isinstance(model.model[-1], Detect) or model.yaml.get("channels", 3) != 3:
        raise FGDError(f"only YOLO detectors of colour images can be exported, not a {type(model.model[-1]).__name__}")
    stride = int(model.stride.max())
    if asked is None:
        longest = max(trained) if isinstance(trained, (list, tuple)) else trained or 640
        return ceil(longest / stride) * stride
    if asked < stride or asked % stride:
        near = max(round(asked / stride), 1) * stride
        raise UsageError(f"imgsz {asked} is not a multiple of the model's stride {stride}, take {near}")
    return asked


def _target(weights: Path, output: str | Path | None) -> Path:
    target = Path(output) if output is not None else weights.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise UsageError(f"output {target} must end in .onnx")
    if not target.parent.is_dir():
        raise UsageError(f"the folder of output {target} does not exist")
    return target


def _convert(model: nn.Module, size: int, folder: Path) -> Path:
    """Run the host's exporter, which copies the model, and return the file that it wrote in the folder."""
    from ultralytics.engine.exporter import Exporter

    model.pt_path = str(folder / "model.pt")  # the host writes beside it and keeps its stem
    options = {
        "format": "onnx",
        "imgsz": size,
        "batch": 1,
        "simplify": True,
        "device": "cpu",
        "mode": "export",
    }
    try:
        with _quiet():
            return Path(Exporter(overrides=options)(model=model))
    except OSError:
        raise
    except Exception as error:
        raise FGDError(f"Ultralytics could not export this model: {one_line(error)[:200]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the host from advertising the temporary file; its warnings and errors still come through."""
    logger = logging.getLogger("ultralytics")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracer notes about shapes that are constant here on purpose
            yield
    finally:
        logger.setLevel(level)


def _validate(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise FGDError(f"the exported file is not valid ONNX: {one_line(error)[:200]}") from error
