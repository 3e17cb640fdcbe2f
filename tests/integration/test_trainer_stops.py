"""Problems that stop a training with one line, and problems that are only reported."""

from __future__ import annotations

import pytest
import torch
import yaml
from ultralytics import YOLO

from fgd_yolo import FGDTrainer
from fgd_yolo.errors import FGDError, UsageError
from fixtures import draw_dataset, narrow_yaml, save_checkpoint
from training import quick_config, rows, train, weights

pytestmark = pytest.mark.slow
FEATURES = quick_config(
    {"schedule.warmup_epochs": 0, "method": "fgd", "schedule.decay_start": 1.0, "schedule.decay_end": 1.0}
)


def test_a_teacher_that_does_not_know_the_data_stops_the_run(teacher_pt, student_yaml, tiny_data, tmp_path):
    with pytest.raises(FGDError, match=r"mAP50-95 0\.0.*below 0\.05"):
        train(FGDTrainer.with_teacher(teacher_pt), student_yaml, tiny_data, tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [{"device": "0,1"}, {"task": "classify"}, {"distill_model": "yolov8s.pt"}, {"quantize": 8}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_unsupported_arguments_are_refused_before_a_folder_is_made(
    arguments, configured, student_yaml, tiny_data, tmp_path
):
    with pytest.raises(UsageError):
        train(configured, student_yaml, tiny_data, tmp_path / "runs", **arguments)
    assert not (tmp_path / "runs").exists()


def test_a_student_for_another_task_is_refused(configured, student_yaml, tiny_data, tmp_path):
    student = narrow_yaml(tmp_path / "segment.yaml", 0.0625, "segment")
    with pytest.raises(UsageError, match=r"a model for segment, the trainer is for detect: give task=segment"):
        train(configured, student, tiny_data, tmp_path)


def test_data_without_any_labelled_object_is_refused_for_a_method_that_reads_boxes(configured, student_yaml, tmp_path):
    data = draw_dataset(tmp_path / "data")
    for file in (tmp_path / "data/labels/train").glob("*.txt"):
        file.write_text("")
    with pytest.raises(FGDError, match=r"method fgd needs labelled objects, and no train image of .* has one"):
        train(configured, student_yaml, data, tmp_path)


def test_a_frozen_neck_is_refused(configured, student_yaml, tiny_data, tmp_path):
    with pytest.raises(FGDError, match="neck is frozen"):
        train(configured, student_yaml, tiny_data, tmp_path, freeze=22)


def test_fixed_weights_that_outweigh_the_detection_loss_stop_with_advice(teacher_pt, student_yaml, tiny_data, tmp_path):
    config = quick_config({"features.fg_weight": 1e3, "features.ratio": None, "schedule.warmup_epochs": 0})
    with pytest.raises(FGDError, match=r"set features\.ratio=0\.1"):
        train(FGDTrainer.with_teacher(teacher_pt, config=config), student_yaml, tiny_data, tmp_path)


def test_nan_in_the_teacher_is_dropped_and_counted(teacher_pt, student_yaml, tiny_data, tmp_path):
    class Spoiled(FGDTrainer.with_teacher(teacher_pt, config=FEATURES)):
        def _end_epoch(self):
            super()._end_epoch()
            teacher = self.distiller.feature_teacher.frozen
            if self.epoch == 0:  # from the second epoch on one level is not finite
                self.distiller.feature_teacher.frozen = lambda image: [
                    *teacher(image)[:2],
                    teacher(image)[2] * float("nan"),
                ]

    trainer = train(Spoiled, student_yaml, tiny_data, tmp_path)
    assert trainer.distiller.dropped.known == 3  # batches of an epoch
    assert all(torch.isfinite(value).all() for value in weights(trainer.last).values())
    assert float(rows(trainer)[1]["train/fg_loss"]) > 0  # the other levels continue


def test_the_run_stops_when_too_much_is_dropped(teacher_pt, student_yaml, tiny_data, tmp_path):
    class Spoiled(FGDTrainer.with_teacher(teacher_pt, config=FEATURES)):
        def _end_epoch(self):
            super()._end_epoch()
            self.distiller.feature_teacher.frozen = lambda image, teacher=self.distiller.feature_teacher.frozen: [
                m * float("nan") for m in teacher(image)
            ]

    with pytest.raises(FGDError, match="not finite in 10 of 13 batches"):
        train(Spoiled, student_yaml, tiny_data, tmp_path, epochs=9)


def test_a_student_that_starts_as_its_teacher_is_reported(teacher_pt, tiny_data, tmp_path, log):
    trainer = FGDTrainer.with_teacher(teacher_pt, config=quick_config())
    train(trainer, teacher_pt, tiny_data, tmp_path, epochs=1)
    assert sum("start from the same weights" in line for line in log) == 1


def test_a_teacher_that_can_teach_little_is_reported_before_the_first_epoch(
    student_yaml, teacher_pt, tiny_data, tmp_path, log
):
    """Smaller, of another image size, and trained on the val images."""
    teacher = save_checkpoint(tmp_path / "small.pt", student_yaml, leaky(tiny_data, tmp_path))
    checkpoint = torch.load(teacher, weights_only=False)
    checkpoint["train_args"]["imgsz"] = 32
    torch.save(checkpoint, teacher)
    trainer = FGDTrainer.with_teacher(teacher, config=quick_config())
    train(trainer, teacher_pt, tiny_data, tmp_path, epochs=1)
    for part in ("smaller than the student", "was trained at 32 px and gets 64 px", "on 6 of the 6 val images"):
        assert sum(part in line for line in log) == 1
    assert not any("weaker than" in line for line in log)


def test_a_teacher_weaker_than_the_untrained_student_is_reported(trained_teacher, shell, tmp_path, log):
    """The student's number is Ultralytics' own."""
    untrained = save_checkpoint(tmp_path / "untrained.pt", shell.wide, shell.data)
    trainer = FGDTrainer.with_teacher(untrained, config=quick_config())
    train(trainer, trained_teacher, shell.data, tmp_path, epochs=1, imgsz=96)
    student_map = YOLO(trained_teacher).val(data=str(shell.data), imgsz=96, device="cpu", plots=False).box.map
    assert student_map > 0.05
    (line,) = [line for line in log if "weaker than" in line]
    assert f"the student {student_map:.3f} before its first epoch" in line


def leaky(data, folder):
    """Return the data with its val images among the train images."""
    path = folder / "leaky.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(data.read_text()), "train": ["images/train", "images/val"]}))
    return path


def test_unpaired_levels_are_reported(teacher_pt, tiny_data, tmp_path, log):
    train(
        FGDTrainer.with_teacher(teacher_pt, config=quick_config()),
        "yolov8n-p2.yaml",
        tiny_data,
        tmp_path,
        epochs=1,
    )
    assert sum("stride 4: the teacher has no such level" in line for line in log) == 1


def test_classes_that_the_training_drops_are_not_imitated(teacher_pt, student_yaml, tiny_data, tmp_path):
    trainer = FGDTrainer.with_teacher(teacher_pt, config=quick_config())
    distiller = train(trainer, student_yaml, tiny_data, tmp_path, classes=[1], epochs=1).distiller
    assert [teacher.known for teacher in distiller.head_teachers] == [[1]]
    with pytest.raises(FGDError, match="classes=9 selects no class"):
        train(trainer, student_yaml, tiny_data, tmp_path / "none", classes=9)
