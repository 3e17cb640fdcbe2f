"""Example rows of runs.csv, for tests."""

from __future__ import annotations

from fgd_yolo.compare.results import Run

BUDGET = {
    "epochs": 30,
    "batch": 16,
    "imgsz": 320,
    "optimizer": "AdamW",
    "lr0": 0.001429,
    "arguments": {"cos_lr": True},
    "student": "yolov8n",
    "student_digest": "5tud3nt",
    "data_digest": "da7a",
    "train_images": 292,
    "val_images": 72,
    "val_fraction": 0.0,
    "device_type": "cpu",
}


def example_run(method: str = "plain", seed: int = 0, map50_95: float = 0.5, data: str = "cells", **values) -> Run:
    """Return a finished run that is comparable with every other example run."""
    results = {
        "map50_95": map50_95,
        "map50": map50_95 + 0.25,
        "class_ap": {"red": map50_95 + 0.1, "white": map50_95 - 0.1},
        "ap_small": map50_95 - 0.2,
        "ap_large": map50_95 + 0.05,
        "epoch_s": 10.0,
    }
    digests = {"batches_digest": f"batches{seed}", "init_digest": f"init{seed}", "options": {}}
    return Run(data=data, method=method, seed=seed, **{**BUDGET, **results, **digests, **values})
