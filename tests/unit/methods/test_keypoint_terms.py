"""Places and visibility of keypoints, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from fgd_yolo.methods import Predictions
from unit.methods.heads import all_outputs, compared


def probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def plain_terms(student: Predictions, teacher: Predictions) -> tuple[float, float]:
    """Keypoint and visibility terms by loops over images, anchors and keypoints, with one bin per edge."""
    place = visible = total = 0.0
    for image in range(2):
        for a in range(student.scores.shape[2]):
            confidence = max(probability(logit) for logit in teacher.scores[image, :, a].tolist())
            total += confidence
            left, top, right, bottom = teacher.boxes[image, :, a].tolist()
            size = math.sqrt(max(left + right, 1) * max(top + bottom, 1))
            for k in range(5):
                gap = (student.keypoints[image, k, :, a] - teacher.keypoints[image, k, :, a]).abs().sum().item() / 2
                own, wanted = (probability(side.visibility[image, k, a].item()) for side in (student, teacher))
                place += confidence * wanted * gap / size / 5
                excess = wanted * math.log(wanted / own) + (1 - wanted) * math.log((1 - wanted) / (1 - own))
                visible += confidence * excess / 5
    return place / total, visible / total


def test_both_terms_equal_the_plain_loops():
    student, teacher = all_outputs(1), all_outputs(2)
    generator = torch.Generator().manual_seed(4)
    teacher = teacher._replace(boxes=torch.rand(2, 4, 30, generator=generator) * 4 - 0.5)
    terms = compared(student, teacher, keypoint=2.0, visibility=3.0)
    place, visible = plain_terms(student, teacher)
    assert terms["keypoint"].item() == pytest.approx(2 * place, rel=1e-4)
    assert terms["visibility"].item() == pytest.approx(3 * visible, rel=1e-4)


def test_without_visibility_every_keypoint_counts_fully():
    student, teacher = all_outputs(1), all_outputs(2)
    certain = teacher._replace(visibility=torch.full_like(teacher.visibility, 40.0))
    without = teacher._replace(visibility=None)
    terms = [compared(student, own, keypoint=1.0, visibility=1.0) for own in (certain, without)]
    assert terms[0]["keypoint"].item() == pytest.approx(terms[1]["keypoint"].item(), rel=1e-6)
    assert terms[1]["visibility"].item() == 0


def test_a_gap_in_proportion_to_a_larger_box_costs_the_same():
    student, teacher = all_outputs(1), all_outputs(2)
    teacher = teacher._replace(boxes=torch.rand(2, 4, 30) + 0.5)
    wanted = compared(student, teacher, keypoint=1.0)["keypoint"].item()
    larger = teacher._replace(boxes=3 * teacher.boxes, keypoints=3 * teacher.keypoints)
    actual = compared(student._replace(keypoints=3 * student.keypoints), larger, keypoint=1.0)["keypoint"]
    assert actual.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("keypoints", [1, 4])
def test_other_numbers_of_keypoints_are_not_compared(keypoints):
    terms = compared(all_outputs(1), all_outputs(2, keypoints=keypoints), keypoint=1.0, visibility=1.0, cls=1.0)
    assert terms["keypoint"].item() == 0 and terms["visibility"].item() == 0 and terms["cls"] > 0
