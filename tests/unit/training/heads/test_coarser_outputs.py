"""On a coarser grid a teacher predicts the same objects at the same places of the image, in cells of that grid."""

from __future__ import annotations

import math

import pytest
import torch

from fgd_yolo.methods import Predictions
from fgd_yolo.training.heads.coarser_outputs import coarser, coarser_valid, joined

H, W, STRIDE, CLASSES, BATCH = 4, 6, 8, 3, 2


def outputs(rotated: bool = False, bins: int = 1) -> Predictions:
    random = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random)

    A = H * W
    row, column = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    return Predictions(
        boxes=3 * rand(BATCH, 4 * bins, A),
        scores=4 * rand(BATCH, CLASSES, A) - 2,
        angles=rand(BATCH, 1, A) * 3 - 1 if rotated else None,
        keypoints=2 * rand(BATCH, 5, 2, A) - 1,
        visibility=rand(BATCH, 5, A),
        coefficients=rand(BATCH, 7, A),
        prototypes=rand(BATCH, 7, 8, 12),
        anchors=torch.stack([column.flatten(), row.flatten()]),
        strides=torch.full((A,), float(STRIDE)),
    )


def chosen_anchors(given: Predictions, image: int, factor: int, known: list[int]) -> list[int]:
    """Return the number of the most confident anchor in each coarse cell, in plain loops."""
    picked = []
    for top in range(0, H, factor):
        for left in range(0, W, factor):
            best, confidence = -1, -math.inf
            for y in range(top, top + factor):
                for x in range(left, left + factor):
                    anchor = y * W + x
                    score = max(float(given.scores[image, number, anchor]) for number in known)
                    if score > confidence:
                        best, confidence = anchor, score
            picked.append(best)
    return picked


def corners_px(given: Predictions, image: int, anchor: int, stride: float, width: int) -> list[tuple[float, float]]:
    """Return the corners of a predicted box in pixels of the teacher's image; distances are along the box's sides."""
    left, top, right, bottom = given.boxes[image, :, anchor].tolist()
    x, y = anchor % width + 0.5, anchor // width + 0.5
    angle = 0.0 if given.angles is None else float(given.angles[image, 0, anchor])
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        ((x + dx * cos - dy * sin) * stride, (y + dx * sin + dy * cos) * stride)
        for dx, dy in ((-left, -top), (right, -top), (right, bottom), (-left, bottom))
    ]


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("known", [[0, 1, 2], [1]])
def test_each_coarse_cell_has_the_outputs_of_its_most_confident_cell_at_the_same_place(rotated, known):
    given = outputs(rotated)
    result = coarser(given, (H, W), 2, known if len(known) < CLASSES else None)
    assert result.prototypes is given.prototypes and result.boxes.shape == (BATCH, 4, H * W // 4)
    assert set(result.strides.tolist()) == {2 * STRIDE}
    for image in range(BATCH):
        for cell, anchor in enumerate(chosen_anchors(given, image, 2, known)):
            for name in ("scores", "visibility", "coefficients", *(("angles",) if rotated else ())):
                assert torch.equal(getattr(result, name)[image, :, cell], getattr(given, name)[image, :, anchor])
            coarse = corners_px(result, image, cell, 2 * STRIDE, W // 2)
            fine = corners_px(given, image, anchor, STRIDE, W)
            assert torch.allclose(torch.tensor(coarse), torch.tensor(fine), atol=1e-3)
            own = (result.anchors[:, cell] + result.keypoints[image, :, :, cell]) * 2 * STRIDE
            wanted = (given.anchors[:, anchor] + given.keypoints[image, :, :, anchor]) * STRIDE
            assert torch.allclose(own, wanted, atol=1e-3)


def test_bins_become_the_distances_that_they_mean():
    given = outputs(bins=16)
    result = coarser(given, (H, W), 2, None)
    for cell, anchor in enumerate(chosen_anchors(given, 0, 2, [0, 1, 2])):
        weights = given.boxes[0, :, anchor].view(4, 16).softmax(dim=1)
        width = float((weights @ torch.arange(16.0))[[0, 2]].sum())
        assert float(result.boxes[0, [0, 2], cell].sum()) == pytest.approx(width / 2, abs=1e-4)


def test_levels_are_joined_in_their_order_and_share_their_prototypes():
    levels = [outputs(), coarser(outputs(), (H, W), 2, None)]
    result = joined(levels)
    assert result.scores.shape[2] == result.strides.shape[0] == H * W + H * W // 4
    assert torch.equal(result.keypoints[..., H * W :], levels[1].keypoints)
    assert result.prototypes is levels[0].prototypes and result.angles is None


def test_a_factor_of_1_changes_nothing():
    given = outputs()
    assert coarser(given, (H, W), 1, None) is given


def test_a_coarse_cell_is_valid_if_all_that_it_covers_is():
    valid = torch.ones(H, W, dtype=torch.bool)
    valid[1, 2] = False
    coarse = coarser_valid(valid.flatten(), (H, W), 2).view(H // 2, W // 2)
    assert coarse.tolist() == [[True, False, True], [True, True, True]]
    assert torch.equal(coarser_valid(valid.flatten(), (H, W), 1), valid.flatten())
