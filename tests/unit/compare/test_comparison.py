from __future__ import annotations

import hashlib
import math
import os
import signal

import pytest

from fgd_yolo.compare.comparison import _check_output, compare
from fgd_yolo.compare.context import CONTEXT, read_context
from fgd_yolo.compare.job import JOB, LOG, RESULT, Job, read_job, read_result, write_job, write_result
from fgd_yolo.compare.launch import Ended, why
from fgd_yolo.compare.method_specs import parse_method
from fgd_yolo.compare.options import Options
from fgd_yolo.compare.results_csv import RUNS, read_runs
from fgd_yolo.compare.worker import _check_keys
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.locking import FolderLock
from fgd_yolo.workflow.resolve import resolve
from unit.compare.made_up import made_up


@pytest.fixture
def job_of(tmp_path):
    """Return a job in the same folder for whatever teacher it has."""

    def make(teacher_key: str) -> Job:
        planned = made_up("fgd", 0, teacher_key=teacher_key)
        return Job(tmp_path / "run", "cells.yaml", "s.yaml", "t.pt", parse_method("fgd"), {}, planned)

    return make


def test_a_run_that_came_to_no_checkpoint_stands_in_nobodys_way(job_of, tmp_path):
    write_job(job_of("wrong"))
    _check_output([job_of("right")], [], tmp_path)
    last = tmp_path / "run/weights/last.pt"
    last.parent.mkdir()
    last.touch()
    with pytest.raises(UsageError, match="differ in the teacher; name another --output"):
        _check_output([job_of("right")], [], tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    file = tmp_path / "out"
    file.touch()
    with pytest.raises(FGDError, match=r"cannot make the folder .*out: File exists; name another --output"):
        compare(Options(file, student="s.yaml", methods=[parse_method("plain")]), "")


def test_a_failed_run_says_its_last_words_unless_it_was_killed(job_of):
    job = job_of("right")
    job.place.mkdir()
    (job.place / LOG).write_text("epoch 3 of 100\nerror: no room\n\n")
    assert why(Ended(job, 1, 2.0)) == "error: no room"
    assert why(Ended(job, -signal.SIGKILL, 2.0)).startswith("it was ended by SIGKILL")


def test_a_second_comparison_in_a_folder_is_told_who_works_there(tmp_path):
    options = Options(tmp_path, student="s.yaml", methods=[parse_method("plain")])
    with FolderLock(tmp_path), pytest.raises(FGDError, match=rf"is in use by process {os.getpid()} on .* since "):
        compare(options, "")


DAMAGED = [b"", b"[1]", b"{", b"null", b'{"method": 3}', bytes(range(256))]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_files_of_a_run_are_measured_again_or_one_line(content, job_of, capsys):
    job = job_of("right")
    write_job(job)
    assert read_job(job.place).planned == job.planned
    (job.place / JOB).write_bytes(content)
    with pytest.raises(FGDError, match=rf"job\.json is damaged: remove {job.place} to make this run again"):
        read_job(job.place)
    (job.place / RESULT).write_bytes(content)
    assert read_result(job) is None
    assert "run.json is damaged: the run is measured again" in capsys.readouterr().out


def test_a_run_that_reached_no_number_is_measured_again(job_of):
    job = job_of("right")
    for value, whole in ((0.25, True), (math.nan, False), (None, False)):
        write_job(job)
        write_result(job, job.planned.with_values(map50_95=value, map50=0.5))
        assert (read_result(job) is not None) == whole


@pytest.mark.parametrize("content", [*DAMAGED, b'{"commands": [], "machines": {}, "teachers": {}}'])
def test_damaged_files_of_a_comparison_are_one_line(content, tmp_path):
    (tmp_path / CONTEXT).write_bytes(content)
    with pytest.raises(FGDError, match=r"compare\.json is damaged: remove it"):
        read_context(tmp_path)
    (tmp_path / RUNS).write_bytes(b"\xff\xfe")
    with pytest.raises(FGDError, match=r"runs\.csv cannot be read \(.+\): repair or remove it"):
        read_runs(tmp_path / RUNS)


def test_a_run_is_not_made_with_other_models_or_data_than_it_was_planned_with(
    tmp_path, tiny_data, student_yaml, teacher_pt
):
    keys = {
        "data_key": scan_dataset(str(tiny_data), {}).scan.digest[:16],
        "student_key": resolve(student_yaml, "student").digest[:16],
        "teacher_key": hashlib.sha256(teacher_pt.read_bytes()).hexdigest()[:16],
    }

    def job(**changes) -> Job:
        planned = made_up("fgd", 0, **{**keys, **changes})
        models = (str(student_yaml), str(teacher_pt))
        return Job(tmp_path / "run", str(tiny_data), *models, parse_method("fgd"), {}, planned)

    _check_keys(job())
    for name, words in (("data_key", "images or labels"), ("student_key", "student"), ("teacher_key", "teacher")):
        with pytest.raises(FGDError, match=f"the {words} changed since the run was planned"):
            _check_keys(job(**{name: "0" * 16}))
