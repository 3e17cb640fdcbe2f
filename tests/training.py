"""Run an Ultralytics trainer on small data, as the tests of training need it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from fgd_yolo import FGDConfig


# FGD's features and the heads; accepts an untrained teacher and draws no plots, so that a test takes seconds.
def quick_config(options: dict[str, Any] | None = None) -> FGDConfig:
    quick = {"method": "fgd+heads", "checks.min_teacher_map": 0.0, "pictures_every": 0}
    return FGDConfig.from_dict({**quick, **(options or {})})


FEATURE_WEIGHTS = tuple(f"features.{term}_weight" for term in ("fg", "bg", "attn", "rel"))
# Full strength from the first batch to the last.
STEADY = {"schedule.warmup_epochs": 0, "schedule.decay_start": 1.0, "schedule.decay_end": 1.0}
TERMS = ["fg_loss", "bg_loss", "attn_loss", "rel_loss", "head_cls", "head_box"]
OFF = {"method": "fgd", **dict.fromkeys(FEATURE_WEIGHTS, 0)}


def train(trainer_class, student: str | Path, data: Path, folder: Path, **arguments):
    """Train a few small epochs to the end and return the trainer; `arguments` are train arguments of Ultralytics."""
    small = {
        "imgsz": 64,
        "epochs": 2,
        "batch": 4,
        "device": "cpu",
        "plots": False,
        "warmup_epochs": 0,
        "nbs": 4,
    }
    place = {"project": str(folder), "name": "student", "exist_ok": True}
    trainer = trainer_class(overrides={"model": str(student), "data": str(data), **small, **place, **arguments})
    trainer.train()
    return trainer


def batch(boxes: int = 3) -> dict[str, torch.Tensor]:
    """Return a batch of two 64 px images as Ultralytics passes it to a model's loss; all boxes are the first's."""
    torch.manual_seed(1)
    return {
        "img": torch.rand(2, 3, 64, 64),
        "bboxes": torch.rand(boxes, 4) * 0.4 + 0.2,
        "cls": torch.zeros(boxes, 1),
        "batch_idx": torch.zeros(boxes),
    }


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a checkpoint holds, by name."""
    from fgd_yolo.ultralytics import load_model

    return load_model(checkpoint)[0].state_dict()


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two checkpoints hold the same weights to the last bit."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rows(trainer) -> list[dict[str, str]]:
    """Return the rows of a training's results.csv."""
    with trainer.csv.open() as file:
        return list(csv.DictReader(file))
