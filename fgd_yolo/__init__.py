"""FGD (Focal and Global Knowledge Distillation) for Ultralytics YOLO detectors.

The public names load on first use: importing the package never imports torch, so that a camera box needs neither.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "Detections": "fgd_yolo.runtime",
    "FGDConfig": "fgd_yolo.config",
    "FGDError": "fgd_yolo.errors",
    "FGDLoss": "fgd_yolo.methods",
    "FGDTrainer": "fgd_yolo.training.trainer",
    "OnnxDetector": "fgd_yolo.runtime",
    "Pipeline": "fgd_yolo.streams.pipeline",
    "distill": "fgd_yolo.workflow.distill",
    "export_onnx": "fgd_yolo.export",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'fgd_yolo' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
