"""Anchors that the class term of the student's own loss leaves out."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.utils.loss import BCEDiceLoss
from ultralytics.utils.tal import make_anchors

from fgd_yolo.task_table import TASKS
from fgd_yolo.training.unlabeled_frames.ignored_anchors import IgnoredRegions, ignoring

SIZE = (64, 128)  # height, width


def anchors() -> torch.Tensor:
    """Centres of cells of 16 px, as fractions."""
    return torch.tensor([((x + 0.5) / 8, (y + 0.5) / 4) for y in range(4) for x in range(8)])


def inside(point, box) -> bool:
    """Whether a point, in fractions, lies in a box of centre, size and perhaps an angle: in plain numbers."""
    x, y = (point[0] - box[0]) * SIZE[1], (point[1] - box[1]) * SIZE[0]
    if len(box) == 5:
        angle = torch.tensor(box[4])
        x, y = float(x * angle.cos() + y * angle.sin()), float(y * angle.cos() - x * angle.sin())
    return abs(x) <= box[2] * SIZE[1] / 2 and abs(y) <= box[3] * SIZE[0] / 2


def reference(scores, targets, boxes, images, frames, unknown) -> torch.Tensor:
    loss = nn.BCEWithLogitsLoss(reduction="none")(scores, targets)
    for image in range(len(scores)):
        for anchor, point in enumerate(anchors().tolist()):
            hidden = any(own == image and inside(point, box) for box, own in zip(boxes, images, strict=True))
            for column in range(scores.shape[2]):
                if (hidden and not targets[image, anchor].any()) or (image in frames and column in unknown):
                    loss[image, anchor, column] = 0
    return loss


@pytest.mark.parametrize(
    ("boxes", "images"),
    [
        ([], []),
        ([[0.3, 0.5, 0.4, 0.5]], [1]),
        ([[0.3, 0.5, 0.4, 0.5], [0.8, 0.2, 0.3, 0.3], [0.5, 0.5, 0.2, 0.9]], [1, 1, 2]),
        ([[0.4, 0.5, 0.5, 0.2, 0.6], [0.7, 0.5, 0.3, 0.3, 2.0]], [2, 1]),
    ],
)
@pytest.mark.parametrize("unknown", [[], [0, 2]])
def test_the_class_term_is_that_of_plain_loops(boxes, images, unknown):
    torch.manual_seed(0)
    scores = torch.randn(4, 32, 3)
    targets = torch.rand(4, 32, 3) * (torch.rand(4, 32, 1) < 0.2)
    width = len(boxes[0]) if boxes else 4
    regions = IgnoredRegions(
        torch.tensor(boxes).reshape(-1, width), torch.tensor(images, dtype=torch.long), [1, 2], unknown
    )
    criterion = SimpleNamespace(bce=nn.BCEWithLogitsLoss(reduction="none"))
    with ignoring(criterion, regions, anchors(), SIZE):
        found = criterion.bce(scores, targets)
    torch.testing.assert_close(found, reference(scores, targets, boxes, images, [1, 2], unknown))


@pytest.mark.parametrize("unknown", [[], [0, 2]])
def test_the_term_of_pixels_leaves_out_those_of_plain_loops(unknown):
    """What is left out has no gradient; the rest is as if the student had said that nothing is there."""
    torch.manual_seed(0)
    boxes, images, frames = [[0.3, 0.5, 0.4, 0.5], [0.8, 0.2, 0.3, 0.3]], [1, 0], [0, 1]
    scores = torch.randn(3, 3, 16, 32, requires_grad=True)
    targets = torch.zeros(3, 3, 32, 64)  # of twice the size, as Ultralytics has them for some image sizes
    targets[1, 1, 8:16, 20:30] = 1
    regions = IgnoredRegions(torch.tensor(boxes), torch.tensor(images), frames, unknown)
    criterion = SimpleNamespace(bcedice_loss=BCEDiceLoss(), bce=nn.BCEWithLogitsLoss(reduction="none"))
    with ignoring(criterion, regions, anchors(), SIZE):
        found = criterion.bcedice_loss(scores, targets)
    found.backward()
    expected = scores.detach().clone()
    for image in range(3):
        for row in range(16):
            for column in range(32):
                point = ((column + 0.5) / 32, (row + 0.5) / 16)
                hidden = any(own == image and inside(point, box) for box, own in zip(boxes, images, strict=True))
                for number in range(3):
                    nothing = not targets[image, :, 2 * row, 2 * column].any()
                    if (hidden and nothing) or (image in frames and number in unknown):
                        assert scores.grad[image, number, row, column] == 0
                        expected[image, number, row, column] = -30
                    else:
                        assert scores.grad[image, number, row, column] != 0
    torch.testing.assert_close(found, BCEDiceLoss()(expected, targets))


@pytest.mark.parametrize(("task", "yaml"), [("detect", "yolo26n.yaml"), ("segment", "yolo26n-seg.yaml")])
def test_no_branch_of_yolo26_takes_an_uncertain_object_for_background(task, yaml):
    torch.manual_seed(0)
    model = TASKS[task].model(yaml, nc=3, verbose=False)
    model.args = get_cfg(overrides={"task": task})
    criterion = model.init_criterion()
    preds = model(torch.rand(2, 3, *SIZE))
    outputs = [preds[branch]["scores"] for branch in ("one2many", "one2one")]
    batch = {"batch_idx": torch.tensor([1.0]), "cls": torch.tensor([[1.0]]), "bboxes": torch.full((1, 4), 0.5)}
    if task == "segment":
        outputs.append(preds["one2many"]["proto"][1])
        batch |= {"masks": torch.zeros(2, 16, 32), "sem_masks": torch.zeros(2, 16, 32)}
        batch["masks"][1, 4:12, 8:24], batch["sem_masks"][1, 4:12, 8:24] = 1, 1
    for output in outputs:
        output.retain_grad()
    regions = IgnoredRegions(torch.tensor([[0.5, 0.5, 1.0, 1.0]]), torch.tensor([0]), [0], [])
    heads = preds["one2many"]["feats"]
    points, strides = make_anchors(heads, model.stride, 0.5)
    with ignoring(criterion, regions, points * strides / points.new_tensor([SIZE[1], SIZE[0]]), SIZE):
        criterion(preds, batch)[0].sum().backward()
    assert [(output.grad[0].any().item(), output.grad[1].any().item()) for output in outputs] == [
        (False, True) for _ in outputs
    ]


def test_both_branches_of_a_criterion_are_changed_and_restored():
    own = [nn.BCEWithLogitsLoss(reduction="none") for _ in range(2)]
    criterion = SimpleNamespace(one2many=SimpleNamespace(bce=own[0]), one2one=SimpleNamespace(bce=own[1]))
    regions = IgnoredRegions(torch.tensor([[0.5, 0.5, 1.0, 1.0]]), torch.tensor([0]), [0], [])
    with pytest.raises(RuntimeError, match="of the loss"), ignoring(criterion, regions, anchors(), SIZE):
        for branch in (criterion.one2many, criterion.one2one):
            assert not branch.bce(torch.ones(1, 32, 3), torch.zeros(1, 32, 3)).any()
        raise RuntimeError("of the loss")
    assert [criterion.one2many.bce, criterion.one2one.bce] == own


def test_no_gradient_reaches_what_is_left_out():
    scores = torch.zeros(1, 32, 2, requires_grad=True)
    regions = IgnoredRegions(torch.tensor([[0.25, 0.5, 0.5, 1.0]]), torch.tensor([0]), [0], [])
    criterion = SimpleNamespace(bce=nn.BCEWithLogitsLoss(reduction="none"))
    with ignoring(criterion, regions, anchors(), SIZE):
        criterion.bce(scores, torch.zeros(1, 32, 2)).sum().backward()
    left = (anchors()[:, 0] <= 0.5).tolist()
    assert [not gradient.any() for gradient in scores.grad[0]] == left


def test_queries_of_rtdetr_inside_a_region_count_only_if_they_are_matched():
    from ultralytics.models.utils.loss import RTDETRDetectionLoss

    torch.manual_seed(0)
    criterion = RTDETRDetectionLoss(nc=3, use_vfl=True)
    criterion.device = torch.device("cpu")
    boxes = torch.tensor([[[[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1], [0.25, 0.2, 0.1, 0.1]]]]).expand(2, 1, 3, 4)
    scores = torch.randn(2, 1, 3, 3, requires_grad=True)
    targets = {"cls": torch.tensor([1]), "bboxes": torch.tensor([[0.2, 0.2, 0.1, 0.1]]), "gt_groups": [1]}
    regions = IgnoredRegions(torch.tensor([[0.2, 0.2, 0.3, 0.3]]), torch.tensor([0]), [0], [2])
    with ignoring(criterion, regions, anchors(), SIZE):
        loss = criterion((boxes, scores), targets)
    sum(own for name, own in loss.items() if "class" in name and "dn" not in name).backward()
    matched = [row.any().item() for row in scores.grad[-1, 0]]
    assert sum(matched) == 2 and matched[1]  # the query outside, and one of the two that the box matches
    assert not scores.grad[..., 2].any()
