"""Every method of the table trains through the trainer."""

from __future__ import annotations

import pytest

from fgd_yolo import FGDTrainer
from fgd_yolo.config import METHOD_OPTIONS, FGDConfig
from fgd_yolo.training.attention_plots import FOLDER
from fixtures import draw_dataset, narrow_yaml, rename_classes, save_checkpoint
from long_cases import long
from training import STEADY, rows, train, weights

pytestmark = pytest.mark.slow


TOGETHER = ("fgd+cwd+heads", "fgd+bckd_cls+bckd_box", "fitnet+mgd+pkd+score_l2+ld", "crosshead+dfine")


@pytest.mark.parametrize("name", [*TOGETHER, *long(*METHOD_OPTIONS)])
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
    learning = [key for key in after if key.endswith(("align.weight", "generation.0.weight"))]
    assert not [key for key in learning if before[key].equal(after[key])]
    assert not any("align" in key for key in weights(trainer.last))
    assert list((trainer.save_dir / FOLDER).glob("*.png")), "attention is plotted with any method"


def test_methods_that_compare_heads_train_with_two_branches_and_rotated_boxes(tmp_path):
    data = draw_dataset(tmp_path / "data", task="obb")
    teacher = save_checkpoint(tmp_path / "teacher.pt", "yolo26n-obb.yaml", data, task="obb")
    method = "bckd_cls+bckd_box+crosshead"
    config = FGDConfig.from_dict({**STEADY, "method": method, "checks.min_teacher_map": 0.0, "pictures_every": 0})
    trainer = train(FGDTrainer.with_teacher(teacher, config), "yolo26n-obb.yaml", data, tmp_path, epochs=1, task="obb")
    (row,) = rows(trainer)
    assert all(float(row[f"train/{item}"]) > 0 for item in ("head_bckd_cls", "head_bckd_box", "head_crosshead"))


def test_methods_that_need_matched_anchors_train_with_a_teacher_that_knows_some_classes(
    teacher_pt, student_yaml, tiny_data, tmp_path
):
    other = save_checkpoint(tmp_path / "other.pt", narrow_yaml(tmp_path / "other.yaml", 0.125), tiny_data, seed=3)
    other = rename_classes(other, tmp_path / "renamed.pt", "cat", "block", "dog")
    config = FGDConfig.from_dict({**STEADY, "method": "ld+dfine", "checks.min_teacher_map": 0.0, "pictures_every": 0})
    trainer = train(FGDTrainer.with_teacher([teacher_pt, other], config), student_yaml, tiny_data, tmp_path, epochs=1)
    (row,) = rows(trainer)
    assert float(row["train/head_ld"]) > 0 and float(row["train/head_dfine"]) > 0
