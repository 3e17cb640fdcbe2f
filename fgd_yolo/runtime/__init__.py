"""Running an exported detector, on numpy, OpenCV and onnxruntime alone: never torch, never Ultralytics.

The room's map: `detector` puts the pieces together. `media` tells what a file holds, `images` reads photos,
`letterbox` places them on the network's canvas and coordinates back on the photo; `metadata` tells what a model's file
is, `session` runs it on a device, `threads` counts the cores it may use; `decode`, `nms` and `masks` turn its outputs
into objects; `detections` is what comes out, `drawing` paints it. `command` is `fgd-yolo predict`.

The public names load on first use; `Pipeline` and `Result` live in `fgd_yolo.streams`.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Detections": "fgd_yolo.runtime.detections",
    "OnnxDetector": "fgd_yolo.runtime.detector",
    "Pipeline": "fgd_yolo.streams.pipeline",
    "Result": "fgd_yolo.streams.frame",
}
__all__ = ["Detections", "OnnxDetector", "Pipeline", "Result"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'fgd_yolo.runtime' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
