"""What the trainer does not do, refused in one line before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgd_yolo.errors import UsageError


def refuse_unsupported(arguments: Mapping[str, Any]) -> None:
    """Stop on train arguments that cannot be honoured together with FGD.

    Args:
        arguments: Ultralytics train arguments, as the user gave them.

    Raises:
        UsageError: several GPUs, a task other than detect, `distill_model`, `quantize=8`, or a list of data sets.
    """
    device = arguments.get("device")
    devices = device if isinstance(device, (list, tuple)) else str(device or "").strip("[]() ").split(",")
    if len([entry for entry in devices if str(entry).strip()]) > 1:
        raise UsageError(f"device={device}: several GPUs are not supported yet, name one, such as device=0")
    task = arguments.get("task")
    if task not in {None, "detect"}:
        raise UsageError(f"task={task}: only detect is supported yet")
    if arguments.get("distill_model") is not None:
        raise UsageError(
            "distill_model= is Ultralytics' own distillation and cannot run together with FGD: leave it out"
        )
    if str(arguments.get("quantize")) in {"8", "int8"}:
        raise UsageError("quantize=8 (quantization-aware training) is not supported yet: leave it out")
    # For a list the host starts one trainer for each data set, in a folder of this name.
    sweep = "save_dir" in arguments and Path(str(arguments.get("project") or "")).name.startswith("multitrain")
    if isinstance(arguments.get("data"), (list, tuple)) or sweep:
        raise UsageError("a list of data sets is not supported yet: distil them one by one")
