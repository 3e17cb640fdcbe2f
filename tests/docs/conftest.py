"""The folder of stand-ins with which every page starts."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from doc_pages import REPOSITORY
from fixtures import CLASSES, draw_dataset, narrow_yaml

STUDENTS = ("yolov8n", "yolov8s", "best", "student")
TEACHERS = ("teacher", "yolov8l")
TEACHER_EPOCHS = 16  # from random weights to an mAP50-95 that the preflight accepts
QUICK = {
    **{"imgsz": 64, "batch": 8, "nbs": 8, "device": "cpu", "workers": 0, "cache": "ram"},
    **{"optimizer": "AdamW", "lr0": 0.005, "warmup_epochs": 0, "mosaic": 0},
    **{"plots": False, "val": False, "verbose": False},
}


@pytest.fixture(autouse=True)
def empty_figures(monkeypatch):
    """Save figures without drawing them: that would take half of the time, and other tests look at figures."""
    from matplotlib.figure import Figure

    save = Figure.savefig

    def save_empty(self, file, **options):
        save(self if hasattr(file, "write") else Figure((0.1, 0.1)), file, **options)

    monkeypatch.setattr(Figure, "savefig", save_empty)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory) -> Path:
    """A few drawn images, narrow models and the demo detector, with the names that the pages use."""
    folder = tmp_path_factory.mktemp("stand-ins")
    work = tmp_path_factory.mktemp("training")
    data = _draw_data(folder)
    teacher = _train(work, data, width=0.25, epochs=TEACHER_EPOCHS)
    student = _train(work, data, width=0.125, epochs=1)
    for names, weights in ((TEACHERS, teacher), (STUDENTS, student)):
        for name in names:
            shutil.copy(weights, folder / f"{name}.pt")
    for name in ("best.onnx", "student.onnx"):
        shutil.copy(REPOSITORY / "tests/data/demo.onnx", folder / name)
    return folder


def _draw_data(folder: Path) -> Path:
    """Draw `data.yaml` with its images, and scenes and a video on which the demo detector finds something."""
    from fgd_yolo.demo.rendering import render_scene

    draw_dataset(folder, train=32, val=8).unlink()
    data = folder / "data.yaml"
    names = dict(enumerate(CLASSES))
    data.write_text(yaml.safe_dump({"train": "images/train", "val": "images/val", "names": names}, sort_keys=False))
    scenes = [render_scene(np.random.default_rng(seed), 320).image for seed in range(3)]
    for path, scene in zip(
        (folder / "image.jpg", folder / "images/a.jpg", folder / "images/b.jpg"), scenes, strict=True
    ):
        cv2.imwrite(str(path), scene)
    video = cv2.VideoWriter(str(folder / "video.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (320, 320))
    for shift in range(20):
        video.write(np.roll(scenes[0], 2 * shift, axis=1))
    video.release()
    return data


def _train(folder: Path, data: Path, width: float, epochs: int) -> Path:
    """Train a narrow YOLOv8 with Ultralytics, and return its last checkpoint."""
    from ultralytics import YOLO

    model = YOLO(str(narrow_yaml(folder / f"width-{width}.yaml", width=width)))
    with contextlib.redirect_stdout(io.StringIO()):
        model.train(data=str(data), epochs=epochs, project=str(folder), name=f"width-{width}", **QUICK)
    return folder / f"width-{width}/weights/last.pt"
