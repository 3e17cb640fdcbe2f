"""The door to the host's checkpoints: they are read, never executed."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn.tasks import DetectionModel, OBBModel, PoseModel, SegmentationModel, torch_safe_load
from ultralytics.utils import DEFAULT_CFG_DICT

from fgd_yolo.errors import FGDError, whole_line
from fgd_yolo.text import printable_names, shortened

HEADS = ("Detect", "v10Detect")  # a segmentation, pose, RT-DETR or open-vocabulary model has another
TASKS = {
    (DetectionModel, "Detect"): "detect",
    (DetectionModel, "v10Detect"): "detect",
    (SegmentationModel, "Segment"): "segment",
    (SegmentationModel, "Segment26"): "segment",
    (PoseModel, "Pose"): "pose",
    (PoseModel, "Pose26"): "pose",
    (OBBModel, "OBB"): "obb",
    (OBBModel, "OBB26"): "obb",
}


def load_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """Read an Ultralytics checkpoint without executing anything that the file holds.

    Raises:
        FGDError: no such file, or a file that is not a whole Ultralytics checkpoint or that names foreign classes.
    """
    path = Path(path)
    if not path.is_file():
        raise FGDError(f"weights file {path} does not exist")
    if path.suffix != ".pt":
        raise FGDError(f"{path} is not a .pt checkpoint of Ultralytics")
    checkpoint = _read_safely(path)
    if not isinstance(checkpoint, dict):
        raise FGDError(f"{path} holds a {type(checkpoint).__name__}, not an Ultralytics checkpoint")
    return checkpoint


def _read_safely(path: Path) -> Any:
    """Read a file that exists, by a name that means nothing to the host.

    It takes names for wishes: it drops quotes from them, and in the place of a file yolov5n.pt it downloads another.
    """
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notes about pickles, two lines before our one
        link = Path(folder) / "weights.pt"
        link.symlink_to(path.absolute())
        try:
            return torch_safe_load(link, safe_only=True)[0]
        except Exception as error:  # a damaged file reaches the unpickler as almost any error
            reason = shortened(whole_line(error).replace(str(link), path.name), 80)
            raise FGDError(
                f"{path} is not an Ultralytics checkpoint, or a damaged one; nothing in it was executed ({reason})"
            ) from error


def load_detector(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a detector from an Ultralytics checkpoint without executing anything that the file holds.

    Args:
        path: a `.pt` file on this disk; names are resolved and downloaded elsewhere.

    Returns:
        The model in float32 and eval mode, on the CPU, with its train arguments as `args`; and the checkpoint.

    Raises:
        FGDError: as `load_checkpoint_file`, or a model of another task than detect, RT-DETR, or open-vocabulary, or
            one with other names than classes.
    """
    model, checkpoint = _load(path)
    head = type(model.model[-1]).__name__ if isinstance(model, DetectionModel) else "no detection head"
    if type(model) is not DetectionModel or head not in HEADS:
        raise FGDError(f"{path} is a {type(model).__name__} ({head}), not a plain YOLO detector")
    return _ready(model, "detect", path, checkpoint), checkpoint


def load_exportable(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a model of any task that is exported: as `load_detector`, and segment, pose and obb besides.

    Raises:
        FGDError: as `load_checkpoint_file`, or a model of another kind, such as RT-DETR or a classifier.
    """
    model, checkpoint = _load(path)
    layers = getattr(model, "model", None)
    head = type(layers[-1]).__name__ if isinstance(layers, nn.Sequential) else "no YOLO head"
    task = TASKS.get((type(model), head))
    if task is None:
        raise FGDError(
            f"{path} is a {type(model).__name__} ({head}), which is not exported here: "
            f"it must be a YOLO for {', '.join(sorted(set(TASKS.values())))}"
        )
    return _ready(model, task, path, checkpoint), checkpoint


def _load(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    checkpoint = load_checkpoint_file(path)
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, nn.Module):
        raise FGDError(f"{path} holds no model: an Ultralytics checkpoint is needed, such as a run's best.pt")
    return model, checkpoint


def _ready(model: nn.Module, task: str, path: str | Path, checkpoint: dict[str, Any]) -> nn.Module:
    check_names(model, path)
    model = model.float().eval()
    clean_names(model)
    model.args = {**DEFAULT_CFG_DICT, **(checkpoint.get("train_args") or {})}
    model.task = task
    model.pt_path = str(path)
    return model


def check_names(model: nn.Module, path: str | Path) -> None:
    """Stop on a model whose head predicts other classes than it names: whatever reads either would be misled.

    Raises:
        FGDError: both numbers are named.
    """
    head = model.model[-1]
    branches = [getattr(head, name, None) or () for name in ("cv3", "one2one_cv3")]  # fusion removes one of the two
    widths = {head.nc, *(levels[-1].out_channels for branch in branches for levels in branch)}
    names = getattr(model, "names", None) or {}
    numbers = set(names) if isinstance(names, dict) else set(range(len(names)))
    if widths == {len(names)} and numbers == set(range(len(names))):
        return
    raise FGDError(
        f"{path} contradicts itself: it names {len(names)} class{'es' * (len(names) != 1)}, its head predicts "
        f"{' or '.join(map(str, sorted(widths)))}; give a checkpoint whose names are those that it was trained with"
    )


def clean_names(model: nn.Module) -> None:
    """Make the class names of a model printable, where it has any."""
    if isinstance(getattr(model, "names", None), (dict, list, tuple)):
        model.names = printable_names(model.names)


@contextmanager
def quiet_host(level: int = logging.WARNING) -> Iterator[None]:
    """Keep what the host says below a level to itself, as while it works on temporary files."""
    logger = logging.getLogger("ultralytics")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
