"""Runs that were never made, for tests of what is done with runs."""

from __future__ import annotations

from fgd_yolo.compare.results_csv import Run

BUDGET = {
    "epochs": 30,
    "batch": 16,
    "imgsz": 320,
    "optimizer": "AdamW",
    "lr0": 0.001429,
    "arguments": {"cos_lr": True},
    "student": "yolov8n",
    "student_key": "5tud3nt",
    "data_key": "da7a",
    "train_images": 292,
    "val_images": 72,
    "hold_out": 0.0,
    "device_type": "cpu",
}


def made_up(method: str = "plain", seed: int = 0, map50_95: float = 0.5, data: str = "cells", **values) -> Run:
    """Return a finished run whose budget is that of all others of the same data and seed."""
    reached = {
        "map50_95": map50_95,
        "map50": map50_95 + 0.25,
        "class_ap": {"red": map50_95 + 0.1, "white": map50_95 - 0.1},
        "ap_small": map50_95 - 0.2,
        "ap_large": map50_95 + 0.05,
        "epoch_s": 10.0,
    }
    proof = {"order": f"order{seed}", "init": f"init{seed}", "options": {}}
    return Run(data=data, method=method, seed=seed, **{**BUDGET, **reached, **proof, **values})
