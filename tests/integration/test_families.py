"""Every model YAML that Ultralytics ships distils: as student and as teacher, and with other families.

The whole matrix takes minutes, so that a run of the tests has an eighth of it, another one each day. `make matrix` runs
all of it and writes the record from which the table of the docs is made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import date
from math import isfinite
from pathlib import Path

import pytest
from families_table import NARROW, update_record

from families import PARTS, Case, Trained, cases, distil, head_channels, models, part, row_of, strides
from fgd_yolo.task_table import TASK_OF_HEAD
from fgd_yolo.training import preflight
from fgd_yolo.ultralytics import validate
from fixtures import CLASSES
from stock_ultralytics import StockUltralytics
from training import TERMS, rows

FEATURE_TERMS = TERMS[:4]


def selected() -> list[Case]:
    """Return the part that `FAMILIES` names, 0 to 3 or `all`; without it that of today."""
    chosen = os.environ.get("FAMILIES") or str(date.today().timetuple().tm_yday % PARTS)
    return cases() if chosen == "all" else part(int(chosen))


@pytest.fixture(scope="module")
def stock() -> Iterator[StockUltralytics]:
    process = StockUltralytics()
    yield process
    process.close()


@pytest.fixture(scope="module")
def record() -> Iterator[dict[Case, dict[str, str] | None]]:
    """The row of each case, None if it failed; they are recorded if `FAMILIES_RECORD` is set."""
    measured: dict[Case, dict[str, str] | None] = {}
    yield measured
    if os.environ.get("FAMILIES_RECORD"):
        update_record(measured, cases())


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """A folder that is removed, since some checkpoints are large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("case", selected(), ids=str)
def test_a_student_of_any_family_learns_from_a_teacher_of_any_family(case, folder, stock, record):
    record[case] = None
    run = distil(case, folder)
    check_levels(run)
    check_terms(run)
    found = stock.load(run.trainer.best)
    assert found == {"task": run.trainer.task.name, "names": list(CLASSES), "strides": run.student.stride.tolist()}
    record[case] = row_of(case, run)


@pytest.mark.slow
def test_a_teacher_of_a_larger_stride_is_measured_on_images_of_its_multiples(folder, monkeypatch):
    shapes = []

    def validated(*args, loader, **kwargs):
        shapes.extend(loader.dataset.batch_shapes.tolist())
        return validate(*args, loader=loader, **kwargs)

    monkeypatch.setattr(preflight, "validate", validated)
    trainer = distil(Case(NARROW, "yolov8-p6"), folder).trainer
    assert trainer.test_loader.dataset.batch_shapes.tolist() == [[96, 96]]  # multiples of the student's 32
    assert shapes == [[128, 128]]


def check_levels(run: Trained) -> None:
    """Levels are paired by the strides of the stock models, and the distillation reaches each of the student's."""
    student, teacher = strides(run.student), strides(run.teacher)
    widths = head_channels(run.student), head_channels(run.teacher)
    shared = [stride for stride in student if stride in teacher]
    expected = []
    for stride in shared:
        i, j = student.index(stride), teacher.index(stride)
        expected.append((stride, i, j, widths[0][i], widths[1][j]))
    found = [
        (level.stride, level.student_index, level.teacher_index, level.student_channels, level.teacher_channels)
        for level in run.trainer.distiller.levels
    ]
    assert shared and found == expected
    assert all(isfinite(gradient) for gradient in run.trainer.gradients)
    assert all(run.trainer.gradients[student.index(stride)] > 0 for stride in shared)


def check_terms(run: Trained) -> None:
    """Every term that both models have is finite and not 0, and stands in results.csv."""
    student, teacher = (TASK_OF_HEAD[type(model.model[-1]).__name__].head_terms for model in (run.student, run.teacher))
    heads = [f"head_{term}" for term in student if term in teacher]
    assert list(run.trainer.terms) == [*FEATURE_TERMS, *heads] and run.trainer.distiller.first_batch_checked
    assert all(isfinite(term) and term > 0 for term in run.trainer.terms.values())
    (row,) = rows(run.trainer)
    for name, term in run.trainer.terms.items():
        assert float(row[f"train/{name}"]) == pytest.approx(term, rel=1e-3, abs=1e-5)
    assert all(float(row[f"{group}/ratio"]) > 0 for group in ["features", "heads"][: 1 + bool(heads)])


def test_the_parts_are_all_cases_and_no_case_is_in_two():
    parts = [part(number) for number in range(PARTS)]
    assert sorted(case for each in parts for case in each) == sorted(set(cases()))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_part_is_that_of_the_day_unless_it_is_named(monkeypatch):
    monkeypatch.delenv("FAMILIES", raising=False)
    assert selected() == part(int(date.today().strftime("%j")) % 8)
    for name, expected in (("2", part(2)), ("all", cases())):
        monkeypatch.setenv("FAMILIES", name)
        assert selected() == expected
    monkeypatch.setenv("FAMILIES", "8")
    with pytest.raises(ValueError, match="parts 0 to 7, not 8"):
        selected()


def test_every_model_is_a_student_and_a_teacher():
    narrow = {(case.student, case.teacher) for case in cases() if NARROW in case}
    assert narrow == {(name, NARROW) for name in models()} | {(NARROW, name) for name in models()}
    assert len(models()) >= 44
