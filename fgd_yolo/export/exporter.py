"""A checkpoint becomes a file for the camera box, which gets its name only when every check has passed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fgd_yolo.errors import FGDError
from fgd_yolo.export import request as options
from fgd_yolo.files import partial_folder, remove_leftovers

if TYPE_CHECKING:
    from fgd_yolo.export.half_range import HalfReport
    from fgd_yolo.export.int8 import Int8Report


@dataclass(frozen=True)
class ExportedModel:
    """A file that passed every check, and how closely it follows the checkpoint.

    Args:
        path: the ONNX file.
        imgsz: side of the square input, in pixels; a file of dynamic size was made at it.
        images: images that were compared.
        detections: detections that the checkpoint finds on them; the file finds all of them too, unless it is int8.
        box_difference_px: largest difference of a box coordinate, in input pixels; for int8 of those found by both.
        score_difference: largest difference of a class score, which lies in [0, 1]; likewise.
        precision: fp32, fp16 or int8.
        task: detect, segment, pose or obb.
        uint8_input: it takes bytes as OpenCV reads them, and so is for this package's detector alone.
        missing: detections of the checkpoint that an int8 file lacks.
        extra: detections that an int8 file has beyond.
        unreadable: images to compare on that could not be read.
        report: what quantization did, for int8; what stays in float32, for fp16.
    """

    path: Path
    imgsz: int
    images: int
    detections: int
    box_difference_px: float
    score_difference: float
    precision: str = "fp32"
    task: str = "detect"
    uint8_input: bool = False
    missing: int = 0
    extra: int = 0
    unreadable: int = 0
    report: Int8Report | HalfReport | None = None


def export_onnx(
    weights: str | Path,
    output: str | Path | None = None,
    *,
    precision: str = "fp32",
    imgsz: int | None = None,
    batch: int = 1,
    dynamic: bool = False,
    nms: bool = False,
    uint8_input: bool = False,
    opset: int | None = None,
    data: str | Path | None = None,
    max_drop: float = 1.0,
    keep: bool = False,
    check_images: Iterable[str | Path] | None = None,
    allow_download: bool = False,
) -> ExportedModel:
    """Export a YOLO to ONNX, and keep the file only if it sees what the checkpoint sees.

    A converted detector that is subtly wrong still draws boxes, so nobody notices. Here the file is validated
    and compared with PyTorch on real images, an int8 file is measured besides, against float32. All is written
    beside the target and renamed when it has passed, so that a failure leaves what was there before.

    Convention:
        The output is what the host's own evaluation reads: for heads with two branches (YOLO26) the
        one-to-many branch, so a file gives (B, 4 + classes + extras, anchors), centre-size boxes in input
        pixels, and wants NMS. A head that lost that branch by fusion gives (B, rows, 6 + extras), corner boxes,
        score, class; so does embedded NMS (rotated boxes stay centre-size), with rows of zeros at the end.
    Args:
        weights: the `.pt` checkpoint of a detect, segment, pose or obb model. It is read, never executed.
        output: the file to write; the default is the checkpoint's name with `.onnx`.
        precision: fp32, fp16 (input, output and layers that exceed its range stay float32) or int8 (calibrated and
            measured on the data).
        imgsz: side in pixels, a multiple of the model's stride; the default is what it was trained with.
        batch: images in one call; with `nms` also where `dynamic`.
        dynamic: any batch, and any height and width that are multiples of the stride.
        nms: put the host's NMS (confidence 0.25, overlap 0.7, 300 detections) into the graph.
        uint8_input: take (B, H, W, 3) BGR bytes; then only this package's detector reads the file.
        opset: of ONNX; the default is the host's choice.
        data: dataset YAML whose val images are compared and measured on, and whose train images calibrate
            int8 and tell the range of fp16; the default is the one that the checkpoint names.
        max_drop: points of mAP50-95, in hundredths, that int8 may lose.
        keep: write an int8 file that loses more, or is slower, all the same; its metadata says so.
        check_images: image files to compare on instead.
        allow_download: run the download script of `data` where its images are missing, or fetch it from its address;
            either is printed first. What a checkpoint names is never fetched.
    Raises:
        FGDError: no such model, no image to compare on, or a file that is invalid, differs, loses too much or
            is slower; the numbers are named.
        UsageError: an option that cannot be.
    """
    options.require_modules()
    with _on_this_disk(data, allow_download) as data:
        kind = (precision, batch, dynamic, nms, uint8_input, opset, data)
        request = options.Request(*kind, max_drop=max_drop, keep=keep)
        return _export(request, weights, output, imgsz, check_images)


@contextmanager
def _on_this_disk(data: str | Path | None, allow_download: bool) -> Iterator[Path | None]:
    """Give the data YAML that was asked for, with its images on this disk, for as long as the block lasts.

    Messages name it, so it is the user's own; only of an archive it is a copy.
    """
    if data is None:
        yield None
        return
    from fgd_yolo.datasets import read_dataset

    found = read_dataset(data, allow_download=allow_download)
    if found.is_yaml:
        yield found.file
        return
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-data-") as folder:
        yield found.copy_to(Path(folder)).file


def _export(
    request: options.Request,
    weights: str | Path,
    output: str | Path | None,
    imgsz: int | None,
    check_images: Iterable[str | Path] | None,
) -> ExportedModel:
    """Make the file that was asked for in a folder beside its place, and rename it when it has passed."""
    from fgd_yolo.datasets import moved_dataset
    from fgd_yolo.export.build import build
    from fgd_yolo.export.sample_images import load_photos
    from fgd_yolo.ultralytics import load_exportable

    model, checkpoint = load_exportable(weights)
    options.check_model(model, request.nms)
    trained = checkpoint.get("train_args") or {}
    request = replace(request, recorded=moved_dataset(trained.get("data"), Path(weights)))
    size = options.input_size(model, imgsz, trained.get("imgsz"))
    target = options.target_path(Path(weights), output)
    photos, unreadable = load_photos(data=request.data, recorded=request.recorded, files=check_images)
    try:
        remove_leftovers(target.parent)
        with partial_folder(target) as folder:
            made, parity, report = build(request, model, checkpoint, size, photos, folder)
            made.replace(target)
    except OSError as error:
        raise FGDError(f"cannot write {target}: {error.strerror or error}") from error
    kind = {"precision": request.precision, "task": model.task, "uint8_input": request.uint8_input}
    found = {"images": len(photos), "unreadable": unreadable, **parity._asdict(), "report": report}
    return ExportedModel(target, size, **kind, **found)
