"""Ultralytics arguments of the demo for both training stages, by type of device.

Both models start from random weights and see few images, so the settings aim at many effective steps in little time. On
a CPU with bfloat16 and two idle cores the complete command must take at most 12 minutes.

Measured on one core (AMD Zen 5, 2.6 GHz, torch 2.14, one seed): a step of yolov8l takes 1.74 s in float32 and 0.89 s in
bfloat16, and there are 480 of them; half of its backward pass moves to a second core. yolov8n with the student's
settings and without distillation takes 0.17 s per step in float32; distillation adds at least the teacher's forward
pass, 0.07 s per image in float32, on a second core. Time is proportional to epochs and images, and hardly depends on
the batch size. The results of the command are in docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Settings = Mapping[str, Any]

_BOTH = {
    "optimizer": "AdamW",  # `auto` would choose its own learning rate and ignore lr0
    "cos_lr": True,
    "lrf": 0.02,
    "seed": 0,
    # The scenes vary in lighting, size, rotation and position themselves, so there is little augmentation.
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
    "imgsz": 160,  # the smallest signs have 6 pixels; 128 px, untested, would save a quarter of the time
    "batch": 8,  # 4 gave yolov8n mAP50 0.662 against 0.649 (one seed) for a quarter more time
    "nbs": 8,  # the default of 64 would accumulate 8 batches per step
    "warmup_epochs": 0.5,
    "val": False,  # the last epoch is always validated; each further one would take 10 s for yolov8l
}

CPU_WITH_BFLOAT16: Settings = MappingProxyType({"amp": "bf16"})
"""What a CPU that multiplies bfloat16 sets beside these, in both stages."""

_ACCELERATOR = {**_BOTH, "imgsz": 320, "batch": 16, "nbs": 16, "warmup_epochs": 1.0}
"""Untested: more pixels and epochs, since both cost little on an accelerator."""

TEACHER: Mapping[str, Settings] = MappingProxyType(
    {
        "cpu": MappingProxyType({**_CPU, "epochs": 5, "lr0": 0.001, "warmup_bias_lr": 0.001}),
        "cuda": MappingProxyType({**_ACCELERATOR, "epochs": 40, "lr0": 0.001, "warmup_bias_lr": 0.001}),
    }
)

STUDENT: Mapping[str, Settings] = MappingProxyType(
    {
        # A small network tolerates a higher learning rate: 0.675 against 0.649 with 0.001, 512 steps, one seed.
        "cpu": MappingProxyType({**_CPU, "epochs": 4, "lr0": 0.003, "warmup_bias_lr": 0.003}),
        "cuda": MappingProxyType({**_ACCELERATOR, "epochs": 40, "lr0": 0.002, "warmup_bias_lr": 0.002}),
    }
)

OF_TASK: Mapping[str, Settings] = MappingProxyType(
    {
        "detect": MappingProxyType({}),
        "segment": MappingProxyType({}),
        "pose": MappingProxyType({"flipud": 0.0}),  # keypoints of symmetric signs are named by what is uppermost
        "obb": MappingProxyType({}),
    }
)
"""What a task sets differently, in both stages and on each device."""
