"""Labels of every task are what Ultralytics' own prediction gives for each image, under the names of the data."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.models.yolo.detect import DetectionPredictor

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.labelling import label_images
from fixtures import CLASSES, IMAGE_PX

MODELS = ("detect", "segment", "pose", "obb", "yolo26", "rtdetr")
SETTINGS = {"min_score": 0.3, "imgsz": IMAGE_PX, "device": "cpu"}


@pytest.mark.parametrize("name", MODELS)
def test_labels_are_ultralytics_predictions_of_each_image(drawn, name):
    model, images = drawn(name)
    labels = label_images(model, images, batch=3, **SETTINGS)
    assert [entry.image for entry in labels] == images
    assert sum(len(entry.objects) for entry in labels) > 10
    stock = (RTDETR if name == "rtdetr" else YOLO)(str(model))
    for entry in labels:
        (result,) = stock.predict(str(entry.image), imgsz=IMAGE_PX, conf=0.3, device="cpu", verbose=False)
        boxes = result.boxes if result.obb is None else result.obb
        order = np.argsort(-boxes.conf.numpy(), kind="stable")
        assert (entry.height, entry.width) == result.orig_shape
        assert [found.class_id for found in entry.objects] == boxes.cls.int().numpy()[order].tolist()
        np.testing.assert_allclose([found.score for found in entry.objects], boxes.conf.numpy()[order], atol=1e-4)
        size = np.array(result.orig_shape[::-1])
        edges = (boxes.xyxy.numpy()[order] / [*size, *size]).clip(0, 1)
        np.testing.assert_allclose([found.xyxy for found in entry.objects], edges, atol=1e-3)
        for found, place in zip(entry.objects, order, strict=True):
            if name == "segment" and len(result.masks.xyn[place]) >= 3:
                np.testing.assert_allclose(area(found.polygon), area(result.masks.xyn[place]), atol=2e-3)
            if name == "pose":
                seen = found.keypoints[:, 2] == 2
                expected = result.keypoints.xyn[place].numpy()
                inside = ((expected >= 0) & (expected <= 1)).all(1)
                assert seen.tolist() == ((result.keypoints.conf[place].numpy() >= 0.5) & inside).tolist()
                np.testing.assert_allclose(found.keypoints[seen, :2], expected[seen], atol=1e-3)
                assert not found.keypoints[~seen].any()
            if name == "obb":
                np.testing.assert_allclose(found.corners, result.obb.xyxyxyxyn[place].numpy(), atol=1e-3)


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x))) / 2)


@pytest.mark.parametrize("name", ["detect", "yolo26", "rtdetr"])
def test_classes_are_matched_by_name_and_others_are_dropped(drawn, name):
    model, images = drawn(name)
    own = label_images(model, images, **SETTINGS)
    names, class_map = {0: "Wedge", 1: "block", 2: "ball"}, {"disc": "ball"}
    renamed = label_images(model, images, names=names, class_map=class_map, **SETTINGS)
    number = {CLASSES.index("wedge"): 0, CLASSES.index("block"): 1, CLASSES.index("disc"): 2}
    for one, other in zip(own, renamed, strict=True):
        assert sorted(number[entry.class_id] for entry in one.objects) == sorted(o.class_id for o in other.objects)
    fewer = label_images(model, images, names={0: "wedge", 1: "horse", 2: "disc"}, **SETTINGS)
    assert {entry.class_id for image in fewer for entry in image.objects} == {0, 2}


def test_a_model_that_knows_no_asked_class_is_refused_with_both_lists(drawn):
    model, images = drawn("detect")
    with pytest.raises(UsageError, match=r"3 classes \(disc, block, wedge\).*1 class \(horse\)"):
        label_images(model, images, names={0: "horse"}, **SETTINGS)
    with pytest.raises(UsageError, match=r"no class 'disk'.*did you mean 'disc'"):
        label_images(model, images, names={0: "horse"}, class_map={"disk": "horse"}, **SETTINGS)


def test_no_random_state_is_changed(drawn, monkeypatch):
    model, images = drawn("detect")
    postprocess = DetectionPredictor.postprocess

    def drawing(*arguments, **options):
        random.random(), np.random.random(), torch.rand(1)
        return postprocess(*arguments, **options)

    monkeypatch.setattr(DetectionPredictor, "postprocess", drawing)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.random(), torch.rand(1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    label_images(model, images[:2], **SETTINGS)
    assert (random.random(), np.random.random(), torch.rand(1)) == expected


def test_images_that_cannot_be_read_are_counted_and_left_out(drawn, tmp_path, caplog):
    model, images = drawn("detect")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    labels = label_images(model, [images[0], broken, images[1]], **SETTINGS)
    assert [entry.image for entry in labels] == images[:2]
    with pytest.raises(FGDError, match=r"none of the 1 images can be read, such as .*broken\.jpg"):
        label_images(model, [broken], **SETTINGS)
    assert label_images(model, [], **SETTINGS) == []
