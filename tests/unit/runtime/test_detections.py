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
    complete = detections(mask=three_masks(), keypoints=np.arange(18.0).reshape(3, 2, 3), xywhr=np.ones((3, 5)))
    one = complete[2]
    assert len(one) == len(one.confidence) == len(one.mask) == len(one.keypoints) == len(one.xywhr) == 1
    assert one.confidence[0] == np.float32(0.3) and one.mask.sum() == 50 and one.keypoints[0, 0, 0] == 12
    assert one.names is NAMES and one.shape == (60, 80)
    assert complete[1:].class_id.tolist() == [0, 1] and complete[-1].confidence.tolist() == one.confidence.tolist()
    assert complete[complete.class_id == 1].confidence.tolist() == complete.confidence[[0, 2]].tolist()
    with pytest.raises(IndexError):
        complete[3]


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"'confidence': 3.*'mask': 2"):
        detections(mask=three_masks()[:2])


def test_json_has_plain_rounded_numbers():
    keypoints = np.tile(np.float32([[1.006, 2, 0.123456]]), (3, 1, 1))
    rotated = np.tile(np.float32([10, 20.004, 30, 40, 0.123456]), (3, 1))
    complete = detections(keypoints=keypoints, xywhr=rotated, mask=three_masks())
    read = json.loads(complete.to_json())
    assert (read["height"], read["width"]) == (60, 80) and "\n" not in complete.to_json()
    first, second, third = read["objects"]
    assert first["class_id"] == 1 and first["class_name"] == "platelet" and first["confidence"] == 0.9
    assert first["xyxy"] == [1.0, 2.0, 30.12, 40.0]
    assert first["keypoints"] == [[1.01, 2.0, 0.1235]] and first["xywhr"] == [10.0, 20.0, 30.0, 40.0, 0.1235]
    assert first["polygons"] == [[[30, 10], [30, 19], [49, 19], [49, 10]]]
    assert second["polygons"] == [] and len(third["polygons"]) == 2


def test_json_is_a_message_with_a_version_and_a_kind():
    assert json.loads(detections().to_json()) == {"version": 1, "kind": "image", **detections().to_dict()}


def test_an_object_without_a_track_id_has_null_in_json():
    tracked = detections(tracker_id=np.array([7, -1, 9]))
    assert [one["tracker_id"] for one in json.loads(tracked.to_json())["objects"]] == [7, None, 9]


def test_json_of_plain_boxes_has_no_fields_of_other_tasks():
    assert list(detections().to_dict()["objects"][0]) == ["class_id", "class_name", "confidence", "xyxy"]
    assert detections()[:0].to_dict()["objects"] == []


def test_corners_are_those_of_ultralytics_and_in_the_same_order_for_upright_boxes():
    random = np.random.default_rng(0)
    boxes = random.uniform(-3, 60, (20, 5)).astype(np.float32)
    expected = ops.xywhr2xyxyxyxy(torch.from_numpy(boxes)).numpy()
    np.testing.assert_allclose(rotated_corners(boxes), expected, atol=1e-4)
    upright = np.float32([[15.5, 21, 29, 38, 0]] * 3)
    plain = Detections(np.float32([[1, 2, 30, 40]]), np.ones(1), np.zeros(1, int), NAMES, (60, 80))
    np.testing.assert_allclose(plain.xyxyxyxy[0], rotated_corners(upright)[0])
    assert detections(xywhr=upright).xyxyxyxy.shape == (3, 4, 2)


def test_a_class_without_a_name_is_named_by_its_index():
    nameless = Detections(np.ones((1, 4)), np.ones(1), np.array([7]), NAMES, (9, 9))
    assert "1 class 7" in str(nameless) and nameless.to_dict()["objects"][0]["class_name"] == "class 7"


def all_fields():
    """Return detections with every array, which no task has at once."""
    return detections(
        mask=three_masks(),
        keypoints=np.arange(24.0).reshape(3, 4, 2),
        xywhr=np.tile(np.float32([10, 20, 30, 40, 0.5]), (3, 1)),
        tracker_id=np.array([7, -1, 9]),
    )


def assert_equal(ours, theirs):
    """Assert that our detections and those of supervision have equal values under equal names."""
    assert len(ours) == len(theirs)
    for name in ("xyxy", "confidence", "class_id", "mask", "tracker_id"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert ours.data.keys() == theirs.data.keys()
    for name, values in ours.data.items():
        np.testing.assert_array_equal(values, theirs.data[name], err_msg=name)
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    np.testing.assert_allclose(ours.area, theirs.area, rtol=1e-5)


@pytest.mark.parametrize(
    "fields", [(), ("mask",), ("keypoints",), ("xywhr",), ("tracker_id",), ("mask", "keypoints", "xywhr", "tracker_id")]
)
def test_code_for_supervision_reads_the_same_values(fields):
    supervision = pytest.importorskip("supervision")
    ours = detections(**{name: getattr(all_fields(), name) for name in fields})
    theirs = ours.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    assert_equal(ours, theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert len(one) == len(other) == 6 and one[-1].keys() == other[-1].keys()
        for value, expected in zip([*one[:-1], *one[-1].values()], [*other[:-1], *other[-1].values()], strict=True):
            np.testing.assert_array_equal(value, expected)
    selections = [1, -1, slice(1, None), [2, 0], np.array([2, 1]), ours.confidence > 0.5, ours.class_id == 0]
    for selection in [*selections, np.isin(ours.class_id, [1]), ours.area > 30, [True, False, True], slice(0, 0)]:
        assert_equal(ours[selection], theirs[selection])


def test_supervision_gets_class_names_and_rotated_corners():
    pytest.importorskip("supervision")
    converted = all_fields().to_supervision()
    assert converted.class_id.tolist() == [1, 0, 1] and converted.mask.dtype == bool
    assert converted.data["class_name"].tolist() == ["platelet", "red cell", "platelet"]
    np.testing.assert_allclose(converted.data["xyxyxyxy"], rotated_corners(all_fields().xywhr))


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
    assert json.loads(text)["objects"] == [
        {"class_id": 0, "class_name": "a", "confidence": None, "xyxy": [1, 2, None, None]}
    ]
