"""The steps from a PyTorch model to a finished and checked ONNX file, in a temporary folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration_frames import CalibrationFrames
from fgd_yolo.export.convert import check_onnx, convert_to_onnx
from fgd_yolo.export.export_options import ExportOptions
from fgd_yolo.export.metadata import describe, read_metadata, write_metadata
from fgd_yolo.export.parity import Parity, compare_files, compare_with_torch
from fgd_yolo.export.precisions import PRECISIONS, Conversion, ConversionReport
from fgd_yolo.export.sample_images import in_batches, letterbox_images
from fgd_yolo.export.uint8_input import convert_to_uint8_input
from fgd_yolo.task_table import task_of_model


def build(
    options: ExportOptions,
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    size: int,
    images: list[np.ndarray],
    folder: Path,
    frames: CalibrationFrames | None = None,
) -> tuple[Path, Parity, ConversionReport | None]:
    """Write the requested file to a folder and check it.

    Args:
        options: what to build.
        model: a detector, as Ultralytics loads it for training.
        checkpoint: the content of the checkpoint that the model was loaded from.
        size: side of the input, in pixels.
        images: uint8 images with the model's channels, on which the file is compared with the model.
        folder: where all intermediate files are written.
        frames: frames to calibrate on.
    Returns:
        The file, how closely it follows the model, and the report of the conversion to a lower precision, if any.
    Raises:
        FGDError: a step fails, the file is wrong, or the converted file is refused and `allow_regression` not set.
        OSError: the folder cannot be written.
    """
    weights = Path(model.pt_path)
    stretched = task_of_model(model).stretched
    batches = _batches_to_compare(options, images, size, int(model.stride.max()), stretched)
    float32 = convert_to_onnx(
        model, size, folder, batch=options.batch, dynamic=options.dynamic, nms=options.nms, opset=options.opset
    )
    check_onnx(float32)
    file, report = float32, None
    if PRECISIONS[options.precision].module:
        compare_with_torch(float32, model, batches)  # before time is spent on a wrong file
        file = folder / f"{options.precision}.onnx"
        report = _convert_precision(
            options,
            Conversion(float32, file, size, images, options.data, options.max_map_drop, frames),
        )
    if options.uint8_input:
        float_input, file = file, folder / "uint8.onnx"
        convert_to_uint8_input(float_input, file)
        compare_files(float_input, file, batches)
    entry = describe(options, weights, checkpoint, report, images[0].shape[2], model.task, stretched)
    write_metadata(file, read_metadata(float32), entry)
    check_onnx(file)
    return file, compare_with_torch(file, model, batches, options.precision), report


def _convert_precision(options: ExportOptions, conversion: Conversion) -> ConversionReport:
    """Write the copy of lower precision; raise if its report refuses it and `options.allow_regression` is not set."""
    module = import_module(PRECISIONS[options.precision].module)
    report: ConversionReport = module.convert(conversion)
    if report.refusal and not options.allow_regression:
        raise FGDError(f"{report.refusal}; no file was written (--allow-regression writes it anyway)")
    return report


def _batches_to_compare(
    options: ExportOptions, images: list[np.ndarray], size: int, stride: int, stretched: bool
) -> list[np.ndarray]:
    """Return the images in batches that the file must accept; for a dynamic file also two at a time, not square."""
    fixed_batch = options.nms or not options.dynamic
    batches = in_batches(letterbox_images(images, size, size, stretched), options.batch if fixed_batch else 1)
    if options.dynamic:
        wide = letterbox_images(images, size, size + stride, stretched)
        batches += in_batches(wide, options.batch if fixed_batch else 2)
    return batches
