"""Labels that a task cannot be trained on are an error; labels that become something else are said."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from fgd_yolo.datasets import scan_dataset
from fgd_yolo.datasets.label_checks import corner_note
from fgd_yolo.errors import FGDError
from fixtures import draw_dataset

UPRIGHT = np.array([[0.1, 0.1], [0.3, 0.1], [0.3, 0.2], [0.1, 0.2]], np.float32)
ROTATED = np.array([[0.2, 0.1], [0.3, 0.2], [0.2, 0.3], [0.1, 0.2]], np.float32)
TRIANGLE = ROTATED[:3]


def draw(folder, labels, changes=None):
    file = draw_dataset(folder, train=3, val=2, task=labels)
    content = yaml.safe_load(file.read_text()) | (changes or {})
    file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return file


@pytest.mark.parametrize(
    ("task", "labels", "changes", "stated"),
    [
        (
            "segment",
            "detect",
            {},
            "trained on masks, but data .* has polygons for 0 of the 3 objects in its train images: .* yolov8n$",
        ),
        (
            "obb",
            "detect",
            {},
            "trained on rotated boxes, but data .* has polygons for 0 of the 3 objects in .*: give labels",
        ),
        ("pose", "detect", {}, "trained on keypoints, but data .* has no kpt_shape: give labels with keypoints"),
        ("pose", "pose", {"kpt_shape": [3, 5]}, r"has kpt_shape \[3, 5\], not \[number of keypoints, 2 or 3\]: give"),
        ("pose", "detect", {"kpt_shape": [3, 3]}, "has no label of 14 numbers in its train images .*: give labels"),
    ],
)
def test_labels_that_lack_what_the_task_needs_name_student_data_and_remedy(task, labels, changes, stated, tmp_path):
    with pytest.raises(FGDError, match=stated) as raised:
        scan_dataset(draw(tmp_path / "data", labels, changes), {"task": task})
    assert "\n" not in str(raised.value) and "tiny.yaml" in str(raised.value)


@pytest.mark.parametrize(("task", "remedy"), [("detect", "upright boxes around them"), ("segment", "are these boxes")])
def test_rotated_boxes_for_another_task_are_one_printed_line(task, remedy, tmp_path, capsys):
    scan_dataset(draw(tmp_path / "data", "obb"), {"task": task})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "rotated boxes" in line]
    assert remedy in line and line.endswith("take yolov8n-obb")


@pytest.mark.parametrize(
    ("task", "polygons", "said"),
    [
        ("detect", [UPRIGHT, ROTATED], True),
        ("detect", [UPRIGHT, UPRIGHT], False),
        ("detect", [ROTATED, TRIANGLE], False),
        ("detect", [], False),
        ("pose", [ROTATED], False),
        ("obb", [UPRIGHT, ROTATED], False),
        ("obb", [ROTATED, TRIANGLE], True),
    ],
)
def test_only_labels_that_become_something_else_are_said(task, polygons, said):
    note = corner_note([{"segments": polygons[:1]}, {"segments": polygons[1:]}], task)
    assert bool(note) == said
    assert task != "obb" or not said or note.startswith("1 of 2 labels are not four corners")


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_moving_a_corner_changes_the_digest_of_a_task_that_is_trained_on_corners_alone(task, tmp_path):
    """The corner of a 24-sided disc or of a rotated box moves within the box around it, so the boxes stay."""
    file = draw(tmp_path / "data", "segment")
    label = next(path for path in sorted(file.parent.glob("labels/train/*.txt")) if path.read_text())
    label.write_text("0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6 0.3 0.4\n")
    before = [scan_dataset(file, {"task": name}).scan.digest for name in ("detect", task)]
    label.write_text("0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6 0.25 0.4\n")
    (file.parent / "labels/train.cache").unlink()
    after = [scan_dataset(file, {"task": name}).scan.digest for name in ("detect", task)]
    assert before[0] == after[0] and before[1] != after[1]


def test_moving_a_keypoint_or_mirroring_others_changes_the_digest_of_pose_alone(tmp_path):
    file = draw(tmp_path / "data", "pose")
    digests = []
    for changed in ("nothing", "keypoint", "flip_idx"):
        if changed == "keypoint":
            label = next(path for path in sorted(file.parent.glob("labels/train/*.txt")) if path.read_text())
            words = label.read_text().splitlines()[0].split()
            label.write_text(" ".join([*words[:5], "0.111", *words[6:]]) + "\n")
            (file.parent / "labels/train.cache").unlink()
        if changed == "flip_idx":
            file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"flip_idx": [0, 1, 2]}))
        digests.append([scan_dataset(file, {"task": task}).scan.digest for task in ("detect", "pose")])
    assert len({detect for detect, _ in digests}) == 1 and len({pose for _, pose in digests}) == 3
