"""The duration of the stages is computed from the times of a few steps, which leave no trace."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch

from fgd_yolo.config import Recipe
from fgd_yolo.training.step_times import StepTimes
from fgd_yolo.workflow import time_estimate
from fgd_yolo.workflow.plan import make_plan
from fgd_yolo.workflow.time_estimate import StageSeconds, epochs_left, estimate_run, measuring_seconds, training_seconds

TIMES = StepTimes(
    setup=2.0,
    batch=0.5,
    update=0.1,
    save=1.0,
    val_image=0.01,
    teacher_val_image=0.05,
    batches=96,
    accumulate=2,
    val_images=128,
)


def test_a_training_takes_its_batches_updates_checkpoints_and_validations():
    epoch = 96 * 0.5 + 48 * 0.1 + 1.0
    begin = 2.0 + 128 * 0.05
    assert training_seconds(TIMES, {"val": False}, 5) == pytest.approx(begin + 5 * epoch + 2 * 128 * 0.01)
    assert training_seconds(TIMES, {"val": True}, 5) == pytest.approx(begin + 5 * epoch + 6 * 128 * 0.01)


def test_the_steps_of_the_teacher_of_the_demo_give_what_its_training_took():
    """yolov8l in float32 on one idle core: recorded steps, and 917 s for 5 epochs with all that belongs to them."""
    step = {"batch": 0.615 + 1.046 + 0.03, "update": 0.016 + 0.083 + 0.011, "val_image": 0.063, "teacher_val_image": 0}
    times = TIMES._replace(accumulate=1, **step)
    assert training_seconds(times, {"val": False}, 5) == pytest.approx(917, rel=0.3)


def test_half_a_step_of_the_optimizer_is_one_more():
    odd, even = (training_seconds(TIMES._replace(batches=count), {}, 1) for count in (95, 94))
    assert odd - even == pytest.approx(0.5 + 0.1)


def test_a_finished_training_takes_nothing_and_a_time_limit_is_what_it_takes():
    assert training_seconds(TIMES, {}, 0) == 0
    assert training_seconds(TIMES, {"time": 0.5}, 5) == 1800


def test_measuring_validates_every_model_once_and_times_single_images():
    assert measuring_seconds(TIMES) == pytest.approx((128 + 10) * 0.06)


def test_the_line_names_each_stage_that_is_left_and_their_sum():
    assert str(StageSeconds(300, 200, 20, 10)) == "9 min: teacher 5 min, student 3 min, measuring 20 s, export 10 s"
    assert str(StageSeconds(0, 100, 20, 10)) == "2 min: student 2 min, measuring 20 s, export 10 s"


def test_the_epochs_that_are_left_are_those_without_a_row(tmp_path, teacher_pt):
    assert epochs_left(tmp_path / "none", {"epochs": 7}) == 7
    (tmp_path / "results.csv").write_text("epoch,time\n1,10\n2,20\n")
    assert epochs_left(tmp_path, {"epochs": 7}) == 5
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/best.pt").write_bytes(teacher_pt.read_bytes())
    assert epochs_left(tmp_path, {"epochs": 7}) == 0


def plan_of(teacher, student, data, **train):
    small = {"imgsz": 64, "batch": 4, "device": "cpu", "epochs": 2, "nbs": 4, **train}
    return make_plan(Recipe(teacher=str(teacher), student=str(student), data=str(data)).replace(train=small))


@pytest.fixture
def few_batches(monkeypatch):
    monkeypatch.setattr(time_estimate, "_FEW_BATCHES", 1)


@pytest.mark.slow
@pytest.mark.parametrize("amp", [False, "bf16"])
def test_an_estimate_covers_every_stage_and_leaves_no_trace(
    amp, few_batches, student_yaml, tiny_data, tmp_path, monkeypatch, capfd, caplog
):
    """The teacher is untrained too, so that it is trained first; the student is distilled from it."""
    monkeypatch.setattr("fgd_yolo.training.speed.cpu_autocast.has_bfloat16", lambda: True)
    logged = []
    loggers = "ultralytics.engine.trainer.callbacks.add_integration_callbacks"
    monkeypatch.setattr(loggers, lambda trainer: trainer.add_callback("on_pretrain_routine_start", logged.append))
    plan = plan_of(student_yaml, student_yaml, tiny_data, amp=amp, **{"imgsz": 96})
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    capfd.readouterr()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        estimate = estimate_run(plan, tmp_path)
    assert min(estimate.teacher, estimate.student, estimate.measure, estimate.export) > 0
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (np.random.get_state()[1].tolist(), random.getstate())
    assert not torch.are_deterministic_algorithms_enabled() and not logged
    assert not [*tmp_path.glob("*estimate*")] and capfd.readouterr() == ("", "") and not caplog.records


@pytest.mark.slow
def test_a_training_of_more_images_and_epochs_takes_longer(few_batches, teacher_pt, student_yaml, tiny_data, tmp_path):
    one, ten = (
        estimate_run(plan_of(teacher_pt, student_yaml, tiny_data, epochs=epochs), tmp_path) for epochs in (1, 100)
    )
    assert one.teacher == ten.teacher == 0, "it knows the classes of the data"
    assert ten.student > 5 * one.student


def test_nothing_is_estimated_for_a_few_batches_or_where_the_training_would_fail(
    teacher_pt, student_yaml, tiny_data, tmp_path, monkeypatch
):
    plan, run_dir = plan_of(teacher_pt, student_yaml, tiny_data), tmp_path / "run"
    run_dir.mkdir()
    assert estimate_run(plan, run_dir) is None

    def fail(*args):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(time_estimate, "_FEW_BATCHES", 1)
    monkeypatch.setattr(time_estimate, "time_steps", fail)
    assert estimate_run(plan, run_dir) is None
    assert not [*run_dir.iterdir()]
