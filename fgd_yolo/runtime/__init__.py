"""Run an exported detector with numpy, OpenCV and onnxruntime alone, without torch and Ultralytics.

- `detector`: `OnnxDetector`, images in, detections out. `predict`: runs it on files, for `fgd-yolo predict`.
- `media`: lists the files of a source, and detects their kind. `images`: reads and checks images; `image_headers` reads
  their size before anything is decoded, `pixel_budget` limits it.
- `model_info`: reads the metadata of a model file. `session` opens it on a device, by `onnx_session` or
  `openvino_session`; `threads` counts the cores that the process may use.
- `decode`, `nms`, `tasks` (one row a task), `instance_masks`: from the network's outputs to objects. `detections`:
  `Detections`, the result; `drawing` draws it.

`Detections` and `OnnxDetector` are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {"Detections": "fgd_yolo.runtime.detections", "OnnxDetector": "fgd_yolo.runtime.detector"}
__all__ = ["Detections", "OnnxDetector"]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'fgd_yolo.runtime' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
