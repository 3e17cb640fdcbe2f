"""Labels of an exported file are its detections, as fractions of the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.labelling import ExportedLabeller
from fgd_yolo.labelling.exported_labeller import detections_to_labels
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.detector import OnnxDetector

DEMO = Path(__file__).parents[2] / "data/demo.onnx"
NAMES = {0: "car"}


def test_labels_are_the_detections_of_the_file(drawn, tmp_path):
    _, images = drawn("detect")
    (tmp_path / "broken.png").write_bytes(b"no image")
    labeller = ExportedLabeller(DEMO, min_score=0.05, device="cpu")
    labels = labeller([*images, tmp_path / "broken.png"])
    detector = OnnxDetector(DEMO, "cpu", conf=0.05)
    assert (labeller.names, labeller.task.name) == (detector.names, "detect")
    assert [entry.image for entry in labels] == images
    assert sum(len(entry.objects) for entry in labels) > 3
    for entry in labels:
        found = detector(str(entry.image))
        assert (entry.height, entry.width) == found.shape
        assert [seen.class_id for seen in entry.objects] == found.class_id.tolist()
        edges = found.xyxy / [entry.width, entry.height, entry.width, entry.height]
        np.testing.assert_allclose(np.reshape([seen.xyxy for seen in entry.objects], (-1, 4)), edges, atol=1e-5)
    with pytest.raises(FGDError, match="none of the 1 images can be read"):
        labeller([tmp_path / "broken.png"])


def one(**fields) -> Detections:
    scores = np.array([0.9], np.float32)
    return Detections(np.array([[20, 10, 60, 30]], np.float32), scores, np.array([0]), NAMES, (100, 200), **fields)


def test_masks_become_outlines():
    mask = np.zeros((1, 100, 200), bool)
    mask[0, 10:31, 20:61] = True
    (seen,) = detections_to_labels(Path("a.jpg"), one(mask=mask)).objects
    corners = sorted(map(tuple, (seen.polygon * [200, 100]).round().tolist()))
    assert corners == [(20, 10), (20, 30), (60, 10), (60, 30)]
    mask[0] = False
    mask[0, 20, 30] = True  # too small for an outline
    (seen,) = detections_to_labels(Path("a.jpg"), one(mask=mask)).objects
    np.testing.assert_allclose(seen.polygon, [[0.1, 0.1], [0.3, 0.1], [0.3, 0.3], [0.1, 0.3]], atol=1e-6)


def test_keypoints_have_a_visibility_if_the_model_gives_a_confidence():
    points = np.array([[[40, 20, 0.9], [50, 25, 0.2], [-1, 20, 0.9]]], np.float32)
    (seen,) = detections_to_labels(Path("a.jpg"), one(keypoints=points)).objects
    np.testing.assert_allclose(seen.keypoints, [[0.2, 0.2, 2], [0, 0, 0], [0, 0, 0]], atol=1e-6)
    (seen,) = detections_to_labels(Path("a.jpg"), one(keypoints=points[..., :2])).objects
    np.testing.assert_allclose(seen.keypoints, [[0.2, 0.2], [0.25, 0.25], [0, 0.2]], atol=1e-6)


def test_rotated_boxes_become_corners():
    xywhr = np.array([[40, 20, 40, 20, 0]], np.float32)
    (seen,) = detections_to_labels(Path("a.jpg"), one(xywhr=xywhr)).objects
    assert sorted(map(tuple, (seen.corners * [200, 100]).round().tolist())) == [(20, 10), (20, 30), (60, 10), (60, 30)]
