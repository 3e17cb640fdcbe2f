"""What may be asked of an export, and what is taken where nothing was asked."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, UsageError

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "fp16", "int8")
HIGHEST_OPSET = 20  # of torch's tracing exporter, which the host uses
LOWEST_OPSET = 9  # a nearest-neighbour upsampling is not defined before
LOWEST_OPSET_NMS, LOWEST_OPSET_INT8 = 11, 13  # clipping and slicing by computed amounts; scales per channel
_NEEDED = ("torch", "ultralytics", "onnx", "onnxslim")


def require_modules() -> None:
    """Refuse to start where an optional dependency is missing.

    Raises:
        FGDError: it cannot be imported; the message says how to get it.
    """
    for module in _NEEDED:
        try:
            import_module(module)
        except ImportError as error:
            raise FGDError(f"export needs {module}: pip install 'fgd_yolo[train]' ({error})") from error


@dataclass(frozen=True)
class Request:
    """What one export is asked for; a combination that cannot be is a `UsageError` when it is made.

    Args:
        precision: fp32, fp16 or int8.
        batch: images in one call.
        dynamic: any batch and any size.
        nms: NMS in the graph.
        uint8_input: bytes as OpenCV reads them, instead of floats.
        opset: of ONNX; None is the host's choice.
        data: dataset YAML that the user gave.
        recorded: what the checkpoint says it was trained on, read where `data` is None.
        max_drop: points of mAP50-95, in hundredths, that int8 may lose.
        keep: write an int8 file that was refused all the same.
    """

    precision: str = "fp32"
    batch: int = 1
    dynamic: bool = False
    nms: bool = False
    uint8_input: bool = False
    opset: int | None = None
    data: str | Path | None = None
    recorded: Any = None
    max_drop: float = 1.0
    keep: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision '{self.precision}' is unknown: take {', '.join(PRECISIONS)}")
        if type(self.batch) is not int or self.batch < 1:
            raise UsageError(f"batch {self.batch} cannot be: take a whole number from 1")
        if not 0 <= self.max_drop <= 100:
            raise UsageError(f"max drop {self.max_drop} cannot be: take points of mAP50-95 between 0 and 100")
        low, high = self._opsets()
        if self.opset is not None and (type(self.opset) is not int or not low <= self.opset <= high):
            kind = f"{self.precision}{' with NMS' if self.nms else ''}"
            raise UsageError(f"opset {self.opset} cannot be: {kind} needs one from {low} to {high}")

    def _opsets(self) -> tuple[int, int]:
        low = max(LOWEST_OPSET, LOWEST_OPSET_NMS * self.nms, LOWEST_OPSET_INT8 * (self.precision == "int8"))
        return low, HIGHEST_OPSET


def check_model(model: nn.Module, nms: bool) -> None:
    """Refuse a model whose input or head is not what was asked for.

    Raises:
        FGDError: it does not see colours.
        UsageError: NMS for a head that leaves nothing to suppress.
    """
    channels = model.yaml.get("channels", 3)
    if channels != 3:
        raise FGDError(f"only models of colour images can be exported, this one takes {channels} channels")
    if nms and model.model[-1].cv2 is None:  # fused: the branch that needs NMS is gone
        raise UsageError("this model's head gives final detections without NMS: leave out nms (--nms)")


def input_size(model: nn.Module, asked: int | None, trained: int | list[int] | None) -> int:
    """Return the side of the input; the default rounds up to a multiple of the stride, as the host trains.

    Raises:
        UsageError: not one whole number, or no multiple of the stride.
    """
    stride = int(model.stride.max())
    if asked is None:
        longest = max(trained) if isinstance(trained, (list, tuple)) else trained or 640
        return ceil(longest / stride) * stride
    if type(asked) is not int:
        raise UsageError(f"imgsz {asked} cannot be: the input is a square, take one whole number")
    if asked < stride or asked % stride:
        near = max(round(asked / stride), 1) * stride
        raise UsageError(f"imgsz {asked} is not a multiple of the model's stride {stride}, take {near}")
    return asked


def target_path(weights: Path, output: str | Path | None) -> Path:
    """Return the file to write; by default it stands beside the weights and has their name.

    Raises:
        UsageError: it cannot be one.
    """
    target = Path(output) if output is not None else weights.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise UsageError(f"output {target} must end in .onnx")
    if not target.parent.is_dir():
        raise UsageError(f"the folder of output {target} does not exist")
    if target.is_dir():
        raise UsageError(f"output {target} is a folder")
    return target
