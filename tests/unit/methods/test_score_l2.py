"""Score-weighted L2 against plain loops and against Ultralytics' own."""

from __future__ import annotations

import pytest
import torch
from ultralytics.nn.distill_model import DistillationModel

from fgd_yolo.methods.score_l2 import ScoreL2Loss
from unit.methods.cases import GRID, assert_agrees_with, make_boxes, make_maps

BOXES = make_boxes("random")
SCORES = torch.rand(2, *GRID, generator=torch.Generator().manual_seed(0)) ** 4


def reference(student_map, teacher_map, params, scores=SCORES):
    """The weighted mean of the squared differences, by loops over images, cells and channels."""
    images, channels, height, width = teacher_map.shape
    total, weights = 0, 0.0
    for b in range(images):
        for y in range(height):
            for x in range(width):
                square = sum((student_map[b, c, y, x] - teacher_map[b, c, y, x]) ** 2 for c in range(channels))
                total = total + scores[b, y, x].item() * square
                weights += scores[b, y, x].item()
    return total / (channels * weights)


@pytest.mark.parametrize("channels", [(3, 6), (4, 4)], ids=str)
def test_term_and_gradients_equal_the_plain_loops(channels):
    torch.manual_seed(3)
    loss, maps = ScoreL2Loss(*channels, weight=0.6), make_maps(*channels)
    term = loss(*maps, *BOXES, scores=SCORES).score
    assert_agrees_with(lambda *given: 0.6 * reference(*given), loss, term, *maps)


@pytest.mark.parametrize("channels", [(3, 6), (4, 4)], ids=str)
def test_term_and_gradient_are_those_of_ultralytics_for_the_same_aligned_maps(channels):
    loss, (student_map, teacher_map) = ScoreL2Loss(*channels), make_maps(*channels)
    aligned = student_map if loss.align is None else loss.align(student_map)
    level_scores = (SCORES.flatten(1).unsqueeze(1),)
    wanted = DistillationModel.loss_sl2(None, aligned, teacher_map, feat_idx=0, teacher_scores=level_scores)
    term = loss(student_map, teacher_map, *BOXES, scores=SCORES).score
    assert term.item() == pytest.approx(wanted.item(), rel=1e-6)
    own, theirs = (torch.autograd.grad(value, student_map)[0] for value in (term, wanted))
    assert (own - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def test_equal_scores_of_any_size_give_the_plain_mean():
    loss, maps = ScoreL2Loss(4, 4), make_maps(4, 4)
    mean = (maps[0] - maps[1]).square().mean().item()
    for score in (1e-6, 0.5, 1.0):
        term = loss(*maps, *BOXES, scores=torch.full((2, *GRID), score)).score
        assert term.item() == pytest.approx(mean, rel=1e-5)


def test_a_cell_without_a_score_does_not_count():
    scores = SCORES.clone()
    scores[:, :, 0] = 0
    (student_map, teacher_map), loss = make_maps(4, 4), ScoreL2Loss(4, 4)
    term = loss(student_map, teacher_map, *BOXES, scores=scores).score
    (gradient,) = torch.autograd.grad(term, student_map)
    assert not gradient[..., 0].any() and gradient[..., 1:].abs().sum(dim=1).all()


def test_scores_get_no_gradient_and_may_all_be_0():
    scores = SCORES.clone().requires_grad_()
    maps = make_maps(4, 4)
    ScoreL2Loss(4, 4)(*maps, *BOXES, scores=scores).score.backward()
    assert scores.grad is None
    assert ScoreL2Loss(4, 4)(*maps, *BOXES, scores=torch.zeros(2, *GRID)).score == 0


@pytest.mark.parametrize(
    ("scores", "got"), [(None, "None"), (torch.zeros(2, 1, *GRID), r"\(2, 1, 8, 4\)"), (SCORES[:1], r"\(1, 8, 4\)")]
)
def test_scores_that_are_missing_or_of_another_shape_are_refused_in_one_line(scores, got):
    with pytest.raises(
        ValueError, match=rf"^score_l2 needs the teacher's scores \(2, 8, 4\) on this level, got {got}$"
    ):
        ScoreL2Loss(4, 4)(*make_maps(4, 4), *BOXES, scores=scores)


def test_with_a_weight_of_0_no_scores_are_needed():
    assert ScoreL2Loss(4, 4, weight=0)(*make_maps(4, 4), *BOXES).score == 0


def test_the_gradient_is_right_in_float64():
    student_map, teacher_map = make_maps(3, 5, grid=(3, 2), dtype=torch.float64)
    loss, scores = ScoreL2Loss(3, 5).double(), torch.rand(2, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: loss(values, teacher_map, *BOXES, scores=scores).score, student_map)
