"""Teachers see larger images than their student; everything else of a training keeps the student's size."""

from __future__ import annotations

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import torch_safe_load

from fgd_yolo import FGDTrainer
from fgd_yolo.errors import UsageError
from fgd_yolo.task_table import TASKS
from fgd_yolo.training import checkpoints
from fgd_yolo.training.teachers.image_sizes import TEACHER_IMAGES
from fixtures import narrow_rtdetr, narrow_yaml, save_checkpoint, task_files
from training import STEADY, quick_config, rows, train

pytestmark = pytest.mark.slow
MASKS = ("masks", "sem_masks")


def watching(trainer_class):
    """Return a trainer class that keeps the shapes of its batches, and the list of them."""
    shapes: list[dict[str, tuple[int, ...]]] = []

    class Watching(trainer_class):
        def preprocess_batch(self, batch):
            batch = super().preprocess_batch(batch)
            shapes.append({key: tuple(value.shape) for key, value in batch.items() if torch.is_tensor(value)})
            return batch

    return Watching, shapes


@pytest.mark.parametrize("task", TASKS)
def test_the_student_of_each_task_gets_images_and_labels_of_its_own_size(task, tmp_path):
    files = task_files(tmp_path / "files", task)
    trainer_class, shapes = watching(
        FGDTrainer.with_teacher(files.teacher, quick_config({**STEADY, "teacher_imgsz": 128}))
    )
    trainer = train(trainer_class, files.student, files.data, tmp_path, epochs=1, task=task)
    for batch in shapes:
        assert batch["img"][2:] == (64, 64) and batch[TEACHER_IMAGES][2:] == (128, 128)
        assert all(batch[key][1:] == (16, 16) for key in MASKS if key in batch)
    (row,) = rows(trainer)
    assert {f"head_{term}" for term in TASKS[task].head_terms} < set(trainer.distiller.names)
    assert all(float(row[f"train/{name}"]) > 0 for name in trainer.distiller.names)
    assert trainer.distiller.first_batch_checked, "every term is finite, not 0, and reaches the student"
    assert [level.stride for level in trainer.distiller.levels] == [8, 16, 32]
    assert trainer.test_loader.dataset.imgsz == trainer.validator.args.imgsz == trainer.args.imgsz == 64
    checkpoint, _ = torch_safe_load(str(trainer.best), safe_only=True)
    assert checkpoint["train_args"]["imgsz"] == 64 and type(checkpoint["model"]) is TASKS[task].model


def test_rectangles_multi_scale_and_the_end_of_mosaic_keep_whole_strides_for_both(tmp_path):
    files = task_files(tmp_path / "files", "segment")
    for every, arguments in ((1, {"rect": True}), (0, {"multi_scale": 0.5, "close_mosaic": 1, "epochs": 2})):
        config = quick_config({**STEADY, "teacher_imgsz": 128, "pictures_every": every})
        trainer_class, shapes = watching(FGDTrainer.with_teacher(files.teacher, config))
        trainer = train(
            trainer_class, files.student, files.data, tmp_path, task="segment", **{"epochs": 1, **arguments}
        )
        for batch in shapes:
            assert all(side % 32 == 0 for side in batch["img"][2:])
            assert batch[TEACHER_IMAGES][2:] == tuple(2 * side for side in batch["img"][2:])
        assert all(float(row["train/head_mask"]) > 0 for row in rows(trainer))
        assert (trainer.save_dir / "attention/epoch001.png").is_file(), "drawn by the first training"
    assert len({batch["img"] for batch in shapes}) > 1, "multi_scale drew several sizes"


def test_an_rtdetr_student_gets_the_stretched_images_of_its_teacher_shrunk(teacher_pt, tiny_data, tmp_path):
    student = narrow_rtdetr(tmp_path / "rtdetr.yaml", 0.0625)
    trainer_class, shapes = watching(
        FGDTrainer.with_teacher(teacher_pt, quick_config({**STEADY, "teacher_imgsz": 128}))
    )
    trainer = train(trainer_class, student, tiny_data, tmp_path, epochs=1)
    assert all(batch["img"][2:] == (64, 64) and batch[TEACHER_IMAGES][2:] == (128, 128) for batch in shapes)
    assert trainer.distiller.first_batch_checked and trainer.test_loader.dataset.imgsz == 64


def test_at_a_size_that_is_no_whole_multiple_features_are_resized_and_heads_not_imitated(
    teacher_pt, student_yaml, tiny_data, tmp_path, log
):
    trainer_class = FGDTrainer.with_teacher(teacher_pt, quick_config({**STEADY, "teacher_imgsz": 96}))
    trainer = train(trainer_class, student_yaml, tiny_data, tmp_path, epochs=1)
    assert trainer.distiller.names == ["fg_loss", "bg_loss", "attn_loss", "rel_loss"]
    assert all(float(rows(trainer)[0][f"train/{name}"]) > 0 for name in trainer.distiller.names)
    assert any("teacher_imgsz=96 is not a whole multiple of the student's 64 px: only features" in line for line in log)
    assert sum(line.endswith("(at 96 px, resized)") for line in log) == 3


def test_the_log_names_the_size_of_the_teachers_images_and_their_accuracy_at_it(
    teacher_pt, student_yaml, tiny_data, tmp_path, log
):
    other = save_checkpoint(tmp_path / "other.pt", narrow_yaml(tmp_path / "o.yaml", 0.1875), tiny_data, seed=1)
    trainer_class = FGDTrainer.with_teacher([teacher_pt, other], quick_config({"teacher_imgsz": 128}))
    train(trainer_class, student_yaml, tiny_data, tmp_path, epochs=1)
    for name in ("teacher.pt", "other.pt"):
        assert any(f"teacher {name}: mAP50-95" in line and "on this val set at 128 px" in line for line in log)
        assert sum(f"teacher {name} " in line and line.endswith("(at 128 px, resized)") for line in log) == 3


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (32, "teacher_imgsz=32 is below the student's imgsz=64"),
        (100, "teacher_imgsz=100 is not a multiple of 32, the largest stride of teacher teacher.pt: use 128"),
    ],
)
def test_an_image_size_that_cannot_work_stops_the_training(
    size, message, teacher_pt, student_yaml, tiny_data, tmp_path
):
    trainer_class = FGDTrainer.with_teacher(teacher_pt, quick_config({"teacher_imgsz": size}))
    with pytest.raises(UsageError, match=message):
        train(trainer_class, student_yaml, tiny_data, tmp_path)


def test_a_resumed_training_goes_on_with_larger_images_and_does_not_inherit_again(
    student_yaml, tiny_data, tmp_path, log
):
    """The teacher has the student's width, so that all of neck and head is inherited."""
    teacher = save_checkpoint(tmp_path / "same.pt", student_yaml, tiny_data, seed=1)
    config = quick_config({**STEADY, "teacher_imgsz": 128, "inherit": True})
    trainer_class, shapes = watching(FGDTrainer.with_teacher(teacher, config))
    starts = []

    class Stopping(trainer_class):
        def _setup_train(self):
            super()._setup_train()
            starts.append({name: value.clone() for name, value in self.model.state_dict().items()})
            starts.append({name: value.clone() for name, value in self.ema.ema.state_dict().items()})

        def save_model(self):
            saved = super().save_model()
            if self.epoch == 0 and not self.resume:
                raise KeyboardInterrupt
            return saved

    with pytest.raises(KeyboardInterrupt):
        train(Stopping, student_yaml, tiny_data, tmp_path)
    theirs = torch.load(teacher, weights_only=False)["model"].float().state_dict()
    for start in starts:  # the student and its EMA
        assert all(torch.equal(start[name], theirs[name]) for name in start if int(name.split(".")[1]) >= 10)
    assert sum("the student inherits" in line for line in log) == 1
    run = tmp_path / "student"
    last = checkpoints.resumable(run / "weights")
    saved = torch.load(last, weights_only=False)["ema"].float().state_dict()
    shapes.clear(), starts.clear()
    resumed = YOLO(last)
    resumed.train(trainer=Stopping, resume=str(last), data=str(tiny_data), save_dir=str(run))
    assert all(torch.equal(starts[1][name], saved[name]) for name in saved), "the EMA is the saved one"
    assert sum("the student inherits" in line for line in log) == 1
    assert len(rows(resumed.trainer)) == 2
    assert all(batch[TEACHER_IMAGES][2:] == (128, 128) for batch in shapes) and shapes
