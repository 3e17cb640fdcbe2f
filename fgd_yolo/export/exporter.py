"""Export a checkpoint to an ONNX file, and keep the file only if it passes every check."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError
from fgd_yolo.export.export_options import ExportOptions, check_model, input_size, require_modules, target_path
from fgd_yolo.export.precisions import PRECISIONS, ConversionReport
from fgd_yolo.files import partial_folder, remove_leftovers

if TYPE_CHECKING:
    from fgd_yolo.export.calibration_frames import CalibrationFrames


@dataclass(frozen=True)
class ExportedModel:
    """An exported file that passed every check, and how closely it follows the checkpoint.

    Args:
        path: the ONNX file.
        imgsz: side of the square input, in pixels; for a file of dynamic size, the size it was exported at.
        images: number of images that were compared.
        detections: number of the checkpoint's detections on them; unless it is int8, the file has all of them too.
        box_difference_px: largest difference of a box coordinate, in input pixels; for int8 of matching detections.
        score_difference: largest difference of a class score in [0, 1]; for int8 of matching detections.
        precision: a name in `PRECISIONS`.
        task: detect, segment, pose or obb.
        uint8_input: the input is uint8 images, which only this package's detector can feed.
        missing: number of the checkpoint's detections that an int8 file lacks.
        extra: number of an int8 file's detections that the checkpoint lacks.
        unreadable: number of images to compare on that could not be read.
        report: the report of the conversion to a lower precision; None for fp32.
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
    report: ConversionReport | None = None


def export_onnx(
    model: str | Path,
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
    calibrate: str | Path | Sequence[str | Path] = (),
    max_map_drop: float | None = None,
    allow_regression: bool = False,
    check_images: Iterable[str | Path] | None = None,
    allow_download: bool = False,
) -> ExportedModel:
    """Export a YOLO to ONNX, and keep the file only if it detects what the checkpoint detects.

    A detector that was converted slightly wrong still draws boxes. Therefore the file is compared with PyTorch on real
    images; of an int8 file the speed is also measured against float32, and its accuracy or, without labelled data, its
    agreement with float32. It is written beside the target and renamed if it passes: otherwise an earlier file stays.

    Convention:
        The output is what Ultralytics' own validation reads. Heads with two branches (YOLO26) are exported with the
        one-to-many branch, so a file gives (B, 4 + classes + extras, anchors), centre-size boxes in input pixels, and
        needs NMS. A head that lost that branch by fusion gives (B, rows, 6 + extras): corner boxes, score, class; so
        does embedded NMS (rotated boxes stay centre-size), padded with rows of zeros.
    Args:
        model: the `.pt` checkpoint of a detect, segment, pose or obb model. It is read, never executed.
        output: file to write; the default is the checkpoint's name with `.onnx`.
        precision: fp32, fp16 (layers that exceed its range, input and output stay float32), or int8 (calibrated).
        imgsz: side in pixels, a multiple of the model's stride; the default is the trained size.
        batch: images in one call; with `nms` it is fixed even if `dynamic` is set.
        dynamic: accept any batch, and any height and width that are multiples of the stride.
        nms: put Ultralytics' NMS (confidence 0.25, overlap 0.7, 300 detections) into the graph.
        uint8_input: take (B, H, W, C) uint8, BGR for three channels; only this package's detector supports it.
        opset: ONNX opset; the default is Ultralytics' choice.
        data: dataset YAML whose val images are compared and measured on, and whose train images calibrate
            int8 and show the range of fp16; the default is the one that the checkpoint names.
        calibrate: unlabelled frames to calibrate int8 on instead of the train images: folders, list files, videos or
            collections. A quarter is held out: without labelled data on this disk, the file's agreement with float32
            is measured on these.
        max_map_drop: mAP50-95 points that int8 may lose; None is 1 of accuracy, or 8 of agreement.
        allow_regression: write an int8 file even if it loses more or is slower; its metadata then says why.
        check_images: image files to compare on, instead of the val images.
        allow_download: run the download script of `data` if its images are missing, or fetch it from its URL, after
            telling so; never for a dataset that only the checkpoint names.
    Raises:
        FGDError: no such model, no image to compare on, or a file that is invalid, differs, loses too much or
            is slower; the message gives the numbers.
        UsageError: an invalid option.
    """
    require_modules()
    paths = (calibrate,) if isinstance(calibrate, (str, Path)) else tuple(calibrate)
    with _local_dataset(data, allow_download) as data:
        graph = precision, batch, dynamic, nms, uint8_input, opset
        options = ExportOptions(*graph, data, max_map_drop, allow_regression, paths)
        return _export(options, model, output, imgsz, check_images)


@contextmanager
def _local_dataset(data: str | Path | None, allow_download: bool) -> Iterator[Path | None]:
    """Yield the data YAML with its images on this disk, for as long as the block lasts.

    This is the user's own file, so that messages name it; for an archive it is a temporary copy.
    """
    if data is None:
        yield None
        return
    from fgd_yolo.datasets import read_dataset

    dataset = read_dataset(data, allow_download=allow_download)
    if dataset.is_yaml:
        yield dataset.file
        return
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-data-") as folder:
        yield dataset.copy_to(Path(folder)).file


def _export(
    options: ExportOptions,
    weights: str | Path,
    output: str | Path | None,
    imgsz: int | None,
    check_images: Iterable[str | Path] | None,
) -> ExportedModel:
    """Build the file in a folder beside its target, and rename it if it passes."""
    from fgd_yolo.datasets import moved_dataset
    from fgd_yolo.export.build import build
    from fgd_yolo.export.sample_images import COMPARED_IMAGES, images_to_compare, spread
    from fgd_yolo.task_table import image_channels
    from fgd_yolo.ultralytics import load_model

    model, checkpoint = load_model(weights)
    check_model(model, options.nms, options.dynamic)
    trained = checkpoint.get("train_args") or {}
    size = input_size(model, imgsz, trained.get("imgsz"))
    target = target_path(Path(weights), output)
    options, frames = _with_frames(options, moved_dataset(trained.get("data"), Path(weights)))
    if frames and options.data is None and check_images is None:
        check_images = spread(frames.held_out, COMPARED_IMAGES)
    images, unreadable = images_to_compare(options.data, check_images, channels=image_channels(model.yaml))
    try:
        remove_leftovers(target.parent)
        with partial_folder(target) as folder:
            file, parity, report = build(options, model, checkpoint, size, images, folder, frames)
            file.replace(target)
    except OSError as error:
        raise FGDError(f"cannot write {target}: {error.strerror or error}") from error
    return ExportedModel(
        target,
        size,
        images=len(images),
        unreadable=unreadable,
        precision=options.precision,
        task=model.task,
        uint8_input=options.uint8_input,
        report=report,
        **parity._asdict(),
    )


def _with_frames(options: ExportOptions, recorded: Any) -> tuple[ExportOptions, CalibrationFrames | None]:
    """Return the options with the labelled data of the export, None without any, and the frames to calibrate on.

    Args:
        options: options as the user gave them.
        recorded: data that the checkpoint names, which takes the place of data that is not given.
    """
    from fgd_yolo.export.calibration_frames import calibration_frames, frames_of_run, has_labels

    data = recorded if options.data is None else options.data
    if options.calibrate:
        # Data that the user names must be there; what a checkpoint names may have been left on another machine.
        data = data if has_labels(data, recorded=options.data is None) else None
        return replace(options, data=data), calibration_frames(options.calibrate, data)
    frames = frames_of_run(data) if PRECISIONS[options.precision].calibrated else None
    return replace(options, data=None if frames else data), frames
