"""The door to the host's checkpoints: they are read, never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn.tasks import DetectionModel, torch_safe_load
from ultralytics.utils import DEFAULT_CFG_DICT

from fgd_yolo.errors import FGDError

HEADS = ("Detect", "v10Detect")  # a segmentation, pose, RT-DETR or open-vocabulary model has another


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
    try:
        checkpoint, _ = torch_safe_load(path, safe_only=True)
    except Exception as error:  # a damaged file reaches the unpickler as almost any error
        raise FGDError(
            f"{path} is not an Ultralytics checkpoint, or a damaged one; nothing in it was executed "
            f"({' '.join(str(error).split())[:160]})"
        ) from error
    if not isinstance(checkpoint, dict):
        raise FGDError(f"{path} holds a {type(checkpoint).__name__}, not an Ultralytics checkpoint")
    return checkpoint


def load_detector(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a detector from an Ultralytics checkpoint without executing anything that the file holds.

    Args:
        path: a `.pt` file on this disk; names are resolved and downloaded elsewhere.

    Returns:
        The model in float32 and eval mode, on the CPU, with its train arguments as `args`; and the checkpoint.

    Raises:
        FGDError: as `load_checkpoint_file`, or a model of another task than detect, RT-DETR, or open-vocabulary.
    """
    checkpoint = load_checkpoint_file(path)
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, nn.Module):
        raise FGDError(f"{path} holds no model: an Ultralytics checkpoint is needed, such as a run's best.pt")
    head = type(model.model[-1]).__name__ if isinstance(model, DetectionModel) else "no detection head"
    if type(model) is not DetectionModel or head not in HEADS:
        raise FGDError(f"{path} is a {type(model).__name__} ({head}), not a plain YOLO detector")
    model = model.float().eval()
    model.args = {**DEFAULT_CFG_DICT, **(checkpoint.get("train_args") or {})}
    model.task = "detect"
    model.pt_path = str(path)
    return model, checkpoint
