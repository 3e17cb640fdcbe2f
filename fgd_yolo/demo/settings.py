"""How the demo trains: Ultralytics arguments for both stages, by kind of device.

Both models begin with random weights and see few pictures, so every setting serves many effective steps in
little time. On a CPU the whole command must end within 25 minutes on two cores, even though Ultralytics then trains
with one thread fewer than there are cores.

Measured on one core (AMD Zen 5, 2.6 GHz, torch 2.14, float32, one seed): yolov8l takes 1.95 s a step, so 16 minutes for
its 480 steps. yolov8n, trained plainly with the student's settings, takes 0.17 s a step; distilling adds at least the
teacher's forward pass, 0.07 s a picture. Time grows in proportion to epochs and pictures; the batch hardly changes the
time of a picture. What the whole command reaches is in docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Settings = Mapping[str, Any]

_BOTH = {
    "optimizer": "AdamW",  # named, because auto would pick its own rate and ignore lr0
    "cos_lr": True,
    "lrf": 0.02,
    "seed": 0,
    # The scenes vary in light, size, turn and place by themselves, so augmentation is light.
    "mosaic": 0.0,
    "close_mosaic": 0,
    "erasing": 0.0,
    "hsv_h": 0.005,  # the colour belongs to the class
    "hsv_s": 0.2,
    "hsv_v": 0.2,
    "scale": 0.2,
    "translate": 0.1,
    "fliplr": 0.5,
    "flipud": 0.5,
    "plots": False,
}

_CPU = {
    **_BOTH,
    "imgsz": 160,  # the smallest signs are then 6 pixels wide; 128 px, not tried, would save a quarter of the time
    "batch": 8,  # 4 gave yolov8n mAP50 0.662 against 0.649 (one seed) for a quarter more time
    "nbs": 8,  # the nominal 64 would gather 8 batches into one step
    "warmup_epochs": 0.5,
    "val": False,  # the last epoch is always validated; more would cost yolov8l 10 s each
}

_ACCELERATOR = {**_BOTH, "imgsz": 320, "batch": 16, "nbs": 16, "warmup_epochs": 1.0}
"""Chosen by reasoning, not tried: more pixels and epochs, where both cost little."""

TEACHER: Mapping[str, Settings] = MappingProxyType(
    {
        "cpu": MappingProxyType({**_CPU, "epochs": 5, "lr0": 0.001, "warmup_bias_lr": 0.001}),
        "cuda": MappingProxyType({**_ACCELERATOR, "epochs": 40, "lr0": 0.001, "warmup_bias_lr": 0.001}),
    }
)

STUDENT: Mapping[str, Settings] = MappingProxyType(
    {
        # A small network bears a higher rate: 0.675 against 0.649 with 0.001, 512 steps, one seed.
        "cpu": MappingProxyType({**_CPU, "epochs": 4, "lr0": 0.003, "warmup_bias_lr": 0.003}),
        "cuda": MappingProxyType({**_ACCELERATOR, "epochs": 40, "lr0": 0.002, "warmup_bias_lr": 0.002}),
    }
)
