"""One example image: neck maps at two levels, two boxes, and the attention computed from them."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

SIDE_PX = 64


@pytest.fixture
def example():
    """Neck maps of teacher and students at strides 8 and 16, alignments, the image with boxes, and its attention."""
    import torch

    from fgd_yolo.attention.image_objects import ImageObjects
    from fgd_yolo.attention.labelled_images import LABELS, LabelledImage
    from fgd_yolo.attention.level_attention import compare_levels
    from fgd_yolo.methods.attention_maps import AttentionSettings
    from fgd_yolo.neck import Level

    random = torch.Generator().manual_seed(0)
    levels = [Level(8, 0, 0, 4, 6), Level(16, 1, 1, 8, 12)]
    teacher = [
        2 * torch.randn(1, level.teacher_channels, 64 // level.stride, 64 // level.stride, generator=random)
        for level in levels
    ]
    students = {
        name: [
            2 * torch.randn(1, level.student_channels, 64 // level.stride, 64 // level.stride, generator=random)
            for level in levels
        ]
        for name in ("before", "after")
    }
    aligns = [torch.nn.Conv2d(level.student_channels, level.teacher_channels, 1) for level in levels]
    boxes = ImageObjects(torch.tensor([[0.3, 0.3, 0.2, 0.4], [0.7, 0.6, 0.5, 0.5]]))
    canvas = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    image = LabelledImage("a$b$.jpg", canvas, boxes, LABELS)
    return SimpleNamespace(
        levels=levels,
        teacher=teacher,
        students=students,
        aligns=aligns,
        image=image,
        attention=compare_levels(levels, teacher, students, image.foreground, AttentionSettings(0.5, "paper"), aligns),
    )


@pytest.fixture
def image_file(tmp_path):
    """A wide black image with a white block and its label file, in Ultralytics' folder layout."""
    image = np.zeros((60, 120, 3), np.uint8)
    image[20:40, 30:90] = 255
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), image)
    (tmp_path / "labels/a.txt").write_text("2 0.5 0.5 0.5 0.333333\n\n")
    return tmp_path / "images/a.png"
