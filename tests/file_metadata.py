"""Metadata of detector files as Ultralytics writes it, and a helper that reads it together with shapes."""

from __future__ import annotations

import numpy as np

from fgd_yolo.runtime.model_info import read_model_info
from fgd_yolo.runtime.onnx_session import TensorSpec

# As Ultralytics 8.4.190 writes it.
DETECT = {
    "task": "detect",
    "stride": "32",
    "batch": "1",
    "imgsz": "[96, 128]",
    "names": "{0: 'RBC', 1: 'WBC', 2: 'it\\'s'}",
    "args": "{'batch': 1, 'nms': None, 'dynamic': False}",
    "end2end": "False",
}
NAMES = {0: "RBC", 1: "WBC", 2: "it's"}
POSE = {**DETECT, "task": "pose", "kpt_shape": "[17, 3]", "names": "{0: 'person'}"}
NMS = {"args": "{'nms': True}"}


def spec(*shape: int | None, name: str = "x", dtype=np.float32) -> TensorSpec:
    return TensorSpec(name, shape, np.dtype(dtype))


IMAGE = spec(1, 3, 96, 128)
OPEN = spec(None, 3, None, None)
PROTOTYPES = spec(1, 32, 24, 32)


def read(metadata, *outputs, image=IMAGE):
    return read_model_info(metadata, [image], outputs)


def without(*keys: str, metadata=DETECT) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key not in keys}
