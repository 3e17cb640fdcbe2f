"""The labels of the demo scenes of every task, compared with the geometry of the signs and read by Ultralytics."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from fgd_yolo.demo import demo_dataset
from fgd_yolo.demo.label_formats import LABEL_FORMATS, upright_keypoints, visibility
from fgd_yolo.demo.rendering import Canvas, Pose, place, render_scene
from fgd_yolo.demo.signs import KEYPOINTS, MIRRORED_KEYPOINTS, NAMES, SIGNS

COUNTS = {"train_images": 24, "val_images": 2, "image_px": 96}
BY_NAME = dict(zip(NAMES, SIGNS, strict=True))
WITH_KEYPOINTS = ("triangle", "square", "cross")
COLOUR = np.zeros(3, dtype=np.float32)

DETECT_YAML = """\
train: images/train
val: images/val
names:
  0: disc
  1: triangle
  2: square
  3: ring
  4: checker
  5: cross
"""
DETECT_LABELS_SHA256 = "b7780729c86c1ac18f2096fa3bb2a9c184b3243d06fc7a62a97ec6baa758557f"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return {task: demo_dataset(cache, task=task, **COUNTS).parent for task in LABEL_FORMATS}


def rows(folder: Path, stem: str) -> list[np.ndarray]:
    lines = (folder / "labels/train" / f"{stem}.txt").read_text().splitlines()
    return [np.array(line.split(), dtype=float) for line in lines]


def stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "images/train").iterdir())


def ultralytics_dataset(folder: Path, task: str, augment: bool = False, **train_args) -> YOLODataset:
    off = dict.fromkeys(("mosaic", "scale", "translate", "hsv_h", "hsv_s", "hsv_v", "fliplr"), 0)
    return YOLODataset(
        img_path=str(folder / "images/train"),
        imgsz=COUNTS["image_px"],
        augment=augment,
        hyp=get_cfg(overrides={"task": task, **off, **train_args}),
        data=check_det_dataset(str(folder / "demo.yaml")),
        task=task,
    )


def test_the_dataset_for_detect_is_what_it_was(folders):
    folder = folders["detect"]
    assert folder.name == "demo-v1-24-2-96px-seed0"
    assert (folder / "demo.yaml").read_text() == DETECT_YAML
    texts = [path.read_bytes() for path in sorted(folder.glob("labels/*/*.txt"))]
    assert hashlib.sha256(b"".join(texts)).hexdigest() == DETECT_LABELS_SHA256


def test_all_tasks_have_the_same_images_and_objects_in_folders_of_their_own(folders):
    assert [folder.name for folder in folders.values()] == [
        f"demo{part}-v1-24-2-96px-seed0" for part in ("", "-segment", "-pose", "-obb")
    ]
    for image in folders["detect"].glob("images/*/*.jpg"):
        name = image.relative_to(folders["detect"])
        assert {(folder / name).read_bytes() for folder in folders.values()} == {image.read_bytes()}
    for stem in stems(folders["detect"]):
        expected = [row[0] for row in rows(folders["detect"], stem)]
        assert all([row[0] for row in rows(folder, stem)] == expected for folder in folders.values())


@pytest.mark.parametrize("task", LABEL_FORMATS)
def test_ultralytics_reads_every_label(folders, task):
    dataset = ultralytics_dataset(folders[task], task)
    assert len(dataset) == COUNTS["train_images"]
    for label in dataset.labels:
        written = rows(folders[task], Path(label["im_file"]).stem)
        assert label["cls"].ravel().tolist() == [row[0] for row in written]
    samples = [dataset[index] for index in range(len(dataset))]
    assert sum(len(sample["cls"]) for sample in samples) == sum(len(label["cls"]) for label in dataset.labels)


def test_ultralytics_draws_the_visible_pixels_of_every_object(folders):
    """At the size of the images, its map of instances is the scene's, but for the bridges between separate parts."""
    dataset = ultralytics_dataset(folders["segment"], "segment", mask_ratio=1)
    different = []
    for index in range(len(dataset)):
        scene = render_scene(np.random.default_rng([0, 0, index]), COUNTS["image_px"])
        visible = np.isin(scene.layers, scene.object_layers)
        different.append((visible != (dataset[index]["masks"][0].numpy() > 0)).mean())
    assert np.mean(different) < 0.002


def test_the_box_of_an_outline_is_the_box_of_the_object(folders):
    for stem in stems(folders["segment"]):
        for polygon, box in zip(rows(folders["segment"], stem), rows(folders["detect"], stem), strict=True):
            points = polygon[1:].reshape(-1, 2) * COUNTS["image_px"]
            low, high = points.min(axis=0), points.max(axis=0)
            centre, size = box[1:3] * COUNTS["image_px"], box[3:] * COUNTS["image_px"]
            inside = (low > centre - size / 2 - 0.03).all() and (high < centre + size / 2 + 0.03).all()
            assert inside


def test_three_classes_have_keypoints_and_the_others_zeros(folders):
    data = yaml.safe_load((folders["pose"] / "demo.yaml").read_text())
    assert data["kpt_shape"] == [6, 3] == [len(KEYPOINTS), 3]
    assert data["flip_idx"] == [1, 0, 3, 2, 4, 5]
    seen = set()
    for stem in stems(folders["pose"]):
        for row, box in zip(rows(folders["pose"], stem), rows(folders["detect"], stem), strict=True):
            np.testing.assert_array_equal(row[:5], box)
            points = row[5:].reshape(6, 3)
            labelled = NAMES[int(row[0])] in WITH_KEYPOINTS
            assert labelled == bool(points.any())
            assert not points[points[:, 2] == 0].any()
            assert ((points >= 0) & (points[:, :2].max() <= 1)).all()
            seen |= set(points[:, 2]) if labelled else set()
    assert seen == {0.0, 1.0, 2.0}


@pytest.mark.parametrize("name", WITH_KEYPOINTS)
def test_keypoints_are_on_the_sign(name):
    sign = BY_NAME[name]
    for angle in np.linspace(0.1, 6.1, 9):
        placement = place(sign, Pose((100.0, 90.0), 70.0, angle, 0.8))
        contours = [placement(contour).astype(np.float32) for contour in sign.body]
        for point in upright_keypoints(sign, placement):
            distance = max(cv2.pointPolygonTest(contour, tuple(map(float, point)), True) for contour in contours)
            assert distance > -0.01


@pytest.mark.parametrize("name", WITH_KEYPOINTS)
def test_the_mirror_image_has_the_keypoints_of_its_own_pose(name):
    """A sign turned by an angle is the mirror image of one turned by the opposite angle: all signs are symmetric."""
    sign, width = BY_NAME[name], 200
    for angle in np.linspace(0.05, 6.2, 25):
        points = upright_keypoints(sign, place(sign, Pose((80.0, 90.0), 70.0, angle, 0.8)))
        mirrored = upright_keypoints(sign, place(sign, Pose((width - 80.0, 90.0), 70.0, -angle, 0.8)))
        expected = points[list(MIRRORED_KEYPOINTS)]
        expected[:, 0] = width - expected[:, 0]
        np.testing.assert_allclose(mirrored, expected, atol=1e-9)


@pytest.mark.parametrize(("name", "turns"), [("triangle", 3), ("square", 2), ("cross", 4)])
def test_keypoints_are_the_same_after_a_rotation_that_leaves_the_points_where_they_are(name, turns):
    sign = BY_NAME[name]
    poses = [Pose((80.0, 90.0), 70.0, 0.3 + 2 * np.pi * turn / turns, 1.0) for turn in range(turns)]
    first, *others = [upright_keypoints(sign, place(sign, pose)) for pose in poses]
    assert first[KEYPOINTS.index("top"), 1] == first[4:, 1].min()
    for points in others:
        np.testing.assert_allclose(points, first, atol=1e-9)


def test_a_keypoint_is_visible_occluded_or_outside():
    canvas = Canvas(np.zeros((60, 60, 3), dtype=np.float32))
    canvas.paint(BY_NAME["ring"], Pose((40.0, 20.0), 20.0, 0.0, 1.0), COLOUR, COLOUR)  # below the square
    canvas.paint(BY_NAME["square"], Pose((20.0, 20.0), 30.0, 0.0, 1.0), COLOUR, COLOUR, object_id=1)
    canvas.paint(BY_NAME["disc"], Pose((5.0, 20.0), 12.0, 0.0, 1.0), COLOUR, COLOUR)
    points = np.array([[20.0, 20.0], [34.9, 20.0], [5.5, 20.0], [-0.1, 20.0], [20.0, 60.0], [59.9, 0.0]])
    assert visibility(points, canvas.layers, 2).tolist() == [2, 2, 1, 0, 0, 2]


def test_ultralytics_flips_keypoints_to_the_labels_of_the_flipped_image(folders):
    """Before and after, `top` is above `bottom`, and left is on the left, seen with `top` upwards."""
    plain, flipped = (ultralytics_dataset(folders["pose"], "pose", augment=True, fliplr=p) for p in (0.0, 1.0))
    compared = 0
    for index in range(len(plain)):
        before, after = plain[index], flipped[index]
        for points, mirrored in zip(before["keypoints"], after["keypoints"], strict=True):
            if points[:, 2].min() == 0:
                continue
            np.testing.assert_allclose(sorted(1 - points[:, 0]), sorted(mirrored[:, 0]), atol=1e-5)
            np.testing.assert_allclose(sorted(points[:, 1]), sorted(mirrored[:, 1]), atol=1e-5)
            for outer_left, outer_right, inner_left, inner_right, top, bottom in (points[:, :2], mirrored[:, :2]):
                (up_x, up_y), sides = top - bottom, (outer_left, inner_left, outer_right, inner_right)
                turns = [float(up_x * (side - bottom)[1] - up_y * (side - bottom)[0]) for side in sides]
                assert max(turns[:2]) < 0 < min(turns[2:])
                assert up_y < 0
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0, 4.0])
def test_a_rotated_box_has_the_sides_of_the_sign_along_its_own_axes(name, angle):
    sign, pose = BY_NAME[name], Pose((100.0, 90.0), 70.0, angle, 0.8)
    canvas = Canvas(np.zeros((200, 200, 3), dtype=np.float32))
    canvas.paint(sign, pose, COLOUR, COLOUR, object_id=1)
    scene = render_scene(np.random.default_rng(0), 200)._replace(
        classes=np.array([NAMES.index(name)]), poses=(pose,), layers=canvas.layers, object_layers=np.array([1])
    )
    (row,) = LABEL_FORMATS["obb"].rows(scene)
    outline = np.concatenate(sign.body)
    (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
    expected = place(sign, pose)(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]))
    np.testing.assert_allclose(row.reshape(4, 2) * 200, expected, atol=1.3)


def test_at_angle_0_the_rotated_box_is_the_box_also_of_an_occluded_object():
    canvas = Canvas(np.zeros((100, 100, 3), dtype=np.float32))
    pose = Pose((40.0, 40.0), 40.0, 0.0, 1.0)
    canvas.paint(BY_NAME["square"], pose, COLOUR, COLOUR, object_id=1)
    canvas.paint(BY_NAME["square"], Pose((60.0, 40.0), 42.0, 0.0, 1.0), COLOUR, COLOUR)
    scene = render_scene(np.random.default_rng(0), 100)._replace(
        poses=(pose,), layers=canvas.layers, object_layers=np.array([1])
    )
    (row,) = LABEL_FORMATS["obb"].rows(scene)
    np.testing.assert_allclose(row.reshape(4, 2) * 100, [[20, 20], [39, 20], [39, 60], [20, 60]], atol=1e-9)


def test_ultralytics_reads_the_rotated_boxes_as_they_are_written(folders):
    dataset = ultralytics_dataset(folders["obb"], "obb")
    side = COUNTS["image_px"]
    for index in range(len(dataset)):
        stem = Path(dataset.labels[index]["im_file"]).stem
        for row, box in zip(rows(folders["obb"], stem), dataset[index]["bboxes"].numpy(), strict=True):
            corners = row[1:].reshape(4, 2) * side
            sides = sorted([np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[1])])
            np.testing.assert_allclose(box[:2] * side, corners.mean(axis=0), atol=0.05)
            np.testing.assert_allclose(sorted(box[2:4] * side), sides, atol=0.05)
