"""The teacher runs beside the student, gives the same training as in series, and is finished however a step ends."""

from __future__ import annotations

import threading

import pytest
import torch

from fgd_yolo import FGDTrainer
from fgd_yolo.training import trainer as trainer_module
from fgd_yolo.training.speed.beside import Beside
from fgd_yolo.training.step import teacher_passes
from fgd_yolo.training.step.loss_hook import LossHook
from fgd_yolo.training.step.teacher_passes import TeacherPasses
from training import STEADY, quick_config, rows, same_weights, train

pytestmark = pytest.mark.slow


def teacher_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("teacher")]


@pytest.fixture
def steady(teacher_pt):
    yield FGDTrainer.with_teacher(teacher_pt, config=quick_config(STEADY))
    assert not teacher_threads()


class InSeries(Beside):
    """Runs the work at once, in the thread that starts it."""

    def start(self, key, pieces, finish):
        with torch.no_grad():
            result = finish([piece() for piece in pieces])
        super().start(key, [lambda: result], lambda results: results[0])


def test_beside_the_student_it_gives_the_same_weights_as_in_series(
    steady, student_yaml, tiny_data, tmp_path, monkeypatch
):
    seen = set()

    class Watched(steady):
        def _setup_train(self):
            super()._setup_train()
            frozen = self.distiller.feature_teacher.frozen
            predict = frozen.model.predict

            def watched(*args):
                seen.add(threading.current_thread().name)
                return predict(*args)

            frozen.model.predict = watched

    beside = train(Watched, student_yaml, tiny_data, tmp_path / "beside")
    assert any(name.startswith("teacher") for name in seen)
    monkeypatch.setattr(teacher_passes, "Beside", InSeries)
    monkeypatch.setattr(trainer_module, "has_spare_core", lambda: False)  # nor the gradients of weights
    seen.clear()
    in_series = train(Watched, student_yaml, tiny_data, tmp_path / "series")
    assert seen == {threading.current_thread().name}
    assert same_weights(beside.last, in_series.last)


@pytest.mark.parametrize("failing", [(LossHook, "detection_loss"), (TeacherPasses, "_run")], ids=["student", "teacher"])
def test_after_an_out_of_memory_error_the_epoch_starts_again_with_half_the_batch(
    failing, steady, student_yaml, tiny_data, tmp_path, monkeypatch
):
    """The first batch fails once; what the teacher had begun with it is gone before the retry."""
    left = []

    def fail_once(function):
        def call(*args, **kwargs):
            if not left:
                left.append(None)
                raise RuntimeError("out of memory")
            return function(*args, **kwargs)

        return call

    class Small(steady):
        def _clear_memory(self, threshold=None):
            super()._clear_memory(threshold)
            if self.distiller.passes._beside is not None:
                assert self.distiller.passes._beside._job is None

    owner, name = failing
    monkeypatch.setattr(owner, name, fail_once(getattr(owner, name)))
    trainer = train(Small, student_yaml, tiny_data, tmp_path)
    assert trainer.batch_size == 2 and [row["epoch"] for row in rows(trainer)] == ["1", "2"]


def test_a_training_that_recovers_from_nan_ends_with_finite_weights(steady, student_yaml, tiny_data, tmp_path):
    spoiled = []

    class Spoiled(steady):
        def optimizer_step(self):
            if self.epoch == 1 and not spoiled:
                spoiled.append(self.epoch)
                self.loss = self.loss * float("nan")
                next(self.model.parameters()).grad.fill_(float("nan"))
            super().optimizer_step()

    trainer = train(Spoiled, student_yaml, tiny_data, tmp_path, epochs=3)
    assert spoiled and [row["epoch"] for row in rows(trainer)] == ["1", "2", "3"]
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_between_the_start_and_the_end_of_a_step_leaves_no_thread(
    error, steady, student_yaml, tiny_data, tmp_path, monkeypatch
):
    def fail(*_):
        assert teacher_threads()
        raise error

    monkeypatch.setattr(LossHook, "detection_loss", fail)
    with pytest.raises(error):
        train(steady, student_yaml, tiny_data, tmp_path)


def test_a_teacher_in_bfloat16_trains_nearly_the_same_student(teacher_pt, student_yaml, tiny_data, tmp_path):
    trainers = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        config = quick_config({**STEADY, "teacher_precision": precision})
        trainer = train(
            FGDTrainer.with_teacher(teacher_pt, config=config), student_yaml, tiny_data, tmp_path / precision
        )
        frozen = trainer.distiller.feature_teacher.frozen
        # What decodes the edges of boxes has outputs in float32.
        weights = [*frozen.model.named_parameters(), *frozen.head.named_parameters()]
        assert {weight.dtype for name, weight in weights if not name.startswith("dfl.")} == {dtype}
        trainers[precision] = rows(trainer)[0]
    exact, rounded = trainers["fp32"], trainers["bf16"]
    names = [name for name in exact if name.endswith(("fg_loss", "bg_loss", "rel_loss", "head_cls", "head_box"))]
    assert len(names) == 5
    for name in names:
        assert float(rounded[name]) == pytest.approx(float(exact[name]), rel=0.1) and exact[name] != rounded[name]
