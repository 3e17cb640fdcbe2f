from __future__ import annotations

import hashlib
import signal

import pytest

from fgd_yolo.compare.jobs import LOG, Job
from fgd_yolo.compare.options import parse_method
from fgd_yolo.compare.run_process import EndedProcess, _check_inputs, failure_reason
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.workflow.resolve import resolve
from unit.compare.example_runs import example_run


def test_the_reason_of_a_failure_is_the_last_line_of_the_log_or_the_signal(tmp_path):
    job = Job(tmp_path, tmp_path, "cells.yaml", "s.yaml", ["t.pt"], parse_method("fgd"), {}, example_run("fgd", 0))
    (tmp_path / LOG).write_text("epoch 3 of 100\nerror: no room\n\n")
    assert failure_reason(EndedProcess(job, 1, 2.0)) == "error: no room"
    assert failure_reason(EndedProcess(job, -signal.SIGKILL, 2.0)).startswith("killed by SIGKILL")


def test_a_run_is_refused_if_models_or_data_changed_since_it_was_planned(tmp_path, tiny_data, student_yaml, teacher_pt):
    digests = {
        "data_digest": scan_dataset(str(tiny_data), {}).scan.digest[:16],
        "student_digest": resolve(student_yaml, "student").digest[:16],
        "teacher_digest": hashlib.sha256(teacher_pt.read_bytes()).hexdigest()[:16],
    }

    def job(**changes) -> Job:
        planned = example_run("fgd", 0, **{**digests, **changes})
        models = (str(student_yaml), [str(teacher_pt)])
        return Job(tmp_path, tmp_path, str(tiny_data), *models, parse_method("fgd"), {}, planned)

    _check_inputs(job())
    for name, words in (
        ("data_digest", "images or labels"),
        ("student_digest", "student"),
        ("teacher_digest", "teacher"),
    ):
        with pytest.raises(FGDError, match=f"the {words} changed since the run was planned"):
            _check_inputs(job(**{name: "0" * 16}))
