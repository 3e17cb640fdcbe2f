from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from fgd_yolo.compare.finished_runs import _check_inputs, finished_run_jobs
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.run_folder import DATA, STUDENT, Input, record_inputs, teacher_input
from fixtures import draw_dataset, save_checkpoint


def test_a_run_whose_teacher_or_data_changed_is_refused(tmp_path, teacher_pt, student_yaml):
    data, teacher = draw_dataset(tmp_path / "data"), Path(shutil.copy(teacher_pt, tmp_path / "teacher.pt"))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    record_inputs(
        run_dir,
        {
            STUDENT: Input(resolve(student_yaml, "student").digest, str(student_yaml)),
            teacher_input(1): Input(sha256(teacher.read_bytes()).hexdigest(), str(teacher)),
            DATA: Input(scan_dataset(str(data), {}).scan.digest, str(data)),
        },
    )
    models = (str(student_yaml), [str(teacher)])
    _check_inputs(run_dir, scan_dataset(str(data), {}), *models)
    save_checkpoint(teacher, "yolov8n.yaml", data, seed=3)
    with pytest.raises(FGDError, match=r"was started with another teacher .*or leave this run out"):
        _check_inputs(run_dir, scan_dataset(str(data), {}), *models)
    teacher.unlink()
    next((data.parent / "images/train").iterdir()).unlink()
    with pytest.raises(FGDError, match=r"was started with other data .*or leave this run out"):
        _check_inputs(run_dir, scan_dataset(str(data), {}), *models)


def test_a_run_that_was_measured_against_a_teachers_objects_is_refused(tmp_path):
    data = draw_dataset(tmp_path / "data", train=4, val=2)
    mark = {"labelled_by": {"teacher": "t.pt", "score": 0.6}}
    data.write_text(yaml.safe_dump(yaml.safe_load(data.read_text()) | mark))
    run = tmp_path / "run"
    (run / "weights").mkdir(parents=True)
    (run / "args.yaml").write_text(yaml.safe_dump({"task": "detect", "data": str(data), "model": "yolov8n.yaml"}))
    save_checkpoint(run / "weights/last.pt", "yolov8n.yaml", data)
    with pytest.raises(FGDError, match=r"are the objects of t\.pt, so nothing measured on them is accuracy"):
        finished_run_jobs([run], tmp_path / "out")
