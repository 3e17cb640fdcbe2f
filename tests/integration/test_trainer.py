"""The trainer's contracts, on real trainings of narrow models."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from fgd_yolo import FGDTrainer
from fgd_yolo.training import checkpoints
from fgd_yolo.training import trainer as trainer_module
from training import OFF, STEADY, TERMS, quick_config, rows, same_weights, train, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(teacher_pt, student_yaml, tiny_data, tmp_path_factory):
    """One distilled training that several tests check: the trainer, and its weights before the first step."""
    before = {}

    class Watching(
        FGDTrainer.with_teacher(
            teacher_pt,
            config=quick_config(STEADY),
        )
    ):
        def _setup_train(self):
            super()._setup_train()
            before["losses"] = {k: v.clone() for k, v in self.distiller.losses.state_dict().items()}
            before["teacher"] = {k: v.clone() for k, v in self.distiller.teachers[0].frozen.model.state_dict().items()}

    trainer = train(Watching, student_yaml, tiny_data, tmp_path_factory.mktemp("finished"))
    return trainer, before


def test_every_term_is_in_the_progress_bar_and_in_each_row_of_results(finished):
    trainer, _ = finished
    assert trainer.loss_names[-6:] == tuple(TERMS)
    for row in rows(trainer):
        assert all(float(row[f"train/{name}"]) > 0 for name in TERMS)
        assert float(row["features/ratio"]) > 0 and float(row["heads/ratio"]) > 0
        assert not any(f"val/{name}" in row for name in TERMS)


def test_the_teacher_is_bit_identical_after_training(finished):
    trainer, before = finished
    after = trainer.distiller.teachers[0].frozen.model.state_dict()
    assert all(torch.equal(before["teacher"][name], after[name]) for name in after)
    assert not any(p.requires_grad for p in trainer.distiller.teachers[0].frozen.model.parameters())


def test_alignments_and_both_context_blocks_train(finished):
    trainer, before = finished
    after = trainer.distiller.losses.state_dict()
    moved = {name for name in after if not torch.equal(before["losses"][name], after[name])}
    # The bias of a key convolution shifts all positions equally, which does not change a softmax over positions.
    assert {name for name in after if not name.endswith("key.bias")} - moved == set()


def test_the_first_measurement_brings_the_gradient_ratio_to_its_target(finished):
    trainer, _ = finished
    first, config = rows(trainer)[0], trainer.config
    assert float(first["features/ratio"]) == pytest.approx(config.features.ratio, rel=1e-3)
    assert float(first["heads/ratio"]) == pytest.approx(config.heads.ratio, rel=1e-3)


def test_checkpoints_are_plain_and_load_where_fgd_yolo_is_not_installed(finished, tmp_path):
    trainer, _ = finished
    script = (
        "import sys, importlib.abc\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] == 'fgd_yolo': raise ImportError('not installed')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from ultralytics.nn.tasks import torch_safe_load\n"
        "for path in sys.argv[1:]:\n"
        "    checkpoint, _ = torch_safe_load(path, safe_only=True)\n"
        "    model = checkpoint['ema'] or checkpoint['model']\n"
        "    assert type(model).__name__ == 'DetectionModel'\n"
        "    assert 'loss' not in vars(model) and not model.model[-1]._forward_pre_hooks\n"
        "    assert not [n for n in model.state_dict() if 'align' in n or 'context' in n or 'teacher' in n]\n"
    )
    words = [sys.executable, "-c", script, str(trainer.best), str(trainer.last)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_side_file_holds_plain_tensors_and_names_its_epoch(finished):
    trainer, _ = finished
    side = checkpoints.read_side_file(trainer.wdir / checkpoints.SIDE)
    assert side["epoch"] == 1
    assert side["losses"].keys() == trainer.distiller.losses.state_dict().keys()


def test_a_checkpoint_in_the_middle_of_training_is_plain_too(configured, student_yaml, tiny_data, tmp_path):
    seen = []

    class Looking(configured):
        def save_model(self):
            saved = super().save_model()
            model = torch.load(self.last, weights_only=False)["ema"]
            seen.append((type(model).__name__, "loss" in vars(model), len(model.model[-1]._forward_pre_hooks)))
            return saved

    train(Looking, student_yaml, tiny_data, tmp_path)
    assert seen == [("DetectionModel", False, 0)] * 2


@pytest.mark.parametrize("case", ["weights 0", "gain 0"])
def test_at_weights_or_gain_0_the_training_is_plain_bit_for_bit(case, teacher_pt, student_yaml, tiny_data, tmp_path):
    """With gains that float32 cannot hold, everything is attached and measured, but nothing is added."""
    config = (
        quick_config({**OFF})
        if case == "weights 0"
        else quick_config({"features.ratio": 1e-300, "heads.ratio": 1e-300})
    )
    plain = train(DetectionTrainer, student_yaml, tiny_data, tmp_path / "plain")
    ours = train(FGDTrainer.with_teacher(teacher_pt, config=config), student_yaml, tiny_data, tmp_path / "ours")
    assert same_weights(plain.last, ours.last)
    shared = [key for key in rows(plain)[0] if key != "time"]
    assert [[row[key] for key in shared] for row in rows(plain)] == [[row[key] for key in shared] for row in rows(ours)]


def test_a_second_thread_for_the_gradients_of_weights_changes_no_bit(student_yaml, tiny_data, tmp_path, monkeypatch):
    """Also where the gradients of several batches add up."""
    plain, arguments = FGDTrainer.with_teacher(None, config=quick_config(OFF)), {"nbs": 8, "val": False}
    ends = []
    for spare in (False, True):
        monkeypatch.setattr("fgd_yolo.training.trainer.has_spare_core", lambda spare=spare: spare)
        trainer = train(plain, student_yaml, tiny_data, tmp_path / str(spare), **arguments)
        assert (trainer.weight_gradients is not None) == spare
        ends.append(trainer.last)
    assert same_weights(*ends)


def test_setting_up_and_checking_the_teacher_draws_no_random_number(teacher_pt, student_yaml, tiny_data, tmp_path):
    states = []

    def note(trainer_class):
        class Noting(trainer_class):
            def _setup_train(self):
                super()._setup_train()
                numpy_state = np.random.get_state()[1].tolist()
                states.append((random.getstate(), numpy_state, torch.get_rng_state().tolist()))

        return Noting

    train(note(DetectionTrainer), student_yaml, tiny_data, tmp_path / "plain", epochs=1)
    ours = FGDTrainer.with_teacher(teacher_pt, config=quick_config())
    train(note(ours), student_yaml, tiny_data, tmp_path / "ours", epochs=1)
    assert states[0] == states[1]


def test_distillation_changes_what_is_learnt(finished, student_yaml, tiny_data, tmp_path):
    plain = train(DetectionTrainer, student_yaml, tiny_data, tmp_path)
    assert not same_weights(plain.last, finished[0].last)


def test_student_and_distillation_are_clipped_apart(configured, student_yaml, tiny_data, tmp_path):
    """A huge gradient in the alignments must not shorten the student's step, nor the reverse."""
    norms = []

    class Measuring(configured):
        def build_optimizer(self, model, *args, **kwargs):
            optimizer = super().build_optimizer(model, *args, **kwargs)

            def measure(*_):
                norms.append((_norm(self.distiller.losses.parameters()), _norm(model.parameters())))

            optimizer.register_step_pre_hook(measure)
            return optimizer

        def optimizer_step(self):
            for parameter in self.distiller.losses.parameters():
                parameter.grad.mul_(1e6)
            super().optimizer_step()

    train(Measuring, student_yaml, tiny_data, tmp_path, epochs=1)
    for own, student in norms:
        assert own == pytest.approx(10, rel=1e-3)
        assert student == pytest.approx(10, rel=1e-3)  # Ultralytics' clip is active in a first epoch


def _norm(parameters) -> float:
    return float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm())


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD", "auto"])
def test_alignments_and_context_blocks_get_the_optimizer_settings_of_weights_without_decay(
    optimizer, configured, student_yaml, tiny_data, tmp_path
):
    trainer = train(configured, student_yaml, tiny_data, tmp_path, epochs=1, optimizer=optimizer)
    *others, own = trainer.optimizer.param_groups
    like = [group for group in others if group["param_group"] == "weight"][-1]
    assert own["param_group"] == "fgd" and own["weight_decay"] == 0 and not own.get("use_muon")
    assert (own["lr"], own["initial_lr"]) == (like["lr"], like["initial_lr"])
    assert {id(p) for p in own["params"]} == {id(p) for p in trainer.distiller.losses.parameters()}


def test_nan_recovery_restores_student_and_distillation_and_stays_plain(configured, student_yaml, tiny_data, tmp_path):
    restored = []

    class Poisoned(configured):
        poisoned = False

        def optimizer_step(self):
            super().optimizer_step()
            if self.epoch == 1 and not self.poisoned:
                type(self).poisoned = True
                with torch.no_grad():
                    next(self.model.parameters()).fill_(float("nan"))

        def _load_checkpoint_state(self, ckpt):
            super()._load_checkpoint_state(ckpt)
            side = checkpoints.read_side_file(self.wdir / checkpoints.SIDE)
            own = self.distiller.losses.state_dict()
            restored.append(all(torch.equal(own[name], side["losses"][name]) for name in own))

    trainer = train(Poisoned, student_yaml, tiny_data, tmp_path, epochs=3)
    assert restored == [True]
    assert "loss" in vars(trainer.model), "the loss hook was not re-attached after the recovery"
    assert all(torch.isfinite(value).all() for value in weights(trainer.last).values())


def test_what_the_preflight_has_loaded_is_gone_before_the_first_epoch(
    configured, student_yaml, tiny_data, tmp_path, monkeypatch
):
    class Model:
        """Refers to itself, as a validator and its model do."""

    loaded = []

    def check(*_):
        model = Model()
        model.itself = model
        loaded.append(weakref.ref(model))

    class Watched(configured):
        def _start_epoch(self):
            assert loaded[0]() is None
            super()._start_epoch()

    monkeypatch.setattr(trainer_module, "check_teachers", check)
    gc.disable()  # it might come by chance
    try:
        train(Watched, student_yaml, tiny_data, tmp_path, epochs=1)
    finally:
        gc.enable()
    assert loaded


def test_what_to_expect_is_said_of_the_default_alone(teacher_pt, student_yaml, tiny_data, tmp_path, caplog):
    for number, (options, said) in enumerate((({}, 1), ({"heads.ratio": 1}, 0))):
        caplog.clear()
        trainer_class = FGDTrainer.with_teacher(teacher_pt, quick_config(options))
        train(trainer_class, student_yaml, tiny_data, tmp_path / str(number), epochs=1)
        lines = [line for line in caplog.messages if "FGD:" in line and "there is no comparison of students" in line]
        assert len(lines) == said
