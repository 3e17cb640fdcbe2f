"""`amp=bf16` on a CPU, in real trainings: used, recorded, resumed."""

from __future__ import annotations

import pytest
import torch
import yaml
from ultralytics import YOLO

from fgd_yolo import FGDTrainer
from fgd_yolo.errors import UsageError
from fgd_yolo.training import checkpoints
from fgd_yolo.training.speed import cpu_autocast
from fixtures import narrow_rtdetr
from training import OFF, STEADY, TERMS, quick_config, rows, same_weights, train

pytestmark = pytest.mark.slow
BF16 = {"amp": "bf16"}


@pytest.fixture(autouse=True)
def capable(monkeypatch):
    """A CPU without the instructions computes the same, slowly."""
    monkeypatch.setattr(cpu_autocast, "has_bfloat16", lambda: True)


def recorded(trainer) -> list[str]:
    """Return the precision in everything that a training leaves behind."""
    stored = [torch.load(file, weights_only=False) for file in (trainer.last, trainer.best)]
    return [
        yaml.safe_load((trainer.save_dir / "args.yaml").read_text())["amp"],
        trainer.args.amp,
        *(checkpoint["train_args"]["amp"] for checkpoint in stored),
    ]


def test_a_plain_training_learns_in_bfloat16_and_records_it(student_yaml, tiny_data, tmp_path):
    plain = FGDTrainer.with_teacher(None, quick_config(OFF))
    exact = train(plain, student_yaml, tiny_data, tmp_path / "float32")
    trainer = train(plain, student_yaml, tiny_data, tmp_path / "bfloat16", **BF16)
    assert {*recorded(trainer)} == {"bf16"}
    fused = [{group.get("fused") for group in one.optimizer.param_groups} for one in (exact, trainer)]
    assert fused == [{None}, {True}]
    assert not same_weights(exact.last, trainer.last)
    for name in ("box_loss", "cls_loss", "dfl_loss"):
        pair = [float(rows(one)[0][f"train/{name}"]) for one in (trainer, exact)]
        assert pair[0] == pytest.approx(pair[1], rel=0.1)


@pytest.mark.parametrize("student", ["yolo", "rtdetr"])
def test_a_distillation_learns_in_bfloat16_and_stays_plain(student, teacher_pt, student_yaml, tiny_data, tmp_path):
    model = student_yaml if student == "yolo" else narrow_rtdetr(tmp_path / "rtdetr.yaml", 0.0625)
    trainer_class = FGDTrainer.with_teacher(teacher_pt, quick_config(STEADY))
    trainer = train(trainer_class, model, tiny_data, tmp_path, epochs=1, **BF16)
    terms = [name for name in TERMS if student == "yolo" or not name.startswith("head")]
    (row,) = rows(trainer)
    assert all(float(row[f"train/{name}"]) > 0 for name in terms)
    assert float(row["features/ratio"]) == pytest.approx(trainer.config.features.ratio, rel=0.5)
    assert {*recorded(trainer)} == {"bf16"}
    saved = torch.load(trainer.last, weights_only=False)["model"]
    assert "predict" not in vars(saved) and not saved.model[-1]._forward_pre_hooks


@pytest.mark.parametrize("distilled", [True, False])
def test_a_killed_training_resumes_in_bfloat16(distilled, teacher_pt, student_yaml, tiny_data, tmp_path):
    options = STEADY if distilled else OFF
    trainer_class = FGDTrainer.with_teacher(teacher_pt, quick_config(options))

    class Dying(trainer_class):
        def optimizer_step(self):
            if self.epoch == 1:
                raise KeyboardInterrupt
            super().optimizer_step()

    with pytest.raises(KeyboardInterrupt):
        train(Dying, student_yaml, tiny_data, tmp_path, **BF16)
    last = checkpoints.resumable(tmp_path / "student/weights")
    model = YOLO(last)
    model.train(trainer=trainer_class, resume=str(last), data=str(tiny_data), save_dir=str(tmp_path / "student"))
    assert model.trainer.bfloat16_forward is not None
    assert [row["epoch"] for row in rows(model.trainer)] == ["1", "2"]
    assert {*recorded(model.trainer)} == {"bf16"}


def test_the_batch_size_that_ultralytics_is_asked_to_find_is_its_default(student_yaml, tiny_data, tmp_path):
    plain = FGDTrainer.with_teacher(None, quick_config(OFF))
    assert train(plain, student_yaml, tiny_data, tmp_path, epochs=1, batch=-1, **BF16).batch_size == 16


def test_a_cpu_without_the_instructions_is_refused_before_anything_is_written(
    student_yaml, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(cpu_autocast, "has_bfloat16", lambda: False)
    with pytest.raises(UsageError, match="leave amp out"):
        train(FGDTrainer.with_teacher(None, quick_config(OFF)), student_yaml, tiny_data, tmp_path / "runs", **BF16)
    assert not [*tmp_path.glob("runs/student/*")]
