"""What is written is read back by Ultralytics' dataset and by pycocotools as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from fgd_yolo.errors import FGDError
from fgd_yolo.labelling import ImageLabels, LabelledObject, label_images, write_coco, write_yolo
from fixtures import CLASSES, IMAGE_PX

TASKS = ("detect", "segment", "pose", "obb")
NAMES = dict(enumerate(CLASSES))


@pytest.fixture(scope="module")
def labelled(drawn):
    """The labels of a task by name; the last image has no object."""

    def label(task: str) -> list[ImageLabels]:
        model, images = drawn(task)
        labels = label_images(model, images, min_score=0.3, imgsz=IMAGE_PX, device="cpu")
        assert all(image.objects for image in labels)
        return [*labels[:-1], ImageLabels(labels[-1].image, labels[-1].height, labels[-1].width, ())]

    return label


def read_back(data: Path, task: str) -> dict[str, dict]:
    info = check_det_dataset(str(data))
    dataset = YOLODataset(img_path=info["train"], data=info, task=task, imgsz=IMAGE_PX, hyp=get_cfg(), augment=False)
    return {Path(label["im_file"]).stem: label for label in dataset.labels}


@pytest.mark.parametrize("task", TASKS)
def test_ultralytics_reads_what_was_written(labelled, tmp_path, task):
    labels = labelled(task)
    data = write_yolo(labels, tmp_path / "set", NAMES)
    (tmp_path / "set/images").mkdir()
    for image in labels:
        (tmp_path / "set/images" / image.image.name).symlink_to(image.image)
    read = read_back(data, task)
    assert sorted(read) == sorted(image.image.stem for image in labels)
    assert (tmp_path / "set/labels" / f"{labels[-1].image.stem}.txt").read_bytes() == b""
    for image in labels:
        label = read[image.image.stem]
        assert label["shape"] == (image.height, image.width)
        assert label["cls"].ravel().tolist() == [entry.class_id for entry in image.objects]
        for number, entry in enumerate(image.objects):
            if entry.outline is not None:
                assert task == "obb" or (entry.outline.min() >= 0 and entry.outline.max() <= 1)
                # Ultralytics refuses a rotated box whose upright box has its centre outside of the image.
                centre = (entry.outline.min(axis=0) + entry.outline.max(axis=0)) / 2
                kept = entry.outline if (abs(centre - 0.5) <= 0.5).all() else entry.outline.clip(0, 1)
                np.testing.assert_allclose(label["segments"][number], kept, atol=1e-6)
            else:
                np.testing.assert_allclose(label["bboxes"][number], entry.box, atol=1e-6)
            if task == "pose":
                np.testing.assert_allclose(label["keypoints"][number], entry.keypoints, atol=1e-6)
    assert yaml.safe_load(data.read_text())["names"] == NAMES


@pytest.mark.parametrize("task", TASKS)
def test_pycocotools_reads_what_was_written(labelled, tmp_path, task):
    labels = labelled(task)
    file = tmp_path / "annotations.json"
    write_coco(labels, file, NAMES, file_name=lambda image: f"images/{image.name}")
    coco = COCO(str(file))
    assert {number: entry["name"] for number, entry in coco.cats.items()} == {1: "disc", 2: "block", 3: "wedge"}
    for number, image in enumerate(labels, start=1):
        entry = coco.imgs[number]
        assert entry["file_name"] == f"images/{image.image.name}"
        assert (entry["height"], entry["width"]) == (image.height, image.width)
        annotations = coco.imgToAnns[number]
        assert len(annotations) == len(image.objects)
        for annotation, found in zip(annotations, image.objects, strict=True):
            left, top, width, height = annotation["bbox"]
            x, y, w, h = found.box
            expected = [(x - w / 2) * image.width, (y - h / 2) * image.height, w * image.width, h * image.height]
            np.testing.assert_allclose([left, top, width, height], expected, atol=1e-3)
            assert annotation["category_id"] == found.class_id + 1
            assert annotation["score"] == pytest.approx(found.score, abs=1e-4)
            if found.outline is not None:
                points = np.reshape(annotation["segmentation"], (-1, 2)) / [image.width, image.height]
                np.testing.assert_allclose(points, found.outline, atol=1e-4)
            if task == "pose":
                points = np.reshape(annotation["keypoints"], (-1, 3))
                np.testing.assert_allclose(
                    points[:, :2] / [image.width, image.height], found.keypoints[:, :2], atol=1e-4
                )
                assert annotation["num_keypoints"] == (found.keypoints[:, 2] > 0).sum()


def test_the_area_is_that_of_the_mask(tmp_path):
    polygon = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.5], [0.5, 0.9]])
    entry = LabelledObject(0, 0.9, (0.5, 0.5, 0.8, 0.8), polygon=polygon)
    write_coco([ImageLabels(Path("a.png"), 200, 400, (entry,))], tmp_path / "a.json", NAMES)
    coco = COCO(str(tmp_path / "a.json"))
    painted = coco.annToMask(coco.anns[1]).sum()
    assert painted == pytest.approx(coco.anns[1]["area"], rel=0.02)
    assert painted > 15_000


def test_a_score_is_kept_by_coco_and_points_without_visibility_are_visible(tmp_path):
    points = np.array([[0.1, 0.2], [0.3, 0.4]])
    entry = LabelledObject(1, 0.87654, (0.5, 0.5, 0.2, 0.2), keypoints=points)
    write_coco([ImageLabels(Path("a.png"), 100, 200, (entry,))], tmp_path / "a.json", NAMES)
    (annotation,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert annotation["score"] == 0.8765
    assert annotation["keypoints"] == [20, 20, 2, 60, 40, 2]
    data = write_yolo([ImageLabels(Path("a.png"), 100, 200, (entry,))], tmp_path / "set", NAMES)
    assert yaml.safe_load(data.read_text())["kpt_shape"] == [2, 2]


def test_ultralytics_accepts_rotated_boxes_that_leave_the_image(drawn, tmp_path):
    """Ultralytics leaves out an image with a label that is far outside."""
    image = drawn("obb").images[0]
    slightly = np.array([[-0.05, 0.2], [0.3, 0.1], [0.4, 0.5], [0.05, 0.6]])
    far = np.array([[-0.9, 0.2], [0.3, 0.1], [0.4, 0.5], [-0.8, 0.6]])
    entries = tuple(LabelledObject(0, 0.9, (0.2, 0.3, 0.4, 0.4), corners=corners) for corners in (slightly, far))
    data = write_yolo([ImageLabels(image, IMAGE_PX, IMAGE_PX, entries)], tmp_path / "set", NAMES)
    (tmp_path / "set/images").mkdir()
    (tmp_path / "set/images" / image.name).symlink_to(image)
    (label,) = read_back(data, "obb").values()
    np.testing.assert_allclose(label["segments"][0], slightly, atol=1e-6)
    np.testing.assert_allclose(label["segments"][1], far.clip(0, 1), atol=1e-6)


def test_two_images_with_one_label_file_are_refused(tmp_path):
    labels = [ImageLabels(Path(name), 10, 10, ()) for name in ("a/one.jpg", "b/one.png")]
    with pytest.raises(FGDError, match="several images are called one"):
        write_yolo(labels, tmp_path, NAMES)
    assert not list(tmp_path.rglob("*.txt"))
