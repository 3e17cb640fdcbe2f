"""The head loss, with the class and box terms: against plain loops, confidence, several teachers, precision."""

from __future__ import annotations

import math

import pytest
import torch

from fgd_yolo.methods import HEAD_TERMS, HeadLoss, Predictions, TeacherPredictions
from fgd_yolo.methods.box_terms import edge_distances
from unit.methods.heads import all_outputs, compared

CONFIDENT = ("box", "mask", "keypoint", "visibility", "angle")  # each anchor counts by the teacher's confidence in it


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
    terms = compared(student, teacher, cls=2.0, box=3.0)
    wanted = plain_terms(student, teacher, bins)
    assert terms["cls"].item() == pytest.approx(2 * wanted[0], rel=1e-5)
    assert terms["box"].item() == pytest.approx(3 * wanted[1], rel=1e-4)


@pytest.mark.parametrize("bins", [16, 1])
def test_heads_that_agree_have_no_loss_and_the_teacher_gets_no_gradient(bins):
    student, teacher = predictions(bins, 1), predictions(bins, 1)
    terms = compared(student, teacher)
    assert [term.item() for term in terms.values()] == pytest.approx([0, 0], abs=1e-6)
    sum(compared(student, predictions(bins, 2)).values()).backward()
    assert student.boxes.grad.any() and student.scores.grad.any()
    assert teacher.boxes.grad is None and teacher.scores.grad is None


def test_heads_with_and_without_bins_are_compared_by_distance():
    """A distribution that is all in bin 3 equals a plain distance of 3."""
    sharp = torch.full((1, 4 * 16, 2), -50.0)
    sharp.unflatten(1, (4, 16))[:, :, 3] = 50.0
    torch.testing.assert_close(edge_distances(sharp), torch.full((1, 4, 2), 3.0))
    scores = torch.ones(1, 3, 2)
    terms = compared(Predictions(sharp, scores), Predictions(torch.full((1, 4, 2), 3.0), scores), cls=0, box=1)
    assert terms["box"].item() == pytest.approx(0, abs=1e-6) and terms["cls"].item() == 0


def test_boxes_count_where_the_teacher_is_confident():
    student, teacher = predictions(16, 1, anchors=2), predictions(16, 2, anchors=2)
    with torch.no_grad():
        teacher.scores[..., 0], teacher.scores[..., 1] = 10.0, -20.0
    compared(student, teacher, box=1)["box"].backward()
    assert student.boxes.grad[..., 0].abs().max() > 1e6 * student.boxes.grad[..., 1].abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast_the_terms_stay_float32(dtype):
    student, teacher = predictions(16, 1), predictions(16, 2)
    exact = compared(student, teacher)
    with torch.autocast("cpu", dtype=dtype):
        actual = compared(Predictions(student.boxes.to(dtype), student.scores.to(dtype)), teacher)
    for term, wanted in zip(actual.values(), exact.values(), strict=True):
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(wanted.item(), rel=0.05)


def test_a_term_without_weight_is_not_computed():
    student, teacher = predictions(16, 1), predictions(16, 2)
    poisoned = Predictions(torch.full_like(student.boxes, torch.nan), student.scores)
    terms = compared(poisoned, teacher, cls=1, box=0)
    assert terms["box"].item() == 0 and terms["cls"].isfinite()


@pytest.mark.parametrize("name", HEAD_TERMS)
def test_every_term_has_a_weight_and_is_neither_computed_nor_needed_at_0(name):
    student, teacher = all_outputs(1), all_outputs(2)
    one, three = (compared(student, teacher, **{name: weight})[name] for weight in (1.0, 3.0))
    assert one > 0 and three.item() == pytest.approx(3 * one.item())
    broken = Predictions(*(torch.full_like(output, torch.nan) for output in student))
    off = compared(broken, teacher, **{name: 0.0})[name]
    assert off.item() == 0 and not off.requires_grad


@pytest.mark.parametrize("name", HEAD_TERMS)
def test_a_term_is_0_where_heads_agree_and_its_gradient_reaches_the_student_alone(name):
    student, teacher = all_outputs(1), all_outputs(2)
    assert compared(student, student, **{name: 1.0})[name].item() == pytest.approx(0, abs=1e-6)
    compared(student, teacher, **{name: 1.0})[name].backward()
    reached = {field for field, output in student._asdict().items() if output.grad is not None and output.grad.any()}
    assert (
        reached
        == {
            "cls": {"scores"},
            "box": {"boxes"},
            "mask": {"coefficients", "prototypes"},
            "keypoint": {"keypoints"},
            "visibility": {"visibility"},
            "angle": {"angles"},
            "bckd_cls": {"scores"},
            "bckd_box": {"boxes"},
            "ld": {"boxes"},
            "dfine": {"boxes"},
            "crosshead": {"scores", "boxes"},
        }[name]
    )
    assert all(output.grad is None for output in teacher)


@pytest.mark.parametrize("name", HEAD_TERMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_term_is_computed_in_float32_under_autocast_and_from_half_precision(name, dtype):
    student, teacher = (Predictions(*(output.detach().to(dtype) for output in all_outputs(seed))) for seed in (1, 2))
    exact = compared(*(Predictions(*(output.float() for output in side)) for side in (student, teacher)), **{name: 1.0})
    with torch.autocast("cpu", dtype=dtype):
        actual = compared(student, teacher, **{name: 1.0})
    assert actual[name].dtype == torch.float32 and torch.equal(actual[name], exact[name])


@pytest.mark.parametrize("name", HEAD_TERMS)
def test_terms_stay_finite_where_the_teacher_sees_nothing(name):
    student, teacher = all_outputs(1), all_outputs(2)
    for logit in (-60.0, -1e4):
        blind = teacher._replace(scores=torch.full_like(teacher.scores, logit))
        term = compared(student, blind, **{name: 1.0})[name]
        gradients = torch.autograd.grad(term, student, allow_unused=True)
        assert term.isfinite() and all(value is None or value.isfinite().all() for value in gradients)
        assert name not in CONFIDENT or term < 1e-6


def test_the_terms_have_the_order_of_the_weights_and_an_unknown_one_is_refused():
    terms = compared(all_outputs(1), all_outputs(2), angle=1, cls=0, mask=2)
    assert list(terms) == ["angle", "cls", "mask"]
    with pytest.raises(ValueError, match="no head term is called 'boxes': there are cls, box, mask"):
        HeadLoss({"cls": 1.0, "boxes": 1.0})


def test_what_only_one_of_two_tasks_has_is_not_compared():
    """A rotated box is not compared with an upright one either: their edges are in different frames."""
    everything, detect = all_outputs(1), predictions(16, 2, anchors=all_outputs(1).scores.shape[2])
    detect = detect._replace(matched=everything.matched, candidates=everything.candidates)
    for student, teacher in ((everything, detect), (detect, everything)):
        terms = compared(student, teacher, **dict.fromkeys(HEAD_TERMS, 1.0))
        assert {name for name, term in terms.items() if term > 0} == {"cls", "bckd_cls", "crosshead"}


def plain_class_term(student: Predictions, teachers: list[TeacherPredictions]) -> float:
    """The class term of several teachers by loops over images, anchors and classes."""
    cost = confidence = 0.0
    B, classes, A = student.scores.shape
    for image in range(B):
        for a in range(A):
            largest = 0.0
            for c in range(classes):
                logits = [teacher.outputs.scores[image, c, a].item() for teacher in teachers if c in teacher.known]
                if not logits:
                    continue
                wanted = sum(1 / (1 + math.exp(-logit)) for logit in logits) / len(logits)
                own = 1 / (1 + math.exp(-student.scores[image, c, a].item()))
                excess = wanted * math.log(wanted / own) + (1 - wanted) * math.log((1 - wanted) / (1 - own))
                cost += abs(own - wanted) * excess
                largest = max(largest, wanted)
            confidence += largest
    return cost / max(confidence, 1)


KNOWN = [([0, 2], [2, 3]), ([3], [0, 1, 2, 3]), ([1], [2]), ([0, 1, 2, 3], [0, 1, 2, 3])]


@pytest.mark.parametrize("known", KNOWN, ids=str)
def test_teachers_of_different_classes_give_one_target(known):
    """The columns of classes that a teacher does not know are never read: here they hold NaN."""
    student = all_outputs(1, classes=4)
    teachers = []
    for seed, columns in enumerate(known, start=2):
        scores = all_outputs(seed, classes=4).scores.detach().clone()
        scores[:, [c for c in range(4) if c not in columns]] = torch.nan
        teachers.append(TeacherPredictions(all_outputs(seed, classes=4)._replace(scores=scores), columns))
    term = compared(student, *teachers, cls=1.0)["cls"]
    assert term.item() == pytest.approx(plain_class_term(student, teachers), rel=1e-5)
    (gradient,) = torch.autograd.grad(term, student.scores)
    assert gradient.abs().amax(dim=(0, 2)).bool().tolist() == [any(c in own for own in known) for c in range(4)]


def test_one_teacher_twice_is_the_same_target_for_all_terms():
    student, teacher = all_outputs(1), all_outputs(2)
    weights = dict.fromkeys(HEAD_TERMS, 1.0)
    once, twice = compared(student, teacher, **weights), compared(student, teacher, teacher, **weights)
    for name in HEAD_TERMS:
        assert twice[name].item() == pytest.approx(once[name].item(), rel=1e-5), name


def test_a_certain_teacher_and_its_opposite_have_a_finite_mean():
    student = all_outputs(1)
    sure = [student._replace(scores=torch.full_like(student.scores, logit)) for logit in (200.0, -200.0)]
    term = compared(student, *sure, cls=1.0)["cls"]
    p = student.scores.detach().sigmoid()
    cost = (0.5 * (0.5 / p).log() + 0.5 * (0.5 / (1 - p)).log()) * (p - 0.5).abs()
    assert term.item() == pytest.approx((cost.sum() / (0.5 * p[:, 0].numel())).item(), rel=1e-4)


@pytest.mark.parametrize("name", CONFIDENT)
def test_a_teacher_has_the_share_of_a_term_that_its_confidences_have(name):
    """Of the classes that it knows: the first of the two knows only one."""
    student, first, second = all_outputs(1), all_outputs(2), all_outputs(3)
    first = TeacherPredictions(first, [1])
    restricted = first.outputs._replace(scores=first.outputs.scores[:, 1:2])
    parts, confidences = [], []
    for teacher in (restricted, second):
        own = student._replace(scores=student.scores[:, : teacher.scores.shape[1]])
        confidence = teacher.scores.sigmoid().amax(dim=1)
        confidence = confidence.topk(16, dim=1).values if name == "mask" else confidence
        confidences.append(confidence.sum().item())
        parts.append(compared(own, teacher, **{name: 1.0})[name].item())
    wanted = sum(part * share for part, share in zip(parts, confidences, strict=True)) / sum(confidences)
    assert compared(student, first, second, **{name: 1.0})[name].item() == pytest.approx(wanted, rel=1e-5)
    only_second = compared(student, second, first._replace(outputs=Predictions(*first.outputs[:2])), **{name: 1.0})
    assert only_second[name].item() == pytest.approx(parts[1], rel=1e-5), "the first has no such outputs"


def test_the_shares_are_the_sums_of_the_confidences():
    first, second = all_outputs(2), all_outputs(3)
    terms = HeadLoss({"box": 0.0})(all_outputs(1), [TeacherPredictions(first, [1]), TeacherPredictions(second)])
    wanted = [first.scores.sigmoid()[:, 1].sum(), second.scores.sigmoid().amax(dim=1).sum()]
    torch.testing.assert_close(terms.shares, torch.stack(wanted))
    assert not terms.shares.requires_grad


def test_a_temperature_of_a_term_that_has_none_is_refused_when_it_is_computed():
    with pytest.raises(TypeError, match="temperature"):
        HeadLoss({"box": 1.0}, {"box": 3.0})(all_outputs(1), [TeacherPredictions(all_outputs(2))])


def test_a_teacher_that_knows_none_of_the_classes_is_refused():
    with pytest.raises(ValueError, match="must know at least one"):
        HeadLoss({"cls": 1.0})(all_outputs(1), [TeacherPredictions(all_outputs(2), [])])


def test_the_weight_of_the_class_term_is_constant():
    """The gradient of the cross-entropy is p - q; a weight that depended on the student would add to it."""
    student, teacher = all_outputs(1), all_outputs(2)
    (gradient,) = torch.autograd.grad(compared(student, teacher, cls=1.0)["cls"], student.scores)
    p, q = student.scores.detach().sigmoid(), teacher.scores.detach().sigmoid()
    torch.testing.assert_close(gradient, (p - q) * (p - q).abs() / q.amax(dim=1).sum())
