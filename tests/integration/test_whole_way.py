"""The whole way of a student of every task: distil, stop, resume, measure, export in each precision, draw, predict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fgd_yolo import FGDTrainer, distill, export_onnx
from fgd_yolo.cli.predict_command import main as predict
from fgd_yolo.export import int8
from fgd_yolo.export.metadata import read_metadata
from fgd_yolo.export.precisions import PRECISIONS
from fgd_yolo.task_table import TASKS, Accuracy
from fgd_yolo.ultralytics import load_model
from fixtures import KEYPOINTS, draw_dataset, file_names, narrow_yaml, save_checkpoint
from long_cases import long
from training import quick_config

pytestmark = pytest.mark.slow

SMALL = {"imgsz": 64, "epochs": 2, "batch": 8, "device": "cpu", "plots": False, "nbs": 8}
FIELDS = {"segment": "polygons", "pose": "keypoints", "obb": "xywhr"}
FEW_IMAGES = 2


def interrupt_second_epoch(trainer):
    if trainer.epoch == 1:
        raise KeyboardInterrupt
    trainer.distiller.end_epoch()


@pytest.mark.parametrize("task", ["segment", *long("pose", "obb")])
def test_a_student_of_each_task_is_distilled_resumed_measured_exported_and_run(task, tmp_path, monkeypatch, capsys):
    data = draw_dataset(tmp_path / "data", train=16, val=4, task=task)
    keypoints = KEYPOINTS if task == "pose" else {}
    teacher = save_checkpoint(
        tmp_path / "t.pt", narrow_yaml(tmp_path / "t.yaml", 0.25, task, **keypoints), data, 0, task
    )
    student = narrow_yaml(tmp_path / "s.yaml", 0.125, task, **keypoints)

    # Stage 3 is stopped in its second epoch, and the run is resumed.
    config = quick_config({"pictures_every": 1})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="resume with"):
        patch.setattr(FGDTrainer, "_end_epoch", interrupt_second_epoch)
        distill(teacher, student, data, recipe=config, name="run", **SMALL)
    result = distill(resume="runs/distill/run")
    printed = capsys.readouterr()
    assert "student: resuming from" in printed.out and "no attention plot" not in printed.err
    assert file_names(result.run_dir / "student/attention") == ["epoch001.png", "epoch002.png"]
    assert load_model(result.weights)[0].task == result.metrics["task"] == task

    # The table has the accuracy of the task, and that of the boxes beside it.
    rows = [*result.metrics["teachers"], result.metrics["student"]]
    assert all(0 <= row[name] <= 1 for row in rows for name in Accuracy._fields)
    titles = next(line for line in printed.out.splitlines() if "GFLOPs" in line and "CPU ms" in line)
    assert titles.split().count("mAP50-95") == len(TASKS[task].accuracies)
    assert f"mAP of {' and '.join(TASKS[task].accuracies)} on 4 val images" in printed.out

    # A file in each precision, checked against PyTorch, tells the same numbers.
    monkeypatch.setattr(int8, "seconds_per_run", lambda paths, imgsz: [0.02, 0.01])
    for precision in PRECISIONS:
        exported = export_onnx(result.weights, precision=precision, output=f"{precision}.onnx", allow_regression=True)
        assert exported.task == task
        assert set(Accuracy._fields) <= json.loads(read_metadata(exported.path)["fgd_yolo"]).keys()

    # The detector finds its objects in an image, with what the task adds to a box.
    images = [str(path) for path in sorted((data.parent / "images/val").iterdir())[:FEW_IMAGES]]
    words = ["--model", str(result.onnx), "--conf", "0", "--json", "found.jsonl", "--project", ".", "--name", "drawn"]
    assert predict([*words, "--source", *images]) == 0
    lines = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    assert len(lines) == len(file_names(Path("drawn"))) == FEW_IMAGES
    assert all(FIELDS[task] in found for line in lines for found in line["objects"]) and lines[0]["objects"]
