"""Distillation of all model families, with train arguments of Ultralytics, other methods and single terms."""

from __future__ import annotations

import numpy as np
import pytest

from fgd_yolo import FGDTrainer
from training import FEATURE_WEIGHTS, OFF, TERMS, quick_config, rows, train, weights

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("student", ["yolo11n.yaml", "yolo26n.yaml", "yolov8n.yaml"])
def test_every_family_distils(student, configured, tiny_data, tmp_path):
    trainer = train(configured, student, tiny_data, tmp_path, epochs=1)
    assert all(float(rows(trainer)[0][f"train/{name}"]) > 0 for name in TERMS)
    assert weights(trainer.best)


@pytest.mark.parametrize(
    "arguments",
    [
        {"multi_scale": 0.5},
        {"rect": True},
        {"freeze": 3},
        {"nbs": 16, "warmup_epochs": 1},
        {"close_mosaic": 1},
        {"single_cls": False, "mosaic": 0.0, "cos_lr": True},
        {"patience": 1, "epochs": 3},
        {"batch": -1},
        {"val": False},
        {"save_period": 1},
        {"time": 0.0002},
    ],
    ids=lambda arguments: ",".join(arguments),
)
def test_ultralytics_train_arguments_work(arguments, configured, student_yaml, tiny_data, tmp_path):
    trainer = train(configured, student_yaml, tiny_data, tmp_path, **arguments)
    assert all(np.isfinite(float(row[f"train/{name}"])) for row in rows(trainer) for name in TERMS)
    assert weights(trainer.last)


@pytest.mark.long
def test_compile_keeps_measuring_the_gradient_ratio(configured, student_yaml, tiny_data, tmp_path):
    trainer = train(configured, student_yaml, tiny_data, tmp_path, compile=True, epochs=1)
    assert hasattr(trainer.model, "_orig_mod"), "the student was not compiled"
    assert trainer.distiller.features.ratio.current == pytest.approx(trainer.config.features.ratio, rel=0.5)
    assert trainer.distiller.heads.ratio.current == pytest.approx(trainer.config.heads.ratio, rel=0.5)
    assert weights(trainer.best)


def test_fitnet_is_a_method(teacher_pt, student_yaml, tiny_data, tmp_path):
    trainer_class = FGDTrainer.with_teacher(
        teacher_pt, config=quick_config({"method": "fitnet", "schedule.warmup_epochs": 0})
    )
    trainer = train(trainer_class, student_yaml, tiny_data, tmp_path, epochs=1)
    assert float(rows(trainer)[0]["train/imitation_loss"]) > 0


@pytest.mark.parametrize("student", ["yolo26n.yaml", "yolov8n.yaml"])
def test_heads_and_scale_free_terms_train_and_are_logged(student, teacher_pt, tiny_data, tmp_path):
    config = quick_config({"schedule.decay_start": 0.5, "schedule.warmup_epochs": 0})
    trainer_class = FGDTrainer.with_teacher(teacher_pt, config=config)
    trainer = train(trainer_class, student, tiny_data, tmp_path, epochs=2)
    first, last = rows(trainer)
    assert all(float(first[f"train/{name}"]) > 0 for name in TERMS)
    for group in ("features", "heads"):
        assert float(first[f"{group}/ratio"]) == pytest.approx(getattr(config, group).ratio, rel=0.5), group
    assert float(last["features/ratio"]) == 0 and float(last["heads/ratio"]) > 0
    assert weights(trainer.best)


def test_heads_alone_have_no_trainable_modules_and_are_plotted(teacher_pt, student_yaml, tiny_data, tmp_path):
    config = quick_config({"schedule.warmup_epochs": 0, "pictures_every": 1, **{**OFF, "method": "fgd+heads"}})
    trainer_class = FGDTrainer.with_teacher(teacher_pt, config=config)
    trainer = train(trainer_class, student_yaml, tiny_data, tmp_path, epochs=1)
    (row,) = rows(trainer)
    assert not list(trainer.distiller.losses.parameters())
    assert [name for name in row if "/ratio" in name] == ["heads/ratio"]
    assert float(row["train/head_cls"]) > 0
    assert list((trainer.save_dir / "attention").glob("*.png"))


@pytest.mark.parametrize("weight", FEATURE_WEIGHTS)
def test_each_feature_term_can_be_used_alone(weight, teacher_pt, student_yaml, tiny_data, tmp_path):
    config = quick_config({"schedule.warmup_epochs": 0, **{**OFF, weight: 1.0}})
    trainer = train(FGDTrainer.with_teacher(teacher_pt, config=config), student_yaml, tiny_data, tmp_path, epochs=1)
    terms = [key for key in rows(trainer)[0] if key.removeprefix("train/") in TERMS]
    assert terms == [f"train/{weight.removeprefix('features.').replace('weight', 'loss')}"]
