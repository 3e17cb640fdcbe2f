"""Every method of the table trains through the trainer."""

from __future__ import annotations

import pytest

from fgd_yolo import FGDTrainer
from fgd_yolo.config import FGDConfig
from fgd_yolo.methods import METHODS
from fgd_yolo.training.attention_plots import FOLDER
from training import STEADY, rows, train, weights

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_for_an_epoch(name, teacher_pt, student_yaml, tiny_data, tmp_path):
    """The preflight passes, every term is logged, the alignments learn, and the checkpoint is a plain student."""
    config = FGDConfig(features={"method": name}, checks={"min_teacher_map": 0.0}, pictures_every=1).replace(**STEADY)
    before = {}

    class Watching(FGDTrainer.with_teacher(teacher_pt, config=config)):
        def _setup_train(self):
            super()._setup_train()
            before.update({key: value.clone() for key, value in self.distiller.losses.state_dict().items()})

    trainer = train(Watching, student_yaml, tiny_data, tmp_path, epochs=1)
    (row,) = rows(trainer)
    items = [*config.features.weights, *(("head_cls", "head_box") if config.heads.enabled else ())]
    assert all(float(row[f"train/{item}"]) > 0 for item in items)
    assert trainer.distiller.names == items
    assert float(row["features/ratio"]) > 0
    after = trainer.distiller.losses.state_dict()
    assert all(not before[key].equal(after[key]) for key in after if key.endswith("align.weight"))
    assert not any("align" in key for key in weights(trainer.last))
    assert list((trainer.save_dir / FOLDER).glob("*.png")), "attention is plotted with any method"
