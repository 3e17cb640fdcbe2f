"""Teachers with other classes than the data: real trainings of one epoch, with all, some and no classes in common."""

from __future__ import annotations

import logging

import pytest
import torch

from fgd_yolo import FGDError, FGDTrainer, distill
from fgd_yolo.config import Recipe
from fixtures import rename_classes
from training import OFF, STEADY, TERMS, quick_config, rows, same_weights, train

pytestmark = pytest.mark.slow
SHORT = {"epochs": 1, "optimizer": "SGD"}


def messages(caplog, level=logging.INFO):
    return [record.getMessage() for record in caplog.records if record.levelno >= level and "FGD:" in record.msg]


def test_a_teacher_with_the_classes_in_another_order_teaches_as_if_they_were_in_the_order_of_the_data(
    teacher_pt, student_yaml, tiny_data, tmp_path
):
    swapped = rename_classes(teacher_pt, tmp_path / "swapped.pt", "wedge", "disc", "block")
    content = torch.load(swapped, weights_only=False)
    for levels in content["model"].model[-1].cv3:
        for values in (levels[-1].weight, levels[-1].bias):
            values.data = values.data[[2, 0, 1]]  # that wedge, disc, block are where their names say
    torch.save(content, swapped)
    bests = []
    for number, teacher in enumerate((teacher_pt, swapped)):
        trainer_class = FGDTrainer.with_teacher(teacher, quick_config(STEADY))
        bests.append(train(trainer_class, student_yaml, tiny_data, tmp_path / str(number), **SHORT).last)
    assert same_weights(*bests)


def test_the_scores_of_classes_that_the_teacher_does_not_know_are_not_imitated(
    teacher_pt, student_yaml, tiny_data, tmp_path, caplog
):
    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "Wedge", "cat", "ball")
    config = quick_config({**STEADY, "map": {"ball": "disc"}})
    trainer = train(FGDTrainer.with_teacher(teacher, config), student_yaml, tiny_data, tmp_path, **SHORT)
    assert [teacher.known for teacher in trainer.distiller.teachers] == [[0, 2]]
    (row,) = rows(trainer)
    assert all(float(row[f"train/{name}"]) > 0 for name in TERMS)
    (known,) = [line for line in messages(caplog) if "knows" in line]
    assert "knows 2 of the 3 classes of the data: disc, wedge; unknown: block" in known
    assert any("on this val set, over 2 of 3 classes" in line for line in messages(caplog))


def test_without_a_shared_class_the_features_teach_and_the_map_of_the_teacher_is_not_checked(
    teacher_pt, student_yaml, tiny_data, tmp_path, caplog
):
    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "ant", "bee", "cow")
    config = quick_config({**STEADY, "checks.min_teacher_map": 0.9})
    trainer = train(FGDTrainer.with_teacher(teacher, config), student_yaml, tiny_data, tmp_path, **SHORT)
    (row,) = rows(trainer)
    assert all(float(row[f"train/{name}"]) > 0 for name in TERMS if name.endswith("_loss"))
    assert not any(name in column for column in row for name in ("head", "heads"))
    (warning,) = [line for line in messages(caplog, logging.WARNING) if "head" in line]
    assert "3 classes (ant, bee, cow), none of the data's 3 classes (disc, block, wedge)" in warning


@pytest.mark.parametrize(
    ("options", "arguments"), [({}, {}), ({"map": {"ant": "disc"}}, {"classes": [1, 2]})], ids=["none", "not selected"]
)
def test_heads_alone_stop_without_a_shared_class(options, arguments, teacher_pt, student_yaml, tiny_data, tmp_path):
    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "ant", "bee", "cow")
    config = quick_config({**OFF, "method": "fgd+heads", **options})
    with pytest.raises(FGDError, match="its head can teach nothing"):
        train(FGDTrainer.with_teacher(teacher, config), student_yaml, tiny_data, tmp_path, **SHORT, **arguments)


def test_a_single_class_can_be_taught_by_mapped_classes(teacher_pt, student_yaml, tiny_data, tmp_path):
    config = quick_config({**STEADY, "map": "disc=item,block=item,wedge=item"})
    trainer_class = FGDTrainer.with_teacher(teacher_pt, config)
    trainer = train(trainer_class, student_yaml, tiny_data, tmp_path, single_cls=True, **SHORT)
    (row,) = rows(trainer)
    assert all(float(row[f"train/{name}"]) > 0 for name in TERMS)
    assert trainer.distiller.teachers[0].known is None and trainer.model.names == {0: "item"}


def test_a_run_uses_such_a_teacher_as_it_is_and_says_in_its_table_which_classes_it_was_measured_on(
    teacher_pt, student_yaml, tiny_data, tmp_path, capsys
):
    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "wedge", "cat", "ball")
    recipe = Recipe.of(quick_config({"map": "ball=disc"}), teacher_epochs=0)
    small = {"epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu", "plots": False, "project": str(tmp_path)}
    result = distill(teacher, student_yaml, tiny_data, recipe=recipe, name="run", **small)
    (row,) = result.metrics["teachers"]
    assert (row["known"], row["unknown"]) == (["disc", "wedge"], ["block"])
    assert "known" not in result.metrics["student"] or result.metrics["student"]["known"] is None
    assert not (result.run_dir / "teacher").exists()
    printed = capsys.readouterr().out
    assert "other knows 2 of the 3 classes of the data: disc, wedge; unknown: block" in printed
    assert "teacher other: mAP over 2 of 3 classes: disc, wedge" in printed
    again = distill(resume=result.run_dir)
    assert again.metrics == result.metrics
