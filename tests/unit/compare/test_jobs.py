from __future__ import annotations

import math

import pytest

from fgd_yolo.compare.jobs import JOB, RESULT, Job, plan_data, read_job, read_result, write_job, write_result
from fgd_yolo.compare.options import ComparisonOptions, parse_method, parse_methods
from fgd_yolo.errors import FGDError
from fixtures import rename_classes
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


def test_a_teacher_that_knows_the_classes_by_the_map_of_a_method_is_used_as_it_is(
    teacher_pt, student_yaml, tiny_data, tmp_path
):
    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "disc", "cat", "wedge")
    for methods, as_it_is in ((["fgd"], False), (["plain", "fgd:map=cat=block"], True)):
        options = ComparisonOptions(
            tmp_path / "out",
            [str(tiny_data)],
            [str(teacher)],
            str(student_yaml),
            parse_methods(methods),
            seeds=[0],
            train={"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu"},
        )
        assert plan_data(options, str(tiny_data)).fine_tuned == (not as_it_is,)
