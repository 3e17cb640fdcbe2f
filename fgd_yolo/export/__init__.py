"""Export a trained checkpoint to an ONNX file, and keep the file only if it agrees with the checkpoint.

`exporter` is the entry point, `export_options` validates the options, and `build` runs the steps in order: `convert`
calls Ultralytics' exporter; `fp16` and `int8` write copies of lower precision (`calibration` measures ranges,
`quantize` rewrites the graph); `uint8_input` moves the preprocessing into the graph; `metadata` writes the metadata;
`parity` compares each file with PyTorch, with the arithmetic of `matching`.

What int8 loses is measured by `int8_checks`: against labels or, on `calibration_frames` without labels, against the
detections of float32, which `agreement` writes as labels.

Shared: `precisions` is the table of precisions, `sample_images` reads real images as network inputs, `decode_tail`
finds where the graph starts to decode, `cpu_session` runs a file, and `file_metrics` measures its mAP and speed.
"""

from fgd_yolo.export.exporter import ExportedModel, export_onnx

__all__ = ["ExportedModel", "export_onnx"]
