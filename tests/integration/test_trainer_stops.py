"""What stops a training, in one line, and what does not."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo import FGDTrainer
from fgd_yolo.errors import FGDError, UsageError
from fixtures import save_checkpoint
from training import rows, train, untaught, weights

pytestmark = pytest.mark.slow
FEATURES = untaught(warmup_epochs=0, heads=False, hold=1.0, end=1.0)


def test_a_teacher_that_does_not_know_the_data_stops_the_run(teacher_pt, student_yaml, tiny_data, tmp_path):
    with pytest.raises(FGDError, match=r"mAP50-95 0\.0.*below 0\.05"):
        train(FGDTrainer.configured(teacher=teacher_pt), student_yaml, tiny_data, tmp_path)


def test_a_teacher_with_other_classes_is_refused_and_names_distill(student_yaml, tiny_data, tmp_path):
    other = save_checkpoint(tmp_path / "other.pt", "yolov8n.yaml", tiny_data)
    checkpoint = torch.load(other, weights_only=False)
    checkpoint["model"].names = {0: "cat", 1: "dog", 2: "bird"}
    torch.save(checkpoint, other)
    with pytest.raises(FGDError, match=r"cat, dog, bird.*distill\(\)"):
        train(FGDTrainer.configured(teacher=other), student_yaml, tiny_data, tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [{"device": "0,1"}, {"task": "segment"}, {"distill_model": "yolov8s.pt"}, {"quantize": 8}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_what_is_not_supported_is_refused_before_a_folder_is_made(
    arguments, configured, student_yaml, tiny_data, tmp_path
):
    with pytest.raises(UsageError):
        train(configured, student_yaml, tiny_data, tmp_path / "runs", **arguments)
    assert not (tmp_path / "runs").exists()


def test_a_frozen_neck_is_refused(configured, student_yaml, tiny_data, tmp_path):
    with pytest.raises(FGDError, match="neck is frozen"):
        train(configured, student_yaml, tiny_data, tmp_path, freeze=22)


def test_fixed_weights_that_drown_the_detection_stop_with_advice(teacher_pt, student_yaml, tiny_data, tmp_path):
    config = untaught(fg_weight=1e3, share=None, warmup_epochs=0)
    with pytest.raises(FGDError, match="share"):
        train(FGDTrainer.configured(teacher=teacher_pt, config=config), student_yaml, tiny_data, tmp_path)


def test_nan_in_the_teacher_is_dropped_and_counted(teacher_pt, student_yaml, tiny_data, tmp_path):
    class Spoiled(FGDTrainer.configured(teacher=teacher_pt, config=FEATURES)):
        def _close_epoch(self):
            super()._close_epoch()
            whole = self.distiller.teacher
            if self.epoch == 0:  # from the second epoch on one level is not finite
                self.distiller.teacher = lambda image: [*whole(image)[:2], whole(image)[2] * float("nan")]

    trainer = train(Spoiled, student_yaml, tiny_data, tmp_path)
    assert trainer.distiller.dropped == 3  # batches of an epoch
    assert all(torch.isfinite(value).all() for value in weights(trainer.last).values())
    assert float(rows(trainer)[1]["train/fg_loss"]) > 0  # the other levels go on


def test_the_run_stops_when_too_much_is_dropped(teacher_pt, student_yaml, tiny_data, tmp_path):
    class Spoiled(FGDTrainer.configured(teacher=teacher_pt, config=FEATURES)):
        def _close_epoch(self):
            super()._close_epoch()
            self.distiller.teacher = lambda image, whole=self.distiller.teacher: [
                m * float("nan") for m in whole(image)
            ]

    with pytest.raises(FGDError, match="not finite in 10 of 13 batches"):
        train(Spoiled, student_yaml, tiny_data, tmp_path, epochs=9)
