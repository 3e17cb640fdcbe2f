"""Head terms: against plain loops, zero where heads agree, weighted by the confidence of the teacher."""

from __future__ import annotations

import math

import pytest
import torch

from fgd_yolo.methods.head_loss import HeadLoss, Predictions, edge_distances


def predictions(bins: int, seed: int, classes: int = 3, anchors: int = 5) -> Predictions:
    torch.manual_seed(seed)
    boxes = torch.randn(2, 4 * bins, anchors) if bins > 1 else torch.rand(2, 4, anchors) * 5
    return Predictions(boxes.requires_grad_(), (2 * torch.randn(2, classes, anchors)).requires_grad_())


def plain_terms(student: Predictions, teacher: Predictions, bins: int) -> list[float]:
    """Both terms by loops over images, anchors, classes, edges and bins."""

    def probability(logit):
        return 1 / (1 + math.exp(-logit))

    def softened(values):
        powers = [math.exp(value / 10) for value in values]
        return [power / sum(powers) for power in powers]

    confidence = cls_term = box_term = 0.0
    for image in range(2):
        for a in range(student.scores.shape[2]):
            anchor_confidence = 0.0
            for c in range(student.scores.shape[1]):
                student_p, wanted = (probability(head.scores[image, c, a].item()) for head in (student, teacher))
                cost = wanted * math.log(wanted / student_p) + (1 - wanted) * math.log((1 - wanted) / (1 - student_p))
                cls_term += abs(student_p - wanted) * cost
                anchor_confidence = max(anchor_confidence, wanted)
            confidence += anchor_confidence
            edges = 0.0
            for side in range(4):
                student_edge, teacher_edge = (
                    head.boxes[image, side * bins : side * bins + bins, a].tolist() for head in (student, teacher)
                )
                if bins > 1:
                    edges += 100 * sum(
                        q * math.log(q / p) for p, q in zip(softened(student_edge), softened(teacher_edge), strict=True)
                    )
                else:
                    size = teacher.boxes[image, side % 2, a].item() + teacher.boxes[image, side % 2 + 2, a].item()
                    edges += abs(student_edge[0] - teacher_edge[0]) / max(size / 2, 0.5)
            box_term += anchor_confidence * edges / 4
    return [cls_term / confidence, box_term / confidence]


@pytest.mark.parametrize("bins", [16, 1])
def test_terms_equal_the_plain_loops(bins):
    student, teacher = predictions(bins, 1), predictions(bins, 2)
    terms = HeadLoss(2.0, 3.0)(student, teacher)
    wanted = plain_terms(student, teacher, bins)
    assert terms.cls.item() == pytest.approx(2 * wanted[0], rel=1e-5)
    assert terms.box.item() == pytest.approx(3 * wanted[1], rel=1e-4)


@pytest.mark.parametrize("bins", [16, 1])
def test_heads_that_agree_have_no_loss_and_the_teacher_gets_no_gradient(bins):
    student, teacher = predictions(bins, 1), predictions(bins, 1)
    terms = HeadLoss()(student, teacher)
    assert [term.item() for term in terms] == pytest.approx([0, 0], abs=1e-6)
    sum(HeadLoss()(student, predictions(bins, 2))).backward()
    assert student.boxes.grad.any() and student.scores.grad.any()
    assert teacher.boxes.grad is None and teacher.scores.grad is None


def test_heads_with_and_without_bins_are_compared_by_distance():
    """A distribution that is all in bin 3 equals a plain distance of 3."""
    sharp = torch.full((1, 4 * 16, 2), -50.0)
    sharp.unflatten(1, (4, 16))[:, :, 3] = 50.0
    torch.testing.assert_close(edge_distances(sharp), torch.full((1, 4, 2), 3.0))
    scores = torch.ones(1, 3, 2)
    term = HeadLoss(cls_weight=0)(Predictions(sharp, scores), Predictions(torch.full((1, 4, 2), 3.0), scores))
    assert term.box.item() == pytest.approx(0, abs=1e-6) and term.cls.item() == 0


def test_boxes_count_where_the_teacher_is_confident():
    student, teacher = predictions(16, 1, anchors=2), predictions(16, 2, anchors=2)
    with torch.no_grad():
        teacher.scores[..., 0], teacher.scores[..., 1] = 10.0, -20.0
    HeadLoss(cls_weight=0)(student, teacher).box.backward()
    assert student.boxes.grad[..., 0].abs().max() > 1e6 * student.boxes.grad[..., 1].abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast_the_terms_stay_float32(dtype):
    student, teacher = predictions(16, 1), predictions(16, 2)
    exact = HeadLoss()(student, teacher)
    with torch.autocast("cpu", dtype=dtype):
        actual = HeadLoss()(Predictions(*(output.to(dtype) for output in student)), teacher)
    for term, wanted in zip(actual, exact, strict=True):
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(wanted.item(), rel=0.05)


def test_a_term_without_weight_is_not_computed():
    student, teacher = predictions(16, 1), predictions(16, 2)
    poisoned = Predictions(torch.full_like(student.boxes, torch.nan), student.scores)
    terms = HeadLoss(box_weight=0)(poisoned, teacher)
    assert terms.box.item() == 0 and terms.cls.isfinite()
