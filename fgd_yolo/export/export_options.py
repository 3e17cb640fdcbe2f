"""The options of an export, checked before anything is loaded, and the defaults that depend on the model."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, UsageError, close_match, not_installed
from fgd_yolo.export.precisions import PRECISIONS

if TYPE_CHECKING:
    from torch import nn

MAX_OPSET = 20  # of torch's tracing exporter, which Ultralytics uses
MIN_OPSET_NMS = 11  # clipping and slicing by computed amounts
_DEFAULT_IMGSZ = 640
_REQUIRED_MODULES = ("torch", "ultralytics", "onnx", "onnxslim")


def require_modules() -> None:
    """Check that the optional dependencies of the export are installed.

    Raises:
        FGDError: one cannot be imported; the message says how to install it.
    """
    for module in _REQUIRED_MODULES:
        try:
            import_module(module)
        except ImportError as error:
            raise FGDError(f"export is not available: {not_installed(module, 'train')} ({error})") from error


@dataclass(frozen=True)
class ExportOptions:
    """The options of one export.

    Args:
        precision: a name in `PRECISIONS`.
        batch: images in one call.
        dynamic: accept any batch and any size.
        nms: put NMS into the graph.
        uint8_input: take uint8 BGR images as input, instead of floats.
        opset: ONNX opset; None means Ultralytics' choice.
        data: dataset whose images are compared, calibrated and measured on, as the user or the checkpoint names it.
        max_map_drop: mAP50-95 points (hundredths) that int8 may lose; None for the default of what is measured:
            accuracy, or agreement with float32.
        allow_regression: write the file even if its conversion refuses it.
        calibrate: unlabelled frames to calibrate on, as the user names them.
    Raises:
        UsageError: a value or combination is invalid.
    """

    precision: str = "fp32"
    batch: int = 1
    dynamic: bool = False
    nms: bool = False
    uint8_input: bool = False
    opset: int | None = None
    data: Any = None
    max_map_drop: float | None = None
    allow_regression: bool = False
    calibrate: tuple[str | Path, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            guess = close_match(str(self.precision), PRECISIONS)
            raise UsageError(f"unknown precision '{self.precision}'{guess}; available: {', '.join(PRECISIONS)}")
        if type(self.batch) is not int or self.batch < 1:
            raise UsageError(f"batch must be an integer of at least 1, got {self.batch}")
        if self.max_map_drop is not None and not 0 <= self.max_map_drop <= 100:
            raise UsageError(
                f"max_map_drop (--max-map-drop) must be between 0 and 100 mAP50-95 points, got {self.max_map_drop}"
            )
        if self.calibrate and not PRECISIONS[self.precision].calibrated:
            calibrated = ", ".join(name for name, row in PRECISIONS.items() if row.calibrated)
            raise UsageError(
                f"calibrate (--calibrate) is for {calibrated}, {self.precision} is not calibrated: omit it, or pass "
                f"precision={calibrated} (--precision {calibrated})"
            )
        low = max(PRECISIONS[self.precision].min_opset, MIN_OPSET_NMS * self.nms)
        if self.opset is not None and (type(self.opset) is not int or not low <= self.opset <= MAX_OPSET):
            kind = f"{self.precision}{' with NMS' if self.nms else ''}"
            raise UsageError(f"opset must be from {low} to {MAX_OPSET} for {kind}, got {self.opset}")


def check_model(model: nn.Module, nms: bool, dynamic: bool = False) -> None:
    """Check that a model can be exported as requested.

    Raises:
        UsageError: NMS was requested for a head that does not need it, or a dynamic size for an RT-DETR.
    """
    from fgd_yolo.task_table import task_of_model  # imports torch

    if dynamic and task_of_model(model).stretched:
        raise UsageError(
            "an RT-DETR takes images stretched to one size: omit dynamic (--dynamic); batch (--batch) sets the number "
            "of images in one call"
        )
    if nms and getattr(model.model[-1], "cv2", None) is None:  # RT-DETR, or fused: the branch that needs NMS is gone
        raise UsageError("this model's head gives final detections without NMS: omit nms (--nms)")


def input_size(model: nn.Module, imgsz: int | None, trained: int | list[int] | None) -> int:
    """Return the side of the square input.

    Args:
        model: the model, whose stride is used.
        imgsz: requested side; None means the trained size, rounded up to a multiple of the stride as Ultralytics does.
        trained: size that the model was trained at, if known.
    Raises:
        UsageError: `imgsz` is not an integer or not a multiple of the stride.
    """
    stride = int(model.stride.max())
    if imgsz is None:
        longest = max(trained) if isinstance(trained, (list, tuple)) else trained or _DEFAULT_IMGSZ
        return ceil(longest / stride) * stride
    if type(imgsz) is not int:
        raise UsageError(f"imgsz must be a single integer, since the input is a square, got {imgsz}")
    if imgsz < stride or imgsz % stride:
        nearest = max(round(imgsz / stride), 1) * stride
        raise UsageError(f"imgsz must be a multiple of the model's stride {stride}, got {imgsz}; use {nearest}")
    return imgsz


def target_path(weights: Path, output: str | Path | None) -> Path:
    """Return the file to write: `output`, or the name of the weights with `.onnx`.

    Raises:
        UsageError: the path cannot be written to.
    """
    target = Path(output) if output is not None else weights.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise UsageError(f"output {target} must end in .onnx")
    if not target.parent.is_dir():
        raise UsageError(f"the folder of output {target} does not exist: create it first")
    if target.is_dir():
        raise UsageError(f"output {target} is a folder: pass the path of a file")
    return target
