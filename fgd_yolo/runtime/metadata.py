"""What a detector's ONNX file says of itself, checked against the file: Ultralytics' metadata and ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fgd_yolo.runtime.claims import Claims, describe, positive, refusal, size
from fgd_yolo.runtime.rows import read_rows
from fgd_yolo.runtime.session import TensorSpec

_DEFAULT_IMGSZ = 640
_DEFAULT_STRIDE = 32
_FLOATS = {"input": "float32", "layout": "NCHW", "channels": "RGB", "scale": 1 / 255, "padding": 114}
_BYTES = {"input": "uint8", "layout": "NHWC", "channels": "BGR", "scale": 1, "padding": 114}


@dataclass(frozen=True)
class ModelInfo:
    """What one needs to know to feed a file and to read what comes out.

    Attributes:
        task: detect, segment, pose or obb.
        names: class number to name.
        stride: pixels of one cell of the coarsest map.
        imgsz: height and width of the input; where the file leaves them open, those it was made for.
        batch: pictures a call, None where the file leaves it open.
        dynamic_size: the file takes any height and width that are multiples of the stride.
        decoded: rows of finished detections instead of one column for each anchor.
        embedded_nms: of those, rows come from an NMS in the graph (rotated boxes are then centre and size).
        keypoint_shape: keypoints of an object, and 2 or 3 numbers for each.
        uint8_input: the input is NHWC BGR bytes instead of NCHW RGB from 0 to 1.
        dtype: of the input.
    """

    task: str
    names: dict[int, str]
    stride: int
    imgsz: tuple[int, int]
    batch: int | None
    dynamic_size: bool
    decoded: bool
    embedded_nms: bool
    keypoint_shape: tuple[int, int] | None
    uint8_input: bool
    dtype: np.dtype


def read_info(
    metadata: Mapping[str, str], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[ModelInfo, list[str]]:
    """Read and check a file's description of itself.

    Args:
        metadata: the file's own key-value pairs. Ultralytics writes Python literals, we one JSON text, `fgd_yolo`.
        inputs: of the file.
        outputs: of the file.
    Returns:
        The description, and one sentence for each thing that had to be assumed.
    Raises:
        FGDError: the file is no detector that this reads, or contradicts itself.
    """
    claims = Claims(metadata)
    image = _image_input(inputs)
    uint8_input = image.dtype == np.uint8
    _check_preprocessing(uint8_input, claims)
    height, width = image.shape[1:3] if uint8_input else image.shape[2:]
    stride = claims.get("stride", positive, _DEFAULT_STRIDE)
    task, rows = read_rows(outputs, claims)
    info = ModelInfo(
        task=task,
        names=rows.names,
        stride=stride,
        imgsz=_input_size(height, width, stride, claims),
        batch=image.shape[0],
        dynamic_size=height is None and width is None,
        decoded=rows.decoded,
        embedded_nms=rows.embedded_nms,
        keypoint_shape=rows.keypoint_shape,
        uint8_input=uint8_input,
        dtype=image.dtype,
    )
    return info, claims.notes


def _image_input(inputs: Sequence[TensorSpec]) -> TensorSpec:
    if len(inputs) != 1:
        raise refusal(
            f"it has {len(inputs)} inputs ({', '.join(spec.name for spec in inputs)}), and a detector has one"
        )
    image = inputs[0]
    if len(image.shape) != 4 or 0 in image.shape or image.dtype not in (np.float32, np.float16, np.uint8):
        raise refusal(f"its input is {describe(image)}, and a detector's is a batch of pictures")
    channels = image.shape[3 if image.dtype == np.uint8 else 1]
    if channels not in (3, None):
        raise refusal(f"its input has {channels} channels ({describe(image)}), and a colour picture has 3")
    return image


def _check_preprocessing(uint8_input: bool, claims: Claims) -> None:
    claim = claims.ours().get("preprocessing")
    claim = claim if isinstance(claim, Mapping) else {}
    if uint8_input and "channels" not in claim:
        raise refusal("it takes bytes, but does not say in which order the colours are; export it with fgd-yolo export")
    expected = _BYTES if uint8_input else _FLOATS
    found = {**expected, **claim}
    strange = [f"{key} {found[key]}" for key, value in expected.items() if not _same(found[key], value)]
    if strange:
        raise refusal(f"it wants pictures prepared in a way that this version does not know ({', '.join(strange)})")


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, str):
        return found == expected
    return isinstance(found, (int, float)) and math.isclose(found, expected, rel_tol=1e-3)


def _input_size(height: int | None, width: int | None, stride: int, claims: Claims) -> tuple[int, int]:
    if height is not None and width is not None:
        return height, width
    found = claims.find("imgsz", size)
    if found is None or any(side % stride for side in found):
        found = (_DEFAULT_IMGSZ, _DEFAULT_IMGSZ)
        claims.assume("imgsz", f"{_DEFAULT_IMGSZ} px is taken")
    return height or found[0], width or found[1]
