"""Read the metadata of a detector's ONNX file, and check it against its tensors.

Ultralytics writes Python literals under a dozen keys, and `fgd_yolo` adds one JSON entry. Files of any exporter
are read: a value that is missing or damaged is inferred from the shapes or gets a default, with a warning, and a file
whose metadata and shapes contradict each other is refused.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.preprocessing import FLOAT_INPUT, UINT8_INPUT, InputFormat
from fgd_yolo.runtime.onnx_session import TensorSpec
from fgd_yolo.runtime.tasks import DECODERS
from fgd_yolo.text import printable

FGD_YOLO_KEY = "fgd_yolo"
"""Metadata key of this package's entry, one JSON object."""
PREPROCESSING_KEY = "preprocessing"
"""Key in that object, whose value is an `InputFormat`."""
DETECTION_COLUMNS = 6
"""Columns of a final detection: four of the box, score, class. The extra numbers of the task follow."""
RTDETR_HEAD = "RTDETRDecoder"
"""The entry `head` of an RT-DETR, which Ultralytics writes."""
_DEFAULT_IMGSZ = 640
_DEFAULT_STRIDE = 32
_DEFAULT_MASK_CHANNELS = 32
_COLOURS = 3
_MAX_SIZE = 4096


@dataclass(frozen=True)
class ModelInfo:
    """How to feed a file and how to read its outputs.

    Attributes:
        task: detect, segment, pose or obb.
        names: the name of each class.
        stride: stride of the coarsest feature map, in pixels.
        imgsz: height and width of the input; for a dynamic size, those of the export.
        batch: images per call; None if dynamic.
        dynamic_size: the file takes any height and width that are multiples of the stride.
        decoded: the output has one row for each final detection instead of one column for each anchor.
        embedded_nms: those rows come from an NMS in the graph (rotated boxes are then centre and size).
        keypoint_shape: keypoints per object, and 2 or 3 numbers for each.
        channels: number of channels of the images.
        uint8_input: the input has the format `UINT8_INPUT` instead of `FLOAT_INPUT`.
        dtype: element type of the input.
        rtdetr: the file is an RT-DETR: images are stretched to the input, and boxes are fractions of it.
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
    channels: int
    uint8_input: bool
    dtype: np.dtype
    rtdetr: bool = False

    def input_shape(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of an input of this number of images and this height and width."""
        sizes = dict(zip("NCHW", (batch, self.channels, *size), strict=True))
        return tuple(sizes[letter] for letter in (UINT8_INPUT if self.uint8_input else FLOAT_INPUT).layout)


def read_model_info(
    metadata: Mapping[str, str], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[ModelInfo, list[str]]:
    """Read and check a file's metadata.

    Args:
        metadata: the file's key-value pairs.
        inputs: the file's inputs.
        outputs: the file's outputs.
    Returns:
        The checked values, and one sentence for each value that was inferred or defaulted.
    Raises:
        FGDError: the file is not a supported detector, or contradicts itself.
    """
    reader = _MetadataReader(metadata)
    image = _image_input(inputs)
    input_format = UINT8_INPUT if image.dtype == np.uint8 else FLOAT_INPUT
    channels = _input_channels(image, input_format, reader)
    rtdetr = reader.metadata.get("head") == RTDETR_HEAD
    _check_input_format(image.dtype == np.uint8, channels, rtdetr, reader)
    height, width = (image.shape[input_format.axis(letter)] for letter in "HW")
    stride = reader.get("stride", _positive_int, _DEFAULT_STRIDE)
    output = _read_outputs(outputs, reader)
    info = ModelInfo(
        **output._asdict(),
        stride=stride,
        imgsz=_input_size(height, width, stride, reader),
        batch=image.shape[input_format.axis("N")],
        dynamic_size=height is None and width is None,
        channels=channels,
        uint8_input=input_format is UINT8_INPUT,
        dtype=image.dtype,
        rtdetr=rtdetr,
    )
    return info, reader.warnings


class _MetadataReader:
    """Reads metadata value by value, and collects a warning for each that is inferred or defaulted."""

    def __init__(self, metadata: Mapping[str, str]):
        self.metadata = metadata
        self.warnings: list[str] = []

    def parse(self, key: str, convert: Callable[[Any], Any]) -> Any:
        """Return the converted value, or None if it is missing or damaged."""
        try:
            return convert(ast.literal_eval(self.metadata[key]))
        except (KeyError, ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError):
            return None

    def get(self, key: str, convert: Callable[[Any], Any], default: Any) -> Any:
        """Return the converted value, or the default with a warning."""
        value = self.parse(key, convert)
        if value is not None:
            return value
        self.warn(key, f"using {default}")
        return default

    def warn(self, key: str, consequence: str) -> None:
        """Add a warning with the consequence of a missing or damaged value."""
        state = "cannot be read" if self.metadata.get(key) else "is missing"
        self.warnings.append(f"'{key}' {state} in the file's metadata: {consequence}")

    def fgd_yolo_entry(self) -> dict[str, Any]:
        """Return the entry that `fgd_yolo` wrote; empty for a file of another exporter."""
        if FGD_YOLO_KEY not in self.metadata:
            return {}
        try:
            entry = json.loads(self.metadata[FGD_YOLO_KEY])
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise _unsupported(f"its metadata '{FGD_YOLO_KEY}' is damaged; export it again")
        return entry


# The input.


def _image_input(inputs: Sequence[TensorSpec]) -> TensorSpec:
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise _unsupported(f"it has {len(inputs)} inputs ({names}), expected one")
    image = inputs[0]
    if len(image.shape) != 4 or 0 in image.shape or image.dtype not in (np.float32, np.float16, np.uint8):
        raise _unsupported(f"its input is {_describe(image)}, expected a batch of images")
    return image


def _input_channels(image: TensorSpec, input_format: InputFormat, reader: _MetadataReader) -> int:
    """Return the number of channels of the input; of a dynamic one, that of the metadata, or three without any.

    A number other than 1 and 3 must be in the metadata: otherwise it is probably the height of another layout.
    """
    channels, described = image.shape[input_format.axis("C")], reader.parse("channels", _positive_int)
    if channels in (None, described):
        return described or _COLOURS
    if described is None and channels in (1, _COLOURS):
        return channels
    entry = "has no 'channels'" if described is None else f"has 'channels' {described}"
    raise _unsupported(f"its input has {channels} channels ({_describe(image)}), but its metadata {entry}")


def _check_input_format(uint8_input: bool, channels: int, rtdetr: bool, reader: _MetadataReader) -> None:
    described = reader.fgd_yolo_entry().get(PREPROCESSING_KEY)
    described = described if isinstance(described, Mapping) else {}
    if uint8_input and "channels" not in described:
        raise _unsupported("it takes uint8 images, but its metadata has no channel order; export it with fgd-yolo")
    expected = (UINT8_INPUT if uint8_input else FLOAT_INPUT).of_channels(channels).of_fit(stretched=rtdetr)
    differences = expected.differences(described)
    if differences:
        raise _unsupported(f"this version does not support its preprocessing ({', '.join(differences)})")


def _input_size(height: int | None, width: int | None, stride: int, reader: _MetadataReader) -> tuple[int, int]:
    if height is not None and width is not None:
        return height, width
    size = reader.parse("imgsz", _height_and_width)
    if size is None or any(side % stride for side in size):
        size = (_DEFAULT_IMGSZ, _DEFAULT_IMGSZ)
        reader.warn("imgsz", f"using {_DEFAULT_IMGSZ} px")
    return height or size[0], width or size[1]


# The outputs.


class _Outputs(NamedTuple):
    """The fields of `ModelInfo` that the outputs decide."""

    task: str
    names: dict[int, str]
    decoded: bool
    embedded_nms: bool
    keypoint_shape: tuple[int, int] | None


def _read_outputs(outputs: Sequence[TensorSpec], reader: _MetadataReader) -> _Outputs:
    """Determine the task and the meaning of the first output's rows or columns, and check them against the shapes.

    Convention:
        Raw columns, one for each anchor: 4 of the box, a score for each class, extras. Rows of final detections: 4 of
        the box, score, class, extras. Extras are 32 mask coefficients, the numbers of the keypoints, or 1 angle.
    """
    task = reader.metadata.get("task")
    if task and task not in DECODERS:
        raise _unsupported(f"it is a {task} model; supported are {', '.join(DECODERS)}")
    described = ", ".join(_describe(spec) for spec in outputs)
    if tuple(len(spec.shape) for spec in outputs) not in ((3,), (3, 4)):
        raise _unsupported(f"its outputs are {described}")
    names = reader.parse("names", _class_names)
    keypoints = reader.parse("kpt_shape", _keypoint_shape)
    task = task or _infer_task(outputs, names, keypoints, reader)
    if (task == "segment") != (len(outputs) == 2):
        raise _unsupported(f"its task is {task}, but its outputs are {described}")
    of_pose = keypoints and math.prod(keypoints)
    extras = {"detect": 0, "obb": 1, "segment": _mask_channels(outputs), "pose": of_pose}[task]
    decoded, embedded_nms = _read_decoded(outputs[0].shape, extras, reader)
    channels = outputs[0].shape[2 if decoded else 1]
    if extras is None:
        keypoints = _infer_keypoints(channels, DETECTION_COLUMNS if decoded else names and 4 + len(names), reader)
        extras = math.prod(keypoints)
    if names is None:
        names = _number_classes(outputs[0], decoded, extras, reader)
    expected = extras + (DETECTION_COLUMNS if decoded else 4 + len(names))
    if channels not in (expected, None):
        kind = "rows" if decoded else "columns"
        needed = f"task {task} with {len(names)} classes needs {kind} of {expected} numbers"
        raise _unsupported(f"{needed}, but its output is {described}")
    return _Outputs(task, names, decoded, embedded_nms, keypoints if task == "pose" else None)


def _infer_task(outputs: Sequence[TensorSpec], names: dict | None, keypoints: Any, reader: _MetadataReader) -> str:
    _, channels, last = outputs[0].shape
    spare = channels - 4 - len(names) if channels and names else None
    if len(outputs) == 2:
        task = "segment"
    elif keypoints:
        task = "pose"
    elif last == DETECTION_COLUMNS + 1 or spare == 1:
        task = "obb"
    elif last == DETECTION_COLUMNS or not spare:
        task = "detect"
    else:
        raise _unsupported(f"its task is missing, and {_describe(outputs[0])} does not fit its {len(names)} classes")
    reader.warn("task", f"using {task}, inferred from the shape of its outputs")
    return task


def _mask_channels(outputs: Sequence[TensorSpec]) -> int:
    return (outputs[1].shape[1] if len(outputs) == 2 else None) or _DEFAULT_MASK_CHANNELS


def _read_decoded(shape: tuple[int | None, ...], extras: int | None, reader: _MetadataReader) -> tuple[bool, bool]:
    """Return whether the output consists of final detections, and whether these come from an NMS in the graph."""
    end_to_end = reader.parse("end2end", _bool)
    args = reader.parse("args", dict) or {}
    if reader.metadata.get("head") == RTDETR_HEAD:
        return True, False
    if end_to_end or args.get("nms") is True:
        return True, not end_to_end
    if end_to_end is None and extras is not None and shape[2] == DETECTION_COLUMNS + extras:
        reader.warn("end2end", "reading its rows as final detections, because of their number of columns")
        return True, True
    return False, False


def _infer_keypoints(channels: int | None, others: int | None, reader: _MetadataReader) -> tuple[int, int]:
    spare = channels - others if channels and others else 0
    numbers = [size for size in (2, 3) if spare > 0 and spare % size == 0]
    if len(numbers) != 1:
        raise _unsupported("it is a pose model without a keypoint shape ('kpt_shape') in its metadata; export it again")
    shape = (spare // numbers[0], numbers[0])
    reader.warn("kpt_shape", f"using {shape[0]} x {shape[1]}")
    return shape


def _number_classes(output: TensorSpec, decoded: bool, extras: int, reader: _MetadataReader) -> dict[int, str]:
    if decoded:
        reader.warn("names", "classes are shown by number")
        return {}
    _, channels, anchors = output.shape
    if channels is None or channels - 4 - extras < 1 or (anchors and anchors < channels):
        raise _unsupported(f"its class names are missing, and its output is {_describe(output)}; export it again")
    count = channels - 4 - extras
    reader.warn("names", f"the {count} classes are numbered from 0")
    return {index: str(index) for index in range(count)}


def _unsupported(reason: str) -> FGDError:
    return FGDError(f"the file is not a supported detector: {reason}")


def _describe(spec: TensorSpec) -> str:
    """Return shape and type for a message: `1 x 7 x ? float32`."""
    return f"{' x '.join('?' if size is None else str(size) for size in spec.shape)} {spec.dtype}"


# Converters of metadata values: each returns the value or raises ValueError or TypeError.


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _positive_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MAX_SIZE:
        raise ValueError
    return value


def _height_and_width(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, (list, tuple)) else (value, value)
    return _positive_int(height), _positive_int(width)


def _keypoint_shape(value: Any) -> tuple[int, int]:
    count, numbers = (_positive_int(part) for part in value)
    if numbers not in (2, 3):
        raise ValueError
    return count, numbers


def _class_names(value: Any) -> dict[int, str]:
    """Return the names of classes 0, 1, ... of a dict or list."""
    numbered = value if isinstance(value, dict) else dict(enumerate(value if isinstance(value, (list, tuple)) else ()))
    names = {int(number): printable(name) for number, name in numbered.items()}
    if not names or sorted(names) != list(range(len(names))):
        raise ValueError
    return dict(sorted(names.items()))
