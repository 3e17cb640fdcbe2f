"""The host's exporter, asked for what we want and kept quiet; and what a valid ONNX file is."""

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
def convert(
    model: nn.Module,
    size: int,
    folder: Path,
    *,
    batch: int = 1,
    dynamic: bool = False,
    nms: bool = False,
    opset: int | None = None,
) -> Path:
    """Run the host's exporter, which copies the model, and return the float32 file that it wrote in the folder.

    Convention:
        With embedded NMS the batch is fixed even where the size is dynamic: the host unrolls its loop over
        images, and a larger batch would come back with nothing found on the images beyond.
    Raises:
        FGDError: the host cannot convert this model.
        OSError: the folder cannot be written.
    """
    model.pt_path = str(folder / "model.pt")  # the host writes beside it and keeps its stem
    data = model.args.get("data")  # goes into the file's description, and the file leaves this machine
    model.args = {**model.args, "data": Path(data).name if isinstance(data, str) else None}
    options = {"imgsz": size, "batch": batch, "dynamic": dynamic, "nms": nms or None, "opset": opset}
    fixed = {"format": "onnx", "simplify": True, "device": "cpu", "mode": "export"}
    try:
        with _quiet():
            path = Path(Exporter(overrides={**fixed, **options})(model=model))
    except OSError:
        raise
    except Exception as error:
        raise FGDError(f"Ultralytics could not export this model: {one_line(error)}") from error
    if nms and dynamic:
        _fix_batch(path, batch)
    return path


def validate(path: Path) -> None:
    """Check the file against the ONNX standard.

    Raises:
        FGDError: it is not valid; the reason is named.
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


def _worth_saying(record: logging.LogRecord) -> bool:
    """Return false for what is fixed here, or becomes an error of ours."""
    said = record.getMessage()
    return "requires a maximum batch size" not in said and "export failure" not in said


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the host from advertising the temporary file; its warnings and errors still come through."""
    logger = logging.getLogger("ultralytics")
    logger.addFilter(_worth_saying)
    try:
        with quiet_ultralytics(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracer notes about shapes that are constant here on purpose
            yield
    finally:
        logger.removeFilter(_worth_saying)
