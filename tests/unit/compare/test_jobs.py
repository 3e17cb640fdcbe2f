from __future__ import annotations

import math

import pytest

from fgd_yolo.compare.jobs import JOB, RESULT, Job, read_job, read_result, write_job, write_result
from fgd_yolo.compare.options import parse_method
from fgd_yolo.errors import FGDError
from unit.compare.example_runs import example_run


@pytest.fixture
def job(tmp_path) -> Job:
    folder = tmp_path / "run"
    planned = example_run("fgd", 0, teacher_digest="t")
    return Job(folder, folder, "cells.yaml", "s.yaml", ["t.pt"], parse_method("fgd"), {}, planned)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"null", b'{"method": 3}', bytes(range(256))])
def test_damaged_files_of_a_run_are_measured_again_or_a_one_line_error(content, job, capsys):
    write_job(job)
    assert read_job(job.folder) == job
    (job.folder / JOB).write_bytes(content)
    with pytest.raises(FGDError, match=rf"job\.json is damaged: remove {job.folder} to make this run again"):
        read_job(job.folder)
    (job.folder / RESULT).write_bytes(content)
    assert read_result(job) is None
    assert "run.json is damaged: the run is measured again" in capsys.readouterr().out


def test_a_run_without_a_finite_result_is_measured_again(job):
    for value, valid in ((0.25, True), (math.nan, False), (None, False)):
        write_job(job)
        write_result(job, job.planned.with_values(map50_95=value, map50=0.5))
        assert (read_result(job) is not None) == valid
