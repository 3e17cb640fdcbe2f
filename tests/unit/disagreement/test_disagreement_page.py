"""The page shows each frame with what only one model sees, and needs nothing from outside."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest

from fgd_yolo.disagreement.disagreement_page import MAX_SIDE_PX, draw_frame, page
from fgd_yolo.disagreement.frame_scores import score_frame
from fgd_yolo.labelling import ImageLabels, LabelledObject

HERE, AWAY = (0.25, 0.5, 0.2, 0.4), (0.75, 0.5, 0.2, 0.4)
NAMES = {0: "<b>car</b>", 1: "person"}
SUMMARY = {
    "student": "s.pt",
    "teacher": "t.pt",
    "frames": 3,
    "frames_with_objects": 2,
    "agreement": 0.5,
    "missed": 1,
    "extra": 1,
    "agreed": 0,
    "confident": 0.5,
    "iou": 0.5,
    "by_class": {"<b>car</b>": {"missed": 1, "extra": 1, "agreed": 0}},
}


@pytest.fixture
def frame(tmp_path):
    image = tmp_path / "a & b.png"
    assert cv2.imwrite(str(image), np.full((600, 1600, 3), 90, np.uint8))

    def scored(teacher: LabelledObject, student: LabelledObject):
        return score_frame(*(ImageLabels(image, 600, 1600, (entry,)) for entry in (teacher, student)), confident=0.5)

    return scored


def test_a_large_frame_is_shrunk_and_boxes_are_in_its_pixels(frame):
    picture = draw_frame(frame(LabelledObject(0, 0.9, HERE), LabelledObject(1, 0.8, AWAY)), NAMES)
    assert (picture.width, picture.height) == (MAX_SIDE_PX, MAX_SIDE_PX * 600 // 1600)
    jpeg = base64.b64decode(picture.image.removeprefix("data:image/jpeg;base64,"))
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (picture.height, picture.width, 3)
    teacher, student = picture.sides
    assert [(shape.kind, shape.points) for shape in teacher.shapes] == [
        ("missed", "120.0,90.0 280.0,90.0 280.0,210.0 120.0,210.0")
    ]
    assert [shape.kind for shape in student.shapes] == ["extra"]
    assert [caption.text for caption in teacher.captions + student.captions] == ["<b>car</b> 0.90", "person 0.80"]


def test_a_caption_has_the_score_of_the_model_on_its_side(frame):
    picture = draw_frame(frame(LabelledObject(0, 0.3, HERE), LabelledObject(0, 0.8, HERE)), NAMES)
    assert [[caption.text for caption in side.captions] for side in picture.sides] == [[], ["<b>car</b> 0.80"]]
    assert picture.sides[1].shapes[0].title == "<b>car</b>: extra, teacher 0.30, student 0.80, IoU 1.00"


def test_outlines_and_keypoints_are_drawn(frame):
    triangle = np.array([[0.2, 0.3], [0.3, 0.3], [0.25, 0.7]])
    masked = draw_frame(frame(LabelledObject(0, 0.9, HERE, polygon=triangle), LabelledObject(1, 0.8, AWAY)), NAMES)
    assert masked.sides[0].shapes[0].points == "160.0,90.0 240.0,90.0 200.0,210.0"
    keypoints = np.array([[0.25, 0.5, 2], [0, 0, 0]])
    posed = draw_frame(frame(LabelledObject(0, 0.9, HERE, keypoints=keypoints), LabelledObject(1, 0.8, AWAY)), NAMES)
    assert posed.sides[0].shapes[0].dots == "M200.0 150.0h0"


def test_the_page_is_complete_by_itself_and_shows_names_as_text(frame):
    picture = draw_frame(frame(LabelledObject(0, 0.9, HERE), LabelledObject(0, 0.8, AWAY)), NAMES)
    html = page(SUMMARY, [picture, picture])
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)|url\(|@import|<script|https?://""", html)
    assert html.count("data:image/jpeg;base64,") == 2  # each frame once, for both sides
    assert "<b>car" not in html and "&lt;b&gt;car&lt;/b&gt; 0.90" in html
    assert "a &amp; b.png" in html
    assert "not accuracy" in html


def test_a_page_without_differences_says_so():
    html = page({**SUMMARY, "agreement": None, "by_class": {}}, [])
    assert "nothing to show" in html and "<article>" not in html
