"""Every method of the table trains through the trainer."""

from __future__ import annotations

import pytest

from fgd_yolo import FGDTrainer
from fgd_yolo.config import METHOD_OPTIONS, FGDConfig
from fgd_yolo.training.attention_plots import FOLDER
from training import STEADY, rows, train, weights

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [*METHOD_OPTIONS, "fgd+cwd+heads", "fgd+bckd_cls+bckd_box"])
def test_a_method_trains_for_an_epoch(name, teacher_pt, student_yaml, tiny_data, tmp_path):
    """The preflight passes, every term is logged, the alignments learn, and the checkpoint is a plain student."""
    config = FGDConfig.from_dict({**STEADY, "method": name, "checks.min_teacher_map": 0.0, "pictures_every": 1})
    before = {}

    class Watching(FGDTrainer.with_teacher(teacher_pt, config=config)):
        def _setup_train(self):
            super()._setup_train()
            before.update({key: value.clone() for key, value in self.distiller.trained.state_dict().items()})

    trainer = train(Watching, student_yaml, tiny_data, tmp_path, epochs=1)
    (row,) = rows(trainer)
    other_tasks = ("head_mask", "head_keypoint", "head_visibility", "head_angle")
    items = [item for item in config.weights if item not in other_tasks]
    assert all(float(row[f"train/{item}"]) > 0 for item in items)
    assert trainer.distiller.names == items
    assert all(float(row[f"{group.ratio.group}/ratio"]) > 0 for group in trainer.distiller.groups)
    after = trainer.distiller.trained.state_dict()
    assert all(not before[key].equal(after[key]) for key in after if key.endswith("align.weight"))
    assert not any("align" in key for key in weights(trainer.last))
    assert list((trainer.save_dir / FOLDER).glob("*.png")), "attention is plotted with any method"
