from __future__ import annotations

import signal

import pytest

from fgd_yolo.analysis.compare.job import LOG, Job, write_job
from fgd_yolo.analysis.compare.launch import Ended, why
from fgd_yolo.analysis.compare.methods import parse_method
from fgd_yolo.analysis.compare.options import Options
from fgd_yolo.analysis.compare.run import _check_output, compare
from fgd_yolo.errors import FGDError, UsageError
from unit.analysis.compare.made_up import made_up


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
