import numpy as np
import pytest
import torch
import torchvision  # noqa: F401  once imported, Ultralytics' NMS uses it
from ultralytics.utils.metrics import batch_probiou
from ultralytics.utils.nms import non_max_suppression

from fgd_yolo.runtime.decode import decode_anchors
from fgd_yolo.runtime.nms import probabilistic_iou, suppress, suppress_rotated

PAIR = np.array([[0, 0, 10, 10], [0, 5, 10, 15]], np.float32)  # overlap: 50 of 150


def anchors(count, classes, seed, extras=0, spread=320.0, level=1.0):
    """Random centre-size boxes and scores as a network writes them: (4 + classes + extras, count)."""
    random = np.random.default_rng(seed)
    centres, sizes = random.uniform(-10, spread, (2, count)), random.uniform(2, 120, (2, count))
    scores = random.uniform(0, level, (classes, count)) ** 2
    return np.concatenate([centres, sizes, scores, random.uniform(-1, 3, (extras, count))]).astype(np.float32)


def ultralytics_nms(output, classes, rotated=False, **options):
    results = non_max_suppression(torch.from_numpy(output)[None].clone(), nc=classes, rotated=rotated, **options)
    return results[0].numpy()


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("iou", [0.0, 0.3, 0.45, 0.7, 1.0])
@pytest.mark.parametrize("classes", [1, 3, 80])
def test_upright_boxes_are_suppressed_as_in_ultralytics(classes, iou, agnostic):
    for seed in range(6):
        output = anchors(400, classes, seed)
        expected = ultralytics_nms(output, classes, conf_thres=0.25, iou_thres=iou, agnostic=agnostic, max_det=300)
        candidates = decode_anchors(output, classes, 0.25)
        kept = suppress(candidates.boxes, candidates.scores, candidates.classes, iou, agnostic, 300)
        np.testing.assert_array_equal(candidates.boxes[kept], expected[:, :4])
        np.testing.assert_array_equal(candidates.scores[kept], expected[:, 4])
        np.testing.assert_array_equal(candidates.classes[kept], expected[:, 5])
    assert 0 < len(kept) < len(candidates.scores) or iou == 1.0


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("iou", [0.0, 0.3])
def test_boxes_without_area_are_kept_as_in_ultralytics(iou, agnostic):
    output = anchors(200, 3, seed=0)
    output[2, ::3], output[3, ::4], output[2:4, ::5] = -5, -7, 0
    expected = ultralytics_nms(output, 3, conf_thres=0.25, iou_thres=iou, agnostic=agnostic, max_det=300)
    candidates = decode_anchors(output, 3, 0.25)
    kept = suppress(candidates.boxes, candidates.scores, candidates.classes, iou, agnostic, 300)
    np.testing.assert_array_equal(candidates.boxes[kept], expected[:, :4])
    np.testing.assert_array_equal(candidates.scores[kept], expected[:, 4])


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("iou", [0.1, 0.45, 0.7])
@pytest.mark.parametrize("count", [90, 700])
def test_rotated_boxes_are_suppressed_as_in_ultralytics(count, iou, agnostic):
    for seed in range(4):
        output = anchors(count, 3, seed, extras=1)
        expected = ultralytics_nms(
            output, 3, rotated=True, conf_thres=0.25, iou_thres=iou, agnostic=agnostic, max_det=300
        )
        candidates = decode_anchors(output, 3, 0.25, rotated=True)
        boxes = np.concatenate([candidates.boxes, candidates.extras], axis=1)
        kept = suppress_rotated(boxes, candidates.scores, candidates.classes, iou, agnostic, 300)
        np.testing.assert_array_equal(candidates.boxes[kept], expected[:, :4])
        np.testing.assert_array_equal(candidates.classes[kept], expected[:, 5])
    assert 0 < len(kept) < len(candidates.scores)


def test_probabilistic_iou_is_that_of_ultralytics():
    random = np.random.default_rng(0)
    boxes = np.concatenate([random.uniform(0, 60, (30, 4)) + 1, random.uniform(-4, 4, (30, 1))], axis=1)
    boxes = boxes.astype(np.float32)
    expected = batch_probiou(torch.from_numpy(boxes), torch.from_numpy(boxes[:7])).numpy()
    np.testing.assert_allclose(probabilistic_iou(boxes, boxes[:7]), expected, rtol=0, atol=2e-4)
    assert (expected > 0.2).sum() > 20


def test_overlap_at_the_threshold_is_kept_and_the_box_of_the_higher_score_wins():
    scores, same = np.float32([0.5, 0.9]), np.zeros(2, int)
    third = 50 / 150
    assert suppress(PAIR, scores, same, third + 1e-4, False, 9).tolist() == [1, 0]
    assert suppress(PAIR, scores, same, third - 1e-4, False, 9).tolist() == [1]
    half = np.array([[0, 0, 8, 8], [0, 0, 8, 4]], np.float32)
    assert suppress(half, scores, same, 0.5, False, 9).tolist() == [1, 0]


def test_boxes_of_two_classes_suppress_each_other_only_if_agnostic():
    scores, classes = np.float32([0.9, 0.8]), np.array([0, 1])
    boxes = np.repeat(PAIR[:1], 2, axis=0)
    assert suppress(boxes, scores, classes, 0.5, False, 9).tolist() == [0, 1]
    assert suppress(boxes, scores, classes, 0.5, True, 9).tolist() == [0]
    rotated = np.concatenate([boxes + 5, np.zeros((2, 1), np.float32)], axis=1)
    assert suppress_rotated(rotated, scores, classes, 0.5, False, 9).tolist() == [0, 1]
    assert suppress_rotated(rotated, scores, classes, 0.5, True, 9).tolist() == [0]


def test_classes_never_overlap_even_if_coordinates_are_negative():
    boxes = np.array([[0, 0, 100, 100], [-101, -101, -1, -1]], np.float32)
    assert len(suppress(boxes, np.float32([0.9, 0.8]), np.array([0, 1]), 0.3, False, 9)) == 2


def test_a_suppressed_box_still_suppresses_others():
    boxes = np.array([[0, 0, 40, 40, 0], [12, 0, 40, 40, 0], [24, 0, 40, 40, 0]], np.float32)
    scores, same = np.float32([0.9, 0.8, 0.7]), np.zeros(3, int)
    near, far = probabilistic_iou(boxes[:1], boxes[1:])[0]
    assert suppress_rotated(boxes, scores, same, float(near + far) / 2, False, 9).tolist() == [0]


def test_the_limit_keeps_the_boxes_of_the_highest_scores():
    boxes = np.arange(40, dtype=np.float32)[:, None] * 20 + np.float32([0, 0, 10, 10])
    scores = np.linspace(0.3, 0.9, 40, dtype=np.float32)
    assert suppress(boxes, scores, np.zeros(40, int), 0.5, False, 3).tolist() == [39, 38, 37]
    rotated = np.concatenate([boxes[:, :2], np.tile(np.float32([10, 10, 0]), (40, 1))], axis=1)
    assert suppress_rotated(rotated, scores, np.zeros(40, int), 0.5, False, 3).tolist() == [39, 38, 37]


def test_of_equal_scores_the_first_stays():
    boxes, scores = np.repeat(PAIR[:1], 3, axis=0), np.full(3, 0.5, np.float32)
    assert suppress(boxes, scores, np.zeros(3, int), 0.5, False, 9).tolist() == [0]
    rotated = np.concatenate([boxes + 5, np.zeros((3, 1), np.float32)], axis=1)
    assert suppress_rotated(rotated, scores, np.zeros(3, int), 0.5, False, 9).tolist() == [0]


@pytest.mark.parametrize("nms", [suppress, suppress_rotated])
def test_no_boxes_give_no_indices(nms):
    empty = np.empty((0, 4 if nms is suppress else 5), np.float32)
    kept = nms(empty, np.empty(0, np.float32), np.empty(0, np.int64), 0.7, False, 300)
    assert kept.shape == (0,) and kept.dtype == np.int64
