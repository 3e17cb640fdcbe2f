"""What two heads predict is paired by branch and by stride."""

from __future__ import annotations

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.errors import FGDError
from fgd_yolo.methods import HeadLoss
from fgd_yolo.methods.head_loss import Predictions
from fgd_yolo.neck import HeadHook, NeckHook, pair_levels
from fgd_yolo.training.distiller import Distiller
from fgd_yolo.training.head_outputs import keep_both_branches, kept_classes, paired_branches, run_branches
from fgd_yolo.training.teacher import FrozenTeacher
from training import batch

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def model(name: str) -> DetectionModel:
    torch.manual_seed(0)
    return DetectionModel(name, nc=3, verbose=False)


def trained_output(student: DetectionModel) -> dict:
    hook = HeadHook(student)
    student.train()(IMAGE)
    return hook.pop()


@pytest.mark.parametrize(
    ("student", "teacher", "branches"),
    [("yolov8n.yaml", "yolov8s.yaml", 1), ("yolo26n.yaml", "yolov8s.yaml", 1), ("yolo26n.yaml", "yolo26s.yaml", 2)],
)
def test_branches_that_both_heads_have_are_paired(student, teacher, branches):
    student, teacher = model(student), model(teacher)
    frozen = FrozenTeacher(teacher, torch.device("cpu"), heads=True)
    pairs = paired_branches(
        trained_output(student), frozen.predictions(frozen(IMAGE)), pair_levels(student, model("yolov8s.yaml"))
    )
    assert len(pairs) == branches
    for mine, theirs in pairs:
        assert mine.scores.shape == theirs.scores.shape == (2, 3, 8 * 8 + 4 * 4 + 2 * 2)
        assert mine.scores.requires_grad and not theirs.scores.requires_grad


def test_levels_that_only_one_head_has_are_left_out():
    student, teacher = model("yolov8n-p2.yaml"), model("yolov8n.yaml")
    levels = pair_levels(student, teacher)
    teacher.train()
    found = trained_output(student)
    ((mine, theirs),) = paired_branches(found, trained_output(teacher), levels)
    cells = [neck_map.shape[2] * neck_map.shape[3] for neck_map in found["feats"]]
    assert torch.equal(mine.scores, found["scores"][..., cells[0] :])
    assert mine.boxes.shape == theirs.boxes.shape


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_a_frozen_teachers_head_says_what_the_whole_teacher_says(name):
    whole, cut = model(name).eval(), model(name)
    frozen = FrozenTeacher(cut, torch.device("cpu"), heads=True)
    with torch.no_grad():
        _, wanted = whole(IMAGE)
    found = frozen.predictions(frozen(IMAGE))
    wanted = wanted if "one2many" in wanted else {"one2many": wanted}
    assert found.keys() == wanted.keys()
    for branch in wanted:
        for output in ("boxes", "scores"):
            torch.testing.assert_close(found[branch][output], wanted[branch][output], rtol=1e-3, atol=1e-3)


def test_the_host_may_not_remove_a_branch_that_is_imitated():
    teacher = model("yolo26n.yaml")
    keep_both_branches(teacher.model[-1])
    head = teacher.fuse(verbose=False).model[-1]
    hook = NeckHook(teacher)
    teacher.eval()(IMAGE)
    assert set(run_branches(head, hook.pop())) == {"one2many", "one2one"}


@pytest.mark.parametrize(
    ("classes", "single_cls", "kept"),
    [(None, False, None), ([1], False, [1]), (1, False, [1]), ([2, 0, 2], False, [0, 2]), ([2], True, None)],
)
def test_the_classes_that_a_training_keeps(classes, single_cls, kept):
    assert kept_classes(classes, single_cls, count=3) == kept


@pytest.mark.parametrize("classes", [[], [3], -1, ["1"]])
def test_classes_that_keep_nothing_are_refused(classes):
    with pytest.raises(FGDError, match="the data has the classes 0 to 2"):
        kept_classes(classes, False, count=3)


def test_dropped_classes_are_not_imitated_and_weigh_no_box(heads_joined):
    """The expectation is the loss of heads that have the kept class alone."""
    whole = heads_joined.distiller
    kept = Distiller(whole.teacher, whole.levels, whole.config, classes=[1])
    hook, maps = HeadHook(heads_joined.student), NeckHook(heads_joined.student)
    found = heads_joined.student.train()(batch()["img"])
    hook.remove()
    terms = kept.terms(maps.pop(), batch(), found)
    taught = whole.teacher.predictions(whole.teacher(batch()["img"]))
    one = [Predictions(side["boxes"], side["scores"][:, 1:2]) for side in (found, taught["one2many"])]
    wanted = HeadLoss(whole.config.head_cls_weight, whole.config.head_box_weight)(*one)
    torch.testing.assert_close(torch.stack([terms["head_cls"], terms["head_box"]]), torch.stack(wanted))
    (gradient,) = torch.autograd.grad(terms["head_cls"], found["scores"])
    assert not gradient[:, [0, 2]].any() and gradient[:, 1].any()
