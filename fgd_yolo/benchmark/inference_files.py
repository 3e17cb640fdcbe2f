"""The files that the inference benchmark compares: one detector in every precision, and the host's own int8."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from fgd_yolo.datasets import dataset_classes, read_dataset
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.export import export_onnx
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.ultralytics import quiet_ultralytics

PRECISIONS = ("fp32", "fp16", "int8")
HOST_INT8 = "Ultralytics int8"


def export_all(weights: Path, data: str, imgsz: int, folder: Path) -> dict[str, Path]:
    """Export a checkpoint in the three precisions, and with the host's own quantization.

    An int8 file that loses too much is kept here: to show it is what the benchmark is for.

    Args:
        weights: the `.pt` checkpoint.
        data: dataset YAML; its train images calibrate both int8 files.
        imgsz: side of the input in pixels.
        folder: to write to.
    Returns:
        The files by name: fp32, fp16, int8, Ultralytics int8.
    """
    made = {}
    for precision in PRECISIONS:
        output = folder / f"{precision}-{imgsz}.onnx"
        made[precision] = export_onnx(weights, output, precision=precision, imgsz=imgsz, data=data, keep=True).path
    return {**made, HOST_INT8: _export_by_host(weights, data, imgsz, folder)}


@safe_loading()
def random_weights(model: str, data: str, folder: Path) -> Path:
    """Save a model of the host with random weights and the classes of the data: enough where only speed matters.

    Args:
        model: the host's name, such as `yolov8n.yaml`.
        data: dataset YAML.
        folder: to write to.
    """
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    names = dataset_classes(data)
    if names is None:
        raise FGDError(f"data {data} is not a dataset on this disk: pass --data with one")
    detector = YOLO(model)
    detector.model = DetectionModel(model, nc=len(names), verbose=False)
    detector.model.names = names
    path = folder / "random.pt"
    detector.save(path)
    return path


@safe_loading()
def _export_by_host(weights: Path, data: str, imgsz: int, folder: Path) -> Path:
    from ultralytics import YOLO

    own = folder / f"host-{imgsz}"  # the host writes beside the weights
    own.mkdir()
    shutil.copy(weights, own / "model.pt")
    data = str(read_dataset(data, recorded=True).plain_in(own / "data").file)
    try:
        with quiet_ultralytics(logging.ERROR):
            return Path(YOLO(own / "model.pt").export(format="onnx", quantize=8, data=data, imgsz=imgsz, device="cpu"))
    except Exception as error:  # the host raises anything here
        raise FGDError(f"Ultralytics could not write its int8 file: {one_line(error)}") from error
