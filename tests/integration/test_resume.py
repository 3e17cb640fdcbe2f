"""A killed training resumes with exactly the state in its files."""

from __future__ import annotations

import resource
import shutil
import signal
from hashlib import sha256

import pytest
import torch
from ultralytics import YOLO

from fgd_yolo import FGDConfig, FGDTrainer
from fgd_yolo.errors import FGDError
from fgd_yolo.training import checkpoints
from fixtures import save_checkpoint
from training import train

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Ends a training where a SIGKILL would, without any handler of Ultralytics."""


@pytest.fixture(scope="module")
def trainer_class(teacher_pt):
    config = FGDConfig.from_dict({"schedule.warmup_epochs": 2, "checks.min_teacher_map": 0.0, "method": "fgd+heads"})
    return FGDTrainer.with_teacher(teacher_pt, config=config)


@pytest.fixture(scope="module")
def killed_run(trainer_class, student_yaml, tiny_data, tmp_path_factory):
    """A run of four epochs that ends in the middle of its third; returns the folder."""

    class Dying(trainer_class):
        def optimizer_step(self):
            if self.epoch == 2:
                raise Killed
            super().optimizer_step()

    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        train(Dying, student_yaml, tiny_data, folder, epochs=4)
    return folder / "student"


@pytest.fixture
def run(killed_run, tmp_path):
    """A copy of the killed run."""
    return shutil.copytree(killed_run, tmp_path / "run")


def resume(trainer_class, run, data):
    last = checkpoints.resumable(run / "weights")
    model = YOLO(last)
    model.train(trainer=trainer_class, resume=str(last), data=str(data), save_dir=str(run))
    return model.trainer


def test_what_is_restored_equals_what_the_files_hold(trainer_class, run, tiny_data):
    restored = {}

    class Looking(trainer_class):
        def _setup_train(self):
            super()._setup_train()
            restored.update(self.distiller.state_dict(), epoch=self.start_epoch - 1)
            restored["losses"] = {name: value.clone() for name, value in restored["losses"].items()}
            restored["own"] = [group for group in self.optimizer.param_groups if group["param_group"] == "fgd"]
            restored["moments"] = [self.optimizer.state[p]["exp_avg"].clone() for p in restored["own"][0]["params"][:3]]

    side = checkpoints.read_side_file(run / "weights" / checkpoints.SIDE)
    saved = torch.load(run / "weights" / checkpoints.LAST, weights_only=False)["optimizer"]
    resume(Looking, run, tiny_data)
    assert side["epoch"] == restored["epoch"] == 1
    assert side["features"] == restored["features"] and side["features"]["batches"] == 6
    assert all(torch.equal(value, side["losses"][name]) for name, value in restored["losses"].items())
    indices = next(group for group in saved["param_groups"] if group["param_group"] == "fgd")["params"][:3]
    for index, moment in zip(indices, restored["moments"], strict=True):
        torch.testing.assert_close(moment, saved["state"][index]["exp_avg"].float())


def test_the_resumed_run_ends_with_every_epoch_once(trainer_class, run, tiny_data):
    trainer = resume(trainer_class, run, tiny_data)
    epochs = [int(line.split(",")[0]) for line in trainer.csv.read_text().splitlines()[1:]]
    assert epochs == [1, 2, 3, 4]
    assert checkpoints.read_side_file(run / "weights" / checkpoints.SIDE)["features"]["batches"] == 12
    assert sorted(path.name for path in (run / "weights").iterdir()) == ["best.pt", checkpoints.SIDE, "last.pt"]


def test_a_kill_between_side_file_and_checkpoint_resumes_from_the_previous_pair(trainer_class, run, tiny_data):
    """The newer side file is there already, last.pt is not."""
    weights = run / "weights"
    for name in (checkpoints.LAST, checkpoints.SIDE):
        shutil.copy(weights / name, weights / checkpoints.PREVIOUS / name)
    newer = checkpoints.read_side_file(weights / checkpoints.SIDE)
    checkpoints.write_side_file(weights, {**newer, "epoch": 2})
    assert resume(trainer_class, run, tiny_data).start_epoch == 2


def test_a_teacher_file_removed_during_training_has_no_effect(teacher_pt, student_yaml, tiny_data, tmp_path):
    teacher = shutil.copy(teacher_pt, tmp_path / "teacher.pt")
    config = FGDConfig.from_dict({"checks.min_teacher_map": 0.0})

    class Losing(FGDTrainer.with_teacher(teacher, config=config)):
        def _start_epoch(self):
            super()._start_epoch()
            self.teachers[0].unlink(missing_ok=True)

    trainer = train(Losing, student_yaml, tiny_data, tmp_path)
    side = checkpoints.read_side_file(trainer.wdir / checkpoints.SIDE)
    assert side["teacher"] == sha256(teacher_pt.read_bytes()).hexdigest()


def test_without_its_side_file_a_distillation_is_not_resumed(trainer_class, run, tiny_data):
    (run / "weights" / checkpoints.SIDE).unlink()
    shutil.rmtree(run / "weights" / checkpoints.PREVIOUS)
    with pytest.raises(FGDError, match=r"has no fgd_last\.safetensors for epoch 2"):
        resume(trainer_class, run, tiny_data)


def test_a_run_is_not_resumed_with_other_options(teacher_pt, run, tiny_data):
    config = FGDConfig.from_dict(
        {
            "method": "fitnet+heads",
            "features.ratio": None,
            "schedule.warmup_epochs": 2,
            "checks.min_teacher_map": 0.0,
        }
    )
    with pytest.raises(FGDError, match=r"another method, features\.ratio, features\.imitation_weight"):
        resume(FGDTrainer.with_teacher(teacher_pt, config=config), run, tiny_data)


def test_a_run_is_not_resumed_with_another_teacher(trainer_class, run, tiny_data, student_yaml, tmp_path):
    other = save_checkpoint(tmp_path / "other.pt", student_yaml, tiny_data)
    with pytest.raises(FGDError, match="was started with another teacher"):
        resume(FGDTrainer.with_teacher(other, config=trainer_class.config), run, tiny_data)


@pytest.mark.parametrize("torn", [checkpoints.LAST, checkpoints.SIDE])
def test_a_full_disk_while_saving_keeps_the_previous_pair(torn, trainer_class, student_yaml, tiny_data, tmp_path):
    """The limit is the operating system's own, on the size of a file, set before one of both is written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails with an error, as on a full disk

    def fill(trainer):
        room = (trainer.wdir / torn).stat().st_size // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))

    class Filling(trainer_class):
        def save_model(self):
            if self.epoch == 1 and torn == checkpoints.LAST:
                fill(self)
            return super().save_model()

        def _origin(self):
            if self.epoch == 1 and torn == checkpoints.SIDE:  # called between staging last.pt and the side file
                fill(self)
            return super()._origin()

    try:
        with pytest.raises(FGDError, match="previous ones are intact"):
            train(Filling, student_yaml, tiny_data, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    weights = tmp_path / "student" / "weights"
    epoch = torch.load(weights / checkpoints.LAST, weights_only=False)["epoch"]
    assert epoch == 0 and checkpoints.load_side_file(weights, epoch) is not None
    assert checkpoints.resumable(weights) == weights / checkpoints.LAST
