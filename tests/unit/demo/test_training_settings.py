"""The demo's training arguments are accepted by Ultralytics and immutable."""

from __future__ import annotations

import pytest

from fgd_yolo.demo.training_settings import OF_TASK, STUDENT, TEACHER

ROLES = {"teacher": TEACHER, "student": STUDENT}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_ultralytics_accepts_every_setting(role, device_type):
    from ultralytics.cfg import get_cfg

    settings = ROLES[role][device_type]
    accepted = vars(get_cfg(overrides=dict(settings)))
    assert {key: accepted[key] for key in settings} == settings


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_both_stages_use_one_image_size_and_no_gradient_accumulation(device_type):
    teacher, student = TEACHER[device_type], STUDENT[device_type]
    assert teacher["imgsz"] == student["imgsz"]
    assert all(settings["nbs"] <= settings["batch"] for settings in (teacher, student))


def test_only_pose_is_not_flipped_upside_down():
    """Upside down, another end of a symmetric sign is uppermost, which its keypoints are named by."""
    assert {task: dict(settings) for task, settings in OF_TASK.items()} == {
        "detect": {},
        "segment": {},
        "pose": {"flipud": 0.0},
        "obb": {},
    }


def test_settings_are_immutable():
    with pytest.raises(TypeError):
        TEACHER["cpu"]["epochs"] = 1
