import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from ultralytics.utils import ops

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.detections import Detections, rotated_corners

NAMES = {0: "red cell", 1: "platelet"}


def detections(**extra):
    boxes = np.float32([[1, 2, 30.123, 40], [5, 5, 9, 9.5], [0, 0, 3, 3]])
    return Detections(boxes, np.float32([0.9, 0.8, 0.3]), np.array([1, 0, 1]), NAMES, (60, 80), **extra)


def three_masks():
    masks = np.zeros((3, 60, 80), bool)
    masks[0, 10:20, 30:50] = True
    masks[2, :5, :5] = masks[2, 40:45, 40:45] = True
    return masks


def test_the_text_has_counts_first_and_then_each_object():
    assert str(detections()).splitlines() == [
        "3 objects: 2 platelet, 1 red cell",
        "  platelet  0.90  (1, 2, 30, 40)",
        "  red cell  0.80  (5, 5, 9, 10)",
        "  platelet  0.30  (0, 0, 3, 3)",
    ]
    assert str(detections()[1]).startswith("1 object: 1 red cell\n")
    assert str(detections()[:0]) == "no objects"


def test_an_index_a_slice_and_a_mask_select_from_every_array():
    complete = detections(
        masks=three_masks(), keypoints=np.arange(18.0).reshape(3, 2, 3), rotated_boxes=np.ones((3, 5))
    )
    one = complete[2]
    assert len(one) == len(one.scores) == len(one.masks) == len(one.keypoints) == len(one.rotated_boxes) == 1
    assert one.scores[0] == np.float32(0.3) and one.masks.sum() == 50 and one.keypoints[0, 0, 0] == 12
    assert one.names is NAMES and one.shape == (60, 80)
    assert complete[1:].classes.tolist() == [0, 1] and complete[-1].scores.tolist() == one.scores.tolist()
    assert complete[complete.classes == 1].scores.tolist() == complete.scores[[0, 2]].tolist()
    assert [round(float(single.scores[0]), 1) for single in complete] == [0.9, 0.8, 0.3]
    with pytest.raises(IndexError):
        complete[3]


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"'scores': 3.*'masks': 2"):
        detections(masks=three_masks()[:2])


def test_json_has_plain_rounded_numbers():
    keypoints = np.tile(np.float32([[1.006, 2, 0.123456]]), (3, 1, 1))
    rotated = np.tile(np.float32([10, 20.004, 30, 40, 0.123456]), (3, 1))
    complete = detections(keypoints=keypoints, rotated_boxes=rotated, masks=three_masks())
    read = json.loads(complete.to_json())
    assert (read["height"], read["width"]) == (60, 80) and "\n" not in complete.to_json()
    first, second, third = read["objects"]
    assert first["class"] == 1 and first["name"] == "platelet" and first["score"] == 0.9
    assert first["box"] == [1.0, 2.0, 30.12, 40.0]
    assert first["keypoints"] == [[1.01, 2.0, 0.1235]] and first["rotated_box"] == [10.0, 20.0, 30.0, 40.0, 0.1235]
    assert first["polygons"] == [[[30, 10], [30, 19], [49, 19], [49, 10]]]
    assert second["polygons"] == [] and len(third["polygons"]) == 2


def test_json_of_plain_boxes_has_no_fields_of_other_tasks():
    assert list(detections().to_dict()["objects"][0]) == ["class", "name", "score", "box"]
    assert detections()[:0].to_dict()["objects"] == []


def test_corners_are_those_of_ultralytics_and_in_the_same_order_for_upright_boxes():
    random = np.random.default_rng(0)
    boxes = random.uniform(-3, 60, (20, 5)).astype(np.float32)
    expected = ops.xywhr2xyxyxyxy(torch.from_numpy(boxes)).numpy()
    np.testing.assert_allclose(rotated_corners(boxes), expected, atol=1e-4)
    upright = np.float32([[15.5, 21, 29, 38, 0]] * 3)
    plain = Detections(np.float32([[1, 2, 30, 40]]), np.ones(1), np.zeros(1, int), NAMES, (60, 80))
    np.testing.assert_allclose(plain.corners[0], rotated_corners(upright)[0])
    assert detections(rotated_boxes=upright).corners.shape == (3, 4, 2)


def test_a_class_without_a_name_is_named_by_its_index():
    nameless = Detections(np.ones((1, 4)), np.ones(1), np.array([7]), NAMES, (9, 9))
    assert "1 class 7" in str(nameless) and nameless.to_dict()["objects"][0]["name"] == "class 7"


def test_supervision_gets_names_masks_and_rotated_corners():
    supervision = pytest.importorskip("supervision")
    rotated = np.tile(np.float32([10, 20, 30, 40, 0.5]), (3, 1))
    complete = detections(masks=three_masks(), rotated_boxes=rotated, keypoints=np.ones((3, 4, 2)))
    converted = complete.to_supervision()
    assert isinstance(converted, supervision.Detections) and len(converted) == 3
    np.testing.assert_array_equal(converted.xyxy, complete.boxes)
    np.testing.assert_array_equal(converted.confidence, complete.scores)
    assert converted.class_id.tolist() == [1, 0, 1] and converted.mask.dtype == bool
    assert converted.data["class_name"].tolist() == ["platelet", "red cell", "platelet"]
    np.testing.assert_allclose(converted.data["xyxyxyxy"], rotated_corners(rotated))
    assert len(converted[converted.class_id == 0]) == 1 and len(detections()[:0].to_supervision()) == 0


def test_without_supervision_the_error_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(FGDError, match=r"pip install 'fgd_yolo\[supervision\]'") as caught:
        detections().to_supervision()
    assert "\n" not in str(caught.value)


def test_the_runtime_is_imported_without_the_libraries_of_training():
    code = "import sys, fgd_yolo.runtime as r; r.Detections; assert {'OnnxDetector'} <= set(dir(r))\n"
    code += "print(sorted({'torch', 'ultralytics', 'onnx', 'supervision'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_non_finite_number_is_null_in_json():
    detected = Detections(
        np.array([[1, 2, np.nan, np.inf]], np.float32), np.array([np.nan], np.float32), np.array([0]), {0: "a"}, (9, 9)
    )
    text = detected.to_json()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["objects"] == [{"class": 0, "name": "a", "score": None, "box": [1, 2, None, None]}]
