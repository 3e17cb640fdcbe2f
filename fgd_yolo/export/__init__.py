"""From a trained checkpoint to a file for the camera box that must agree with it before it gets its name."""

from fgd_yolo.export.exporter import ExportedModel, export_onnx

__all__ = ["ExportedModel", "export_onnx"]
