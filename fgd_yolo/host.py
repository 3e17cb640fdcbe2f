"""The one door to Ultralytics: its safe settings, set before the import, and checkpoints that are read, never executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

# Read once, when the host is imported: without the first its loader executes pickles, without the second it
# pip-installs the modules that a pickle names.
os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

from torch import nn
from ultralytics.nn.tasks import DetectionModel, torch_safe_load
from ultralytics.utils import DEFAULT_CFG_DICT

from fgd_yolo.errors import FGDError


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
    except (TypeError, RuntimeError, EOFError, pickle.UnpicklingError, ModuleNotFoundError, AttributeError) as error:
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
        FGDError: as `load_checkpoint_file`, or a model of another task than detect.
    """
    checkpoint = load_checkpoint_file(path)
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, nn.Module):
        raise FGDError(f"{path} holds no model: an Ultralytics checkpoint is needed, such as a run's best.pt")
    task = getattr(model, "task", None) or (checkpoint.get("train_args") or {}).get("task")
    if not isinstance(model, DetectionModel) or task not in {None, "detect"}:
        raise FGDError(f"{path} is a {type(model).__name__} ({task or 'unknown task'}), not a detector")
    model = model.float().eval()
    model.args = {**DEFAULT_CFG_DICT, **(checkpoint.get("train_args") or {})}
    model.task = "detect"
    model.pt_path = str(path)
    return model, checkpoint
