"""Convert a PyTorch model to a float32 ONNX file with Ultralytics' exporter, and check that a file is valid ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from torch import nn
from ultralytics.engine.exporter import Exporter

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.ultralytics import quiet_ultralytics


@safe_loading()
def convert_to_onnx(
    model: nn.Module,
    size: int,
    folder: Path,
    *,
    batch: int = 1,
    dynamic: bool = False,
    nms: bool = False,
    opset: int | None = None,
) -> Path:
    """Run Ultralytics' exporter, which copies the model, and return the float32 file that it wrote to the folder.

    Convention:
        With embedded NMS the batch is fixed even if the size is dynamic: Ultralytics unrolls its loop over the
        images, and a larger batch would return no detections for the additional images.
    Raises:
        FGDError: Ultralytics cannot convert this model.
        OSError: the folder cannot be written.
    """
    model.pt_path = str(folder / "model.pt")  # Ultralytics writes beside it, under its stem
    data = model.args.get("data")  # for the file's description; without its folder, which must not leave this machine
    model.args = {**model.args, "data": Path(data).name if isinstance(data, str) else None}
    options = {"imgsz": size, "batch": batch, "dynamic": dynamic, "nms": nms or None, "opset": opset}
    fixed = {"format": "onnx", "simplify": True, "device": "cpu", "mode": "export"}
    try:
        with _quiet_exporter():
            path = Path(Exporter(overrides={**fixed, **options})(model=model))
    except OSError:
        raise
    except Exception as error:
        raise FGDError(f"Ultralytics could not export this model: {one_line(error)}") from error
    if nms and dynamic:
        _fix_batch(path, batch)
    return path


def check_onnx(path: Path) -> None:
    """Check a file against the ONNX standard.

    Raises:
        FGDError: it is not valid; the message gives the reason.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise FGDError(f"the exported file is not valid ONNX: {one_line(error)}") from error


def _fix_batch(path: Path, batch: int) -> None:
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(model, path)


def _is_relevant(record: logging.LogRecord) -> bool:
    """Return False for log lines about the batch, which `_fix_batch` handles, and about errors, which are raised."""
    message = record.getMessage()
    return "requires a maximum batch size" not in message and "export failure" not in message


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence Ultralytics' log lines about the temporary file; other warnings and errors still appear."""
    logger = logging.getLogger("ultralytics")
    logger.addFilter(_is_relevant)
    try:
        with quiet_ultralytics(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracer warnings about shapes that are constant on purpose
            yield
    finally:
        logger.removeFilter(_is_relevant)
