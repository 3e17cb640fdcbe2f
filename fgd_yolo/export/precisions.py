"""The precisions of an export: one row of `PRECISIONS` each.

A precision other than float32 is a module with a function `convert(conversion: Conversion) -> ConversionReport`, which
writes a copy of a float32 file. Everything else that depends on the precision is in its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from fgd_yolo.export.calibration_frames import CalibrationFrames

MIN_OPSET = 9  # nearest-neighbour upsampling is not defined before


class Tolerance(NamedTuple):
    """Largest differences from PyTorch that count as rounding.

    Args:
        box_px: difference of a box coordinate, in input pixels.
        score: difference of a class score.
        extra: difference of the other outputs, relative to their largest magnitude.
        overlap: difference of the overlap of two boxes.
        above: boxes and extras are only compared for anchors with a higher score; the others may differ by much more.
        any_class: accept a box of another class, since rounding may change the order of two equal scores.
    """

    box_px: float
    score: float
    extra: float
    overlap: float
    above: float = -1
    any_class: bool = False


@dataclass(frozen=True)
class Conversion:
    """The conversion of a float32 file to another precision.

    Args:
        source: float32 file that agrees with its checkpoint; its metadata is that of Ultralytics.
        target: file to write, with the metadata of the source.
        imgsz: side of the input in pixels; for a file of dynamic size, the side to measure at.
        images: uint8 images with the model's channels that the exported file is compared on.
        data: dataset, as the user or the checkpoint names it; its train images calibrate, its val images measure.
        max_map_drop: mAP50-95 points (hundredths) that the copy may lose; None for the default of what is measured.
        frames: frames to calibrate on instead of the train images; without `data` they measure too.
    """

    source: Path
    target: Path
    imgsz: int
    images: Sequence[np.ndarray]
    data: Any
    max_map_drop: float | None = None
    frames: CalibrationFrames | None = None


class ConversionReport(Protocol):
    """The result of a conversion."""

    @property
    def refusal(self) -> str | None:
        """Return why the file should not be used, as one sentence with the numbers; None if it may be used."""

    def metadata(self) -> dict[str, Any]:
        """Return entries for the file's metadata. Its `map50_95` and `map50` replace those of the checkpoint."""

    def summary(self) -> list[str]:
        """Return lines for the closing summary of the command."""


@dataclass(frozen=True)
class Precision:
    """One row of `PRECISIONS`.

    Args:
        description: text for the help of `--precision`.
        steps: the steps after the conversion to ONNX, printed before the export starts.
        tolerance: largest differences from PyTorch.
        module: name of the module with its `convert`; None for float32 itself.
        min_opset: lowest ONNX opset that supports it.
        compare_outputs: compare output tensors and detections with PyTorch; otherwise detections are only counted,
            since the module judges the file by its mAP.
        calibrated: the module takes frames to calibrate on.
    """

    description: str
    steps: str
    tolerance: Tolerance
    module: str | None = None
    min_opset: int = MIN_OPSET
    compare_outputs: bool = True
    calibrated: bool = False


PRECISIONS = {
    # Float32 rounding moves a box by some 0.002 px (a trained YOLOv8s at 320 and 640) and a score by 2e-6.
    "fp32": Precision(
        description="float32",
        steps="comparing",
        tolerance=Tolerance(box_px=0.1, score=1e-3, extra=2e-4, overlap=0.01),
    ),
    # Of a trained YOLOv8n and YOLOv8s at 320 and 640 px, float16 moves boxes by up to 0.39 px where a score is above
    # 0.05, 0.11 px where it is above 0.25, but 5.5 px at anchors without an object; and scores by up to 0.011. Less
    # confident models differ more. The float32 file was compared before, so only rounding can differ.
    "fp16": Precision(
        description="float16, with float32 layers where its range is exceeded",
        steps="measuring its range, rounding and comparing",
        tolerance=Tolerance(box_px=2.0, score=0.03, extra=0.03, overlap=0.1, above=0.1, any_class=True),
        module="fgd_yolo.export.fp16",
    ),
    # The tolerance refuses nothing: it only weighs box against score in the search for the nearest of two boxes.
    "int8": Precision(
        description="calibrated and measured on the data, or on frames",
        steps="calibrating, measuring and comparing",
        tolerance=Tolerance(box_px=2.0, score=0.03, extra=float("inf"), overlap=0),
        module="fgd_yolo.export.int8",
        min_opset=13,  # the first whose DequantizeLinear has a scale per channel
        compare_outputs=False,
        calibrated=True,
    ),
}
