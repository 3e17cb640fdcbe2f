"""`tools/distill.py`, with a journal of where each of its trainings is, and of what it restores and learns.

Run as a script, with the arguments of `tools/distill.py`; under torchrun each rank writes a journal of its own. The
journal uses nothing but Ultralytics' callbacks, so that the training is that of a user.

Convention:
    A line of a journal has an `event` and its `time`, in seconds. The events are: `started`, the process runs;
    `restored`, a training is resumed; `training`, an epoch begins; `validating`, it was trained; `saving`, it was
    validated, and its row and checkpoints are written; `epoch`, it has ended; `last epoch`, the last one has, and the
    final evaluation begins.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "tools" / "distill.py"
JOURNAL = "FGD_YOLO_TEST_JOURNAL"
"""Environment variable with the folder of the journals."""


def note(event: str, **values: Any) -> None:
    """Append a line to the journal of this rank."""
    line = json.dumps({"event": event, "time": time.monotonic(), "pid": os.getpid(), **values})
    with (Path(os.environ[JOURNAL]) / f"rank{os.environ.get('RANK', '0')}").open("a") as file:
        file.write(f"{line}\n")


def digest(values: Mapping[Any, Any]) -> str:
    """Return the SHA-256 of tensors and numbers by name; of floating-point tensors, of their values in float32."""
    import torch

    whole = sha256()
    for name, value in sorted(values.items(), key=lambda item: str(item[0])):
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            value = (value.float() if value.is_floating_point() else value).contiguous().numpy().tobytes()
        whole.update(f"{name} ".encode() + (value if isinstance(value, bytes) else repr(value).encode()))
    return whole.hexdigest()


def optimizer_digests(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the state dict of an optimizer: of its moments, and of the settings of its groups."""
    moments = {f"{index}.{name}": value for index, own in state["state"].items() for name, value in own.items()}
    settings = {  # whether kernels are fused depends on the device, not on the checkpoint
        f"{index}.{name}": value
        for index, group in enumerate(state["param_groups"])
        for name, value in group.items()
        if name != "fused"
    }
    return {"moments": digest(moments), "settings": digest(settings)}


def restored(trainer) -> dict[str, Any]:
    """Return digests and numbers of all that a resumed trainer has from its files, before its first step."""
    from ultralytics.utils.torch_utils import unwrap_model

    own = trainer.distiller.state_dict()
    return {
        "epoch": trainer.start_epoch - 1,
        "student": digest(unwrap_model(trainer.model).state_dict()),
        "ema": digest(trainer.ema.ema.state_dict()),
        "updates": trainer.ema.updates,
        "best_fitness": trainer.best_fitness,
        **optimizer_digests(trainer.optimizer.state_dict()),
        "beside": digest(own.pop("losses")),
        **own,
    }


def learnt(trainer) -> dict[str, str]:
    """Return digests of all parameters, of the state of the optimizer and of the ratios, which all ranks share."""
    from ultralytics.utils.torch_utils import unwrap_model

    own = trainer.distiller.state_dict()
    return {
        "student": digest(dict(unwrap_model(trainer.model).named_parameters())),
        "ema": digest(dict(trainer.ema.ema.named_parameters())),
        **optimizer_digests(trainer.optimizer.state_dict()),
        "beside": digest(own.pop("losses")),
        "ratios": digest(
            {f"{group}.{name}": own[group][name] for group in ("features", "heads") for name in own[group]}
        ),
    }


def _end_epoch(trainer) -> None:
    if trainer.epoch >= trainer.epochs:  # Ultralytics counts the final validation as another epoch
        return
    last = trainer.epoch + 1 == trainer.epochs
    note("last epoch" if last else "epoch", epoch=trainer.epoch, learnt=learnt(trainer))


def watch() -> None:
    """Write the journal of every training of this process."""
    from ultralytics.utils.callbacks.base import default_callbacks

    def start(trainer) -> None:
        if trainer.resume:
            note("restored", restored=restored(trainer))

    def validated(validator) -> None:
        if validator.training:
            note("saving")

    events = {
        "on_train_start": start,
        "on_train_epoch_start": lambda trainer: note("training", epoch=trainer.epoch),
        "on_train_epoch_end": lambda trainer: note("validating", epoch=trainer.epoch),
        "on_val_end": validated,
        "on_fit_epoch_end": _end_epoch,
    }
    for event, action in events.items():
        default_callbacks[event].append(action)


if __name__ == "__main__":
    note("started")
    watch()
    sys.argv[0], sys.path[0] = str(SCRIPT), str(SCRIPT.parent)
    runpy.run_path(str(SCRIPT), run_name="__main__")
