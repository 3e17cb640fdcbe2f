"""A small training for tests, which keeps what happens in each rank; runs as the script of several processes.

Batches are changed as a test wants them, and kept as the trainer gets them, so that a test can repeat every step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils.torch_utils import unwrap_model

from fgd_yolo import FGDTrainer
from fgd_yolo.console import guarded
from fgd_yolo.distributed.world import current_world
from fgd_yolo.training.unlabeled_frames.mixed_dataset import UNLABELED
from training import quick_config


def state(trainer) -> dict[str, torch.Tensor]:
    """Return copies of everything that is trained: the student, its EMA, and what is beside it."""
    parts = {
        "student": dict(unwrap_model(trainer.model).named_parameters()),
        "ema": trainer.ema.ema.state_dict(),
        "beside": trainer.beside().state_dict(),
    }
    return {f"{part}.{name}": value.detach().clone() for part, own in parts.items() for name, value in own.items()}


def remove_boxes(batch: dict[str, Any]) -> None:
    for name in ("cls", "bboxes", "batch_idx"):
        batch[name] = batch[name][:0]


def drop_last_image(batch: dict[str, Any]) -> None:
    count = len(batch["img"]) - 1
    kept = batch["batch_idx"] < count
    for name in ("cls", "bboxes", "batch_idx"):
        batch[name] = batch[name][kept]
    batch["img"] = batch["img"][:count]
    for name in {"im_file", UNLABELED} & batch.keys():
        batch[name] = batch[name][:count]


CHANGES = {"remove_boxes": remove_boxes, "drop_last_image": drop_last_image}


def spoil_level(trainer, steps: list[int]) -> None:
    """Make the terms of the finest level NaN in some steps."""
    loss = trainer.distiller.losses[0]
    terms = loss.terms

    def spoilt(*inputs):
        factor = float("nan") if trainer.steps_taken - 1 in steps else 1.0
        return tuple(term * factor for term in terms(*inputs))

    loss.terms = spoilt


class KeepingTrainer(FGDTrainer):
    """A trainer that keeps the batches and the states of its rank in a folder.

    `plan` has, by rank: `changes` of batches by step, as names of `CHANGES`; `spoilt`, the steps whose finest level is
    not finite; `lost`, epochs that end with a loss that is not finite, once; `killed`, the step at which it is killed.
    """

    folder: Path
    plan: dict[str, dict[str, Any]]
    place: int | None = None  # the rank that a trainer in one process repeats

    def _setup_train(self) -> None:
        self.steps_taken, self.kept, self.states, self.epochs_kept = 0, [], [], []
        super()._setup_train()
        self.own_plan = self.plan.get(str(self.world.rank if self.place is None else self.place), {})
        spoil_level(self, self.own_plan.get("spoilt", []))
        self.states.append(state(self))

    def preprocess_batch(self, batch):
        if self.steps_taken == self.own_plan.get("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if (change := self.own_plan.get("changes", {}).get(str(self.steps_taken))) and self.place is None:
            CHANGES[change](batch)
        self.kept.append({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in batch.items()})
        self.steps_taken += 1
        return super().preprocess_batch(batch)

    def run_callbacks(self, event: str) -> None:
        super().run_callbacks(event)
        if event == "on_train_epoch_end" and self.epoch in self.own_plan.get("lost", []):
            self.own_plan["lost"].remove(self.epoch)
            self.loss = self.loss * float("nan")
        if event == "on_fit_epoch_end" and self.epoch < self.epochs:  # not for the final validation
            self.epochs_kept.append(self.epoch)
            self.states.append(state(self))

    def train(self) -> None:
        super().train()
        if self.ddp:  # other processes have trained
            return
        kept = {"batches": self.kept, "states": self.states, "epochs": self.epochs_kept, "save_dir": str(self.save_dir)}
        torch.save(kept, self.folder / f"rank{self.world.rank}.pt")


def build(
    folder: Path,
    *,
    teacher: str,
    options: dict[str, Any],
    overrides: dict[str, Any],
    plan: dict[str, dict[str, Any]],
    hosts: bool = False,
    place: int | None = None,
    unlabeled: str | None = None,
) -> KeepingTrainer:
    """Return the trainer of the arguments that a test has written.

    Args:
        unlabeled: list file of frames without labels.
        hosts: whether each rank has a folder of its own for its runs, like machines without a shared disk.
    """
    made = KeepingTrainer.with_teacher(teacher, quick_config(options), unlabeled=unlabeled)
    made.folder, made.plan, made.place = folder, plan, place
    return made(overrides=on_host(overrides, current_world().rank) if hosts else overrides)


def on_host(overrides: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return arguments whose paths lie in the folder of a rank's own machine."""
    own = f"host{rank}"
    return {name: value.replace("HOST", own) if isinstance(value, str) else value for name, value in overrides.items()}


def main() -> None:
    folder = Path(sys.argv[1])
    build(folder, **json.loads((folder / "arguments.json").read_text())).train()


if __name__ == "__main__":
    sys.exit(guarded(main))
