"""The steps from a PyTorch model to a finished, signed and checked file in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from torch import nn

from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration import photo_batches
from fgd_yolo.export.convert import convert, validate
from fgd_yolo.export.parity import Parity, compare_files, compare_with_torch
from fgd_yolo.export.request import Request
from fgd_yolo.export.sample_images import in_batches, letterbox
from fgd_yolo.export.uint8 import take_uint8
from fgd_yolo.export.write_metadata import describe, read_entries, write_entries

if TYPE_CHECKING:
    from fgd_yolo.export.half_range import HalfReport
    from fgd_yolo.export.int8 import Int8Report


def build(
    request: Request,
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    size: int,
    photos: list[np.ndarray],
    folder: Path,
) -> tuple[Path, Parity, Int8Report | HalfReport | None]:
    """Write the file that was asked for into the folder, and check it.

    Args:
        request: what to make.
        model: a detector, as the host loads it for training.
        checkpoint: where it comes from.
        size: side of the input, in pixels.
        photos: BGR images to compare on.
        folder: for all files on the way.
    Returns:
        The file, how closely it follows the model, and for int8 and fp16 what stayed in float32 and why.
    Raises:
        FGDError: a step fails, the file is wrong, or int8 was refused and is not to be kept.
        OSError: the folder cannot be written.
    """
    weights, views = Path(model.pt_path), _views(request, photos, size, int(model.stride.max()))
    plain = convert(
        model, size, folder, batch=request.batch, dynamic=request.dynamic, nms=request.nms, opset=request.opset
    )
    validate(plain)
    made, report = plain, None
    if request.precision != "fp32":
        compare_with_torch(plain, model, views)  # calibrating and measuring a wrong conversion would be vain
        made, report = _coarser(request, plain, size, photos)
    if request.uint8_input:
        floats, made = made, folder / "uint8.onnx"
        take_uint8(floats, made)
        compare_files(floats, made, views)
    write_entries(made, read_entries(plain), describe(request, weights, checkpoint, report))
    validate(made)
    return made, compare_with_torch(made, model, views, request.precision), report


def _coarser(
    request: Request, plain: Path, size: int, photos: list[np.ndarray]
) -> tuple[Path, Int8Report | HalfReport]:
    """Return a copy in float16 or int8; refuse an int8 one that loses too much or is slower."""
    made = plain.with_name(f"{request.precision}.onnx")
    if request.precision == "fp16":
        from fgd_yolo.export.half import to_half
        from fgd_yolo.export.half_range import check_half, measure_half

        found = measure_half(plain, photos, data=request.data, recorded=request.recorded, imgsz=size)
        to_half(plain, made, found.float_nodes)
        check_half(made, photo_batches(onnx.load(made), photos, size))
        return made, found
    from fgd_yolo.export.int8 import make_int8

    report = make_int8(
        plain,
        made,
        info=read_entries(plain),
        data=request.data,
        recorded=request.recorded,
        imgsz=size,
        max_drop=request.max_drop,
    )
    if not report.accepted and not request.keep:
        raise FGDError(f"{report.refusal}; nothing was written (keep=True or --keep writes it all the same)")
    return made, report


def _views(request: Request, photos: list[np.ndarray], size: int, stride: int) -> list[np.ndarray]:
    """Return the photos as batches that the file must take: of a dynamic one also two at once, and not square."""
    views = in_batches(letterbox(photos, size, size), request.batch if request.nms or not request.dynamic else 1)
    if request.dynamic:
        views += in_batches(letterbox(photos, size, size + stride), request.batch if request.nms else 2)
    return views
