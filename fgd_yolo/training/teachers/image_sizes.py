"""Teachers that see larger images than their student: the batch of the student is shrunk from theirs."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import gcd, lcm
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fgd_yolo.errors import UsageError

TEACHER_IMAGES = "teacher_img"
"""Key of a batch with the images that the teachers get; without it they get the student's, `img`."""

_MASKS = ("masks", "sem_masks")  # (objects or images, h, w), at a fraction of the size of the images


class ImageSizes(NamedTuple):
    """Sides of the images that student and teachers get, in pixels.

    Args:
        student: `imgsz` of the training, also that of validation, export and plots.
        teacher: `teacher_imgsz`, at least as large.
    """

    student: int
    teacher: int

    @property
    def scale(self) -> Fraction:
        """The teachers' side over the student's."""
        return Fraction(self.teacher, self.student)

    def batch_stride(self, student_stride: int, teacher_stride: int) -> int:
        """Return the number of which the sides of a batch must be multiples, before it is shrunk.

        They are then multiples of the teacher's stride, and of the student's after shrinking.
        """
        up, down = self.scale.numerator, self.scale.denominator
        return up * lcm(teacher_stride // gcd(teacher_stride, up), student_stride // gcd(student_stride, down))

    def shrink(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch with images and masks of the student's size; all else in it is in fractions of the images.

        Convention:
            A pixel of an image is the mean of the pixels that it covers. Masks hold numbers of objects, so a pixel has
            the number at its centre; they get the size that Ultralytics gives them at the student's image size.

        Args:
            batch: batch of Ultralytics' train loader at the teachers' size: `img` (B, C, H, W).
        """
        height, width = batch["img"].shape[2:]
        small = [round(side / self.scale) for side in (height, width)]
        shrunk = {"img": shrink_images(batch["img"], small)}
        for name in _MASKS:
            if name in batch:
                ratio = round(height / batch[name].shape[1])  # Ultralytics' mask_ratio
                shrunk[name] = pick_pixels(batch[name], [side // ratio for side in small])
        return {**batch, **shrunk}

    def enlarged(self, images: Tensor, student_images: Tensor) -> Tensor:
        """Return the teachers' images at the scale of the student's, which `multi_scale` may have resized.

        Args:
            images: (B, C, H, W) of the train loader.
            student_images: (B, C, h, w), shrunk and then resized.
        """
        wanted = [round(side * self.scale) for side in student_images.shape[2:]]
        if wanted == list(images.shape[2:]):
            return images
        return F.interpolate(images, size=wanted, mode="bilinear", align_corners=False)


def shrink_images(images: Tensor, size: list[int]) -> Tensor:
    """Return images (B, C, H, W) at a smaller size (h, w), in float32; each pixel is the mean of those it covers."""
    return F.interpolate(images.float(), size=size, mode="area")


def pick_pixels(masks: Tensor, size: list[int]) -> Tensor:
    """Return masks (N, h, w) at another size: a pixel has the value at its centre, so no new values appear."""
    for dim, side in enumerate(size, start=1):
        old = masks.shape[dim]
        # The pixel that holds the centre, in integers: (i + 1/2) * old / side.
        masks = masks.index_select(dim, (2 * torch.arange(side, device=masks.device) + 1) * old // (2 * side))
    return masks


def check_teacher_imgsz(teacher_imgsz: int, imgsz: int, strides: Mapping[str, int]) -> None:
    """Check the image size of the teachers.

    Args:
        teacher_imgsz: side of the teachers' images in pixels.
        imgsz: that of the student's.
        strides: largest stride of each teacher, by its name.

    Raises:
        UsageError: it is below the student's, or a stride does not divide it.
    """
    if teacher_imgsz < imgsz:
        raise UsageError(
            f"teacher_imgsz={teacher_imgsz} is below the student's imgsz={imgsz}: give a larger one, or leave it out"
        )
    for name, stride in strides.items():
        if teacher_imgsz % stride:
            near = -(-teacher_imgsz // stride) * stride
            raise UsageError(
                f"teacher_imgsz={teacher_imgsz} is not a multiple of {stride}, the largest stride of teacher {name}: "
                f"use {near}"
            )
