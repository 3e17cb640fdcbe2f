"""The student's batch is the teachers' batch, shrunk: means of pixels, and masks without new values."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.errors import UsageError
from fgd_yolo.training.teachers.image_sizes import ImageSizes, check_teacher_imgsz, pick_pixels, shrink_images


def mean_of_squares(images: torch.Tensor, factor: int) -> torch.Tensor:
    """Return images in which each pixel is the mean of a square of pixels, in plain loops."""
    B, C, H, W = images.shape
    result = torch.zeros(B, C, H // factor, W // factor)
    for b in range(B):
        for c in range(C):
            for y in range(H // factor):
                for x in range(W // factor):
                    total = 0.0
                    for dy in range(factor):
                        for dx in range(factor):
                            total += float(images[b, c, factor * y + dy, factor * x + dx])
                    result[b, c, y, x] = total / factor**2
    return result


@pytest.mark.parametrize("factor", [2, 4])
def test_a_shrunken_pixel_is_the_mean_of_the_pixels_it_covers(factor):
    images = torch.randint(0, 256, (2, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shrunk = shrink_images(images, [16 // factor, 24 // factor])
    assert shrunk.dtype == torch.float32, "means of pixels are no integers"
    assert torch.allclose(shrunk, mean_of_squares(images, factor), atol=1e-4)


@pytest.mark.parametrize(("old", "new"), [(16, 8), (16, 4), (12, 8), (9, 5)])
def test_a_mask_pixel_has_the_value_at_its_centre(old, new):
    masks = torch.randint(0, 300, (2, old, old), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    picked = pick_pixels(masks, [new, new])
    assert picked.dtype == masks.dtype and picked.shape == (2, new, new)
    for y in range(new):
        for x in range(new):
            at = int((y + 0.5) * old / new), int((x + 0.5) * old / new)
            assert torch.equal(picked[:, y, x], masks[:, at[0], at[1]])


@pytest.mark.parametrize(("teacher", "height", "width"), [(128, 128, 128), (128, 64, 128), (96, 96, 96)])
def test_the_students_batch_is_what_ultralytics_would_make_at_the_students_size(teacher, height, width):
    sizes = ImageSizes(64, teacher)
    boxes = torch.rand(3, 4)
    batch = {
        "img": torch.zeros(2, 3, height, width),
        "masks": torch.ones(2, height // 4, width // 4),
        "bboxes": boxes,
        "im_file": ("a", "b"),
    }
    shrunk = sizes.shrink(batch)
    h, w = height * 64 // teacher, width * 64 // teacher
    assert shrunk["img"].shape == (2, 3, h, w)
    assert shrunk["masks"].shape == (2, h // 4, w // 4), "masks cover the image at Ultralytics' mask_ratio"
    assert shrunk["bboxes"] is boxes and shrunk["im_file"] == ("a", "b")
    assert batch["img"].shape == (2, 3, height, width), "the teachers' images must stay"


def test_the_teachers_images_follow_a_batch_that_multi_scale_has_resized():
    sizes, images = ImageSizes(64, 128), torch.rand(1, 3, 128, 64)
    assert sizes.enlarged(images, torch.zeros(1, 3, 64, 32)) is images
    assert sizes.enlarged(images, torch.zeros(1, 3, 96, 64)).shape == (1, 3, 192, 128)


@pytest.mark.parametrize("student_stride", [32, 64])
@pytest.mark.parametrize("teacher_stride", [32, 64])
@pytest.mark.parametrize("sides", [(320, 640), (320, 480), (320, 320), (192, 576), (640, 1280)])
def test_a_batch_of_whole_strides_has_whole_strides_for_teacher_and_student(sides, student_stride, teacher_stride):
    sizes = ImageSizes(*sides)
    side = sizes.batch_stride(student_stride, teacher_stride)
    fits = [n for n in range(1, 4000) if n % teacher_stride == 0 and (n / sizes.scale) % student_stride == 0]
    assert fits[0] == side and all(n % side == 0 for n in fits)


def test_an_image_size_that_cannot_work_is_refused_with_one_that_does():
    check_teacher_imgsz(640, 320, {"a.pt": 32, "p6.pt": 64})
    check_teacher_imgsz(320, 320, {"a.pt": 32})
    with pytest.raises(UsageError, match=r"teacher_imgsz=160 is below the student's imgsz=320: give a larger"):
        check_teacher_imgsz(160, 320, {"a.pt": 32})
    with pytest.raises(UsageError, match=r"teacher_imgsz=672 is not a multiple of 64, .* teacher p6.pt: use 704"):
        check_teacher_imgsz(672, 320, {"a.pt": 32, "p6.pt": 64})
