"""Students of each task on grey, colour and four-channel images: distilled, exported, detected and streamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fgd_yolo import FGDTrainer, OnnxDetector, export_onnx
from fgd_yolo.cli.stream_command import main as stream
from fgd_yolo.task_table import TASKS
from fixtures import task_files
from training import STEADY, quick_config, rows, train

EXTRA = {"detect": "xyxy", "segment": "polygons", "pose": "keypoints", "obb": "xywhr"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "channels"),
    [("detect", 3), *((task, channels) for task in ("segment", "pose", "obb") for channels in (1, 3, 4))],
)
def test_a_student_is_distilled_exported_and_streamed_on_images_of_any_channels(task, channels, tmp_path):
    files = task_files(tmp_path / "files", task, channels)
    trainer_class = FGDTrainer.with_teacher(files.teacher, quick_config(STEADY))
    trainer = train(trainer_class, files.student, files.data, tmp_path, task=task, epochs=1)
    (row,) = rows(trainer)
    assert all(float(row[f"train/{name}"]) > 0 for name in trainer.distiller.names)
    assert {f"head_{term}" for term in TASKS[task].head_terms} < set(trainer.distiller.names)

    exported = export_onnx(trainer.best, tmp_path / "best.onnx", data=files.data)
    assert (exported.task, exported.images, exported.unreadable) == (task, 6, 0)
    folder = files.data.parent / "images/val"
    detector = OnnxDetector(exported.path, "cpu", threads=1, conf=0)
    assert detector.info.channels == channels
    found = [detections.to_dict()["objects"] for detections in detector(sorted(folder.iterdir()))]
    assert all(EXTRA[task] in entry for objects in found for entry in objects) and any(found)

    words = ["--model", str(exported.path), "--source", str(folder), "--conf", "0", "--json", "out.jsonl"]
    assert stream([*words, "--device", "cpu"]) == 0
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    results = [line["objects"] for line in lines if line["kind"] == "result"]
    assert [len(objects) for objects in results] == [len(objects) for objects in found]
    assert all(EXTRA[task] in entry for objects in results for entry in objects)
