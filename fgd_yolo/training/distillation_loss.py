"""`DistillationLoss`: the methods that compare feature maps, for the training loop of any detector with a pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from fgd_yolo.config import FGDConfig, load_recipe, method_names
from fgd_yolo.errors import UsageError
from fgd_yolo.methods import METHODS, build_level_loss
from fgd_yolo.text import counted
from fgd_yolo.training.step.gradient_ratio import GradientRatio, gradient_square

Maps = Sequence[Tensor] | Mapping[str, Tensor]


class DistillationLoss(nn.Module):
    """Distillation terms between the pyramids of a student and its teacher, for any detector in PyTorch.

    It has trained parts (alignments, context blocks): give its parameters to the optimizer beside the student's, and
    move it to the device of the maps.

    Convention:
        Both pyramids see the same padded images. Levels are paired by their order, and the maps of a pair have the same
        grid. A term is summed over the levels and averaged over the images. It contains its weight and, unless
        `ratio` is None, the gain that keeps the gradient of all terms at `ratio` times that of the detection loss, both
        at the student's maps. The gain is measured in training, on every `measure_every`-th batch with boxes;
        it follows by at most a factor of 2. It is part of `state_dict()`. Terms of weight 0 are left out.

    Args:
        student_channels: C of the student's maps: one number for all levels, or one for each.
        teacher_channels: C of the teacher's maps, likewise.
        method: name of a method that compares maps, or several joined with `+`; by default that of the recipe, or fgd.
        recipe: name or file of a recipe; its `features` are the defaults of the options. `paper-retinanet` has
            the fixed weights that the authors of FGD use for RetinaNet.
        levels: number of levels; needed if both channels are one number.
        measure_every: batches between two measurements of the gradient ratio.
        options: options of the method, `features.*` without the prefix, such as `scale="paper"` or `ratio=None`.

    Raises:
        UsageError: an unknown method, recipe or option, or a wrong number of levels.

    Examples:
        >>> loss = DistillationLoss(64, 256, "cwd", levels=2, ratio=None)
        >>> student_maps = [torch.zeros(1, 64, 8, 8), torch.zeros(1, 64, 4, 4)]
        >>> teacher_maps = [torch.zeros(1, 256, 8, 8), torch.zeros(1, 256, 4, 4)]
        >>> list(loss(student_maps, teacher_maps, None, (64, 64)))
        ['channel_loss']
    """

    def __init__(
        self,
        student_channels: int | Sequence[int],
        teacher_channels: int | Sequence[int],
        method: str | None = None,
        *,
        recipe: str | None = None,
        levels: int | None = None,
        measure_every: int = 10,
        **options: Any,
    ):
        super().__init__()
        config = _configuration(method, recipe, options)
        self.method, self.options = config.method, config.features
        self.channels = _channels_of_levels(student_channels, teacher_channels, levels)
        self.levels = nn.ModuleList(
            build_level_loss(*channels, config.feature_methods, self.options) for channels in self.channels
        )
        self.ratio = GradientRatio(self.options.group, self.options.ratio, every=measure_every, maximum=inf)

    def forward(
        self,
        student_maps: Maps,
        teacher_maps: Maps,
        boxes: Sequence[Tensor] | None,
        image_size: tuple[int, int],
        *,
        detection_loss: Tensor | None = None,
        scores: Maps | None = None,
        amp_scale: float = 1.0,
    ) -> dict[str, Tensor]:
        """Compare two pyramids of the same images.

        Args:
            student_maps: the maps that the student's heads read, not detached: one (B, C, H, W) per level, in a
                sequence or in a mapping such as torchvision's FPN returns.
            teacher_maps: likewise, in the order of the student's levels; gets no gradient.
            boxes: one (n, 4) for each image: x1, y1, x2, y2 in pixels of the padded image; n may be 0. None for a
                method that needs no boxes.
            image_size: height and width of the padded images in pixels.
            detection_loss: the student's own loss on this batch, a scalar; needed in training unless `ratio` is None.
            scores: the teacher's largest class probability in each cell, one (B, H, W) per level, for a method that
                needs them.
            amp_scale: factor of the gradient scaler, `scaler.get_scale()`, in a training with float16: without it the
                small gradients at the maps vanish, and the gain is measured wrong.

        Returns:
            The terms by the names of their loss items, such as `fg_loss`: scalars to be added to the detection loss.

        Raises:
            UsageError: maps, boxes or scores disagree in number of levels, batch size, grid, channels or device, boxes
                are not x1, y1, x2, y2 in pixels of the padded image, or something that the method needs is missing.
        """
        students, teachers = _by_level(student_maps), _by_level(teacher_maps)
        self._check_maps(students, teachers)
        first = next(iter(students.values()))
        if boxes is None and not self.options.needs_boxes:
            boxes = [first.new_zeros(0, 4)] * len(first)
        _check_boxes(boxes, first, image_size, self.method)
        cell_scores = self._scores_of_levels(scores, students)
        objects = _fractions(boxes, image_size), _image_index(boxes)
        per_level = [
            loss(student, teacher, *objects, None, cells)
            for loss, student, teacher, cells in zip(
                self.levels, students.values(), teachers.values(), cell_scores, strict=True
            )
        ]
        totals = [sum(terms) for terms in zip(*per_level, strict=True)]
        terms = {item: total for (item, weight), total in zip(self.weights.items(), totals, strict=True) if weight}
        if self.training and terms:
            representative = not self.options.needs_boxes or any(map(len, boxes))
            self._measure(sum(terms.values()), detection_loss, list(students.values()), representative, amp_scale)
        return {item: self.ratio.scale(term) for item, term in terms.items()}

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term by the name of its loss item."""
        return self.options.weights

    def get_extra_state(self) -> dict:
        """Return the state of the gain, plain numbers, for `state_dict`."""
        return self.ratio.state_dict()

    def set_extra_state(self, state: dict) -> None:
        """Restore the state of the gain."""
        self.ratio.load_state_dict(state)

    def _measure(
        self, total: Tensor, detection_loss: Tensor | None, maps: list[Tensor], representative: bool, amp_scale: float
    ) -> None:
        """Update the gain, if it is due and this batch is representative."""
        if self.ratio.target is None:
            return
        if detection_loss is None:
            raise UsageError(
                f"ratio is {self.ratio.target:g}, which is relative to the detection loss: give detection_loss, "
                "or build the loss with ratio=None for fixed weights"
            )
        if representative and self.ratio.due:
            detection = 0.0
            if all(level.requires_grad for level in maps):
                detection = gradient_square(detection_loss, maps, amp_scale).sqrt()
            if detection == 0:
                raise UsageError(
                    "detection_loss has no gradient at student_maps: give the maps that the student's heads read, in "
                    "training mode and not detached"
                )
            self.ratio.update(gradient_square(total, maps, amp_scale).sqrt(), detection)
        self.ratio.batches += representative

    def _scores_of_levels(self, scores: Maps | None, students: dict[str, Tensor]) -> list[Tensor | None]:
        """Return the scores of each level, None for a method that needs none."""
        if not self.levels[0].needs_scores:
            return [None] * len(students)
        given = [] if scores is None else list(_by_level(scores).values())
        wanted = [(len(level), *level.shape[2:]) for level in students.values()]
        shapes = [tuple(level.shape) for level in given]
        if shapes != wanted:
            raise UsageError(
                f"{self.method} needs scores of the shapes {wanted}, one for each level of the student, got "
                f"{shapes}: give the teacher's largest class probability in each cell"
            )
        parts = {f"the scores of level {name}": cells for name, cells in zip(students, given, strict=True)}
        _check_devices({"the student's map": next(iter(students.values())), **parts})
        return given

    def _check_maps(self, students: dict[str, Tensor], teachers: dict[str, Tensor]) -> None:
        """Refuse pyramids that do not belong together, or not to this loss."""
        for whose, maps in (("student", students), ("teacher", teachers)):
            if len(maps) != len(self.levels):
                raise UsageError(
                    f"the {whose} has {counted(len(maps), 'map')} ({', '.join(maps)}), but the loss was "
                    f"built for {len(self.levels)} levels: give as many, or build it with levels={len(maps)}"
                )
        for (name, student), teacher, channels in zip(students.items(), teachers.values(), self.channels, strict=True):
            _check_level(name, student, teacher, channels)
        parts = {f"level {name}: the student's map": level for name, level in students.items()}
        parts |= {f"level {name}: the teacher's map": level for name, level in teachers.items()}
        parts |= {f"the loss, its {name},": parameter for name, parameter in self.named_parameters()}
        _check_devices(parts)


def _configuration(method: str | None, recipe: str | None, options: Mapping[str, Any]) -> FGDConfig:
    """Return the options of methods, completed by those of a recipe."""
    if "teacher" in options:
        raise UsageError("teacher is an option of distill(): here the maps of the teacher are given, so leave it out")
    base = FGDConfig(method="fgd") if recipe is None else load_recipe(recipe).config
    names = method_names(method or base.method)
    others = [name for name in names if name not in METHODS]
    if others or not names:
        named = "+".join(others) or method or base.method
        raise UsageError(f"method {named} compares no feature maps: choose from {', '.join(METHODS)}")
    if recipe is not None and names != base.methods:
        raise UsageError(f"recipe {recipe} has options of {base.method}, not of {method}: leave out one of them")
    return FGDConfig(method="+".join(names), features={**base.features.given, **options})


def _channels_of_levels(
    student: int | Sequence[int], teacher: int | Sequence[int], levels: int | None
) -> list[tuple[int, int]]:
    """Return the channels of student and teacher on each level."""
    counts = {
        "levels": levels,
        "student_channels": None if isinstance(student, int) else len(student),
        "teacher_channels": None if isinstance(teacher, int) else len(teacher),
    }
    given = {name: count for name, count in counts.items() if count is not None}
    if not given:
        raise UsageError(
            f"student_channels={student} and teacher_channels={teacher} leave the number of levels open: give levels=, "
            "or one number per level"
        )
    if len(set(given.values())) > 1 or 0 in given.values():
        found = ", ".join(f"{count} from {name}" for name, count in given.items())
        raise UsageError(f"the number of levels must be one number above 0, got {found}: make them equal")
    count = next(iter(given.values()))
    students, teachers = ([side] * count if isinstance(side, int) else list(side) for side in (student, teacher))
    return list(zip(students, teachers, strict=True))


def _by_level(maps: Maps) -> dict[str, Tensor]:
    return {str(name): level for name, level in (maps.items() if isinstance(maps, Mapping) else enumerate(maps))}


def _check_level(name: str, student: Tensor, teacher: Tensor, channels: tuple[int, int]) -> None:
    """Refuse two maps whose channels, batch or grid are not what the comparison needs."""
    for whose, given, wanted in zip(("student", "teacher"), (student, teacher), channels, strict=True):
        if given.ndim != 4 or given.shape[1] != wanted:
            raise UsageError(
                f"level {name}: the {whose}'s map is {tuple(given.shape)}, but the loss was built for "
                f"(B, {wanted}, H, W): build it with the channels of the {whose}'s maps"
            )
    if len(student) != len(teacher):
        raise UsageError(
            f"level {name}: the student's map has {len(student)} images and the teacher's {len(teacher)}: "
            "give both the same padded batch"
        )
    if student.shape[2:] != teacher.shape[2:]:
        raise UsageError(
            f"level {name}: the student's grid is {tuple(student.shape[2:])} and the teacher's "
            f"{tuple(teacher.shape[2:])}: give both the same padded batch, and pair levels of equal stride"
        )


def _check_devices(parts: Mapping[str, Tensor]) -> None:
    """Refuse parts that are not on the device of the first one."""
    first, *others = parts
    device = parts[first].device
    for part in others:
        if parts[part].device != device:
            raise UsageError(
                f"{part} is on {parts[part].device} and {first} on {device}: move one of them with .to('{device}')"
            )


def _check_boxes(boxes: Sequence[Tensor] | None, student_map: Tensor, image_size: tuple[int, int], method: str) -> None:
    """Refuse boxes that do not belong to the images of a map, or are not x1, y1, x2, y2 in their pixels."""
    if boxes is None:
        raise UsageError(f"{method} compares the maps by objects: give boxes, one (n, 4) tensor for each image")
    if isinstance(boxes, Tensor) or len(boxes) != len(student_map):
        raise UsageError(
            f"boxes are {'one tensor' if isinstance(boxes, Tensor) else f'of {len(boxes)} images'} and the maps of "
            f"{len(student_map)} images: give a list with one (n, 4) tensor for each image, (0, 4) for none"
        )
    height, width = image_size
    for image, own in enumerate(boxes):
        if own.ndim != 2 or own.shape[1] != 4:
            raise UsageError(f"boxes of image {image} are {tuple(own.shape)}: they must be (n, 4), x1, y1, x2, y2")
    _check_devices({"the student's map": student_map, **{f"boxes[{image}]": own for image, own in enumerate(boxes)}})
    every = torch.cat([own.detach() for own in boxes])
    if not len(every):
        return
    x1, y1, x2, y2 = every.unbind(dim=1)
    ordered = (x1 <= x2) & (y1 <= y2)  # False for NaN too
    inside = (x1 < width) & (y1 < height) & (x2 > 0) & (y2 > 0)
    right = ordered & inside
    if bool(right.all() & (every.amax() > 1)):
        return
    if right.all():
        raise UsageError(
            f"no box reaches beyond the first pixel of the padded image of {width} x {height} px, as if they were "
            "fractions: multiply them by its width and height"
        )
    row = int((~right).nonzero()[0])
    shown = [round(value, 1) for value in every[row].tolist()]
    image = int(_image_index(boxes)[row])
    if not ordered[row]:
        raise UsageError(
            f"box {shown} of image {image} ends before it begins: boxes must be x1, y1, x2, y2 with x1 <= x2 and "
            "y1 <= y2 (torchvision.ops.box_convert converts other forms)"
        )
    raise UsageError(
        f"box {shown} of image {image} lies outside of the padded image of {width} x {height} px: give boxes in pixels "
        "of the padded image, resized with it, and image_size as (height, width)"
    )


def _fractions(boxes: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
    """Return the boxes of all images as x centre, y centre, width, height in fractions of the padded image, (M, 4)."""
    every = torch.cat([own if own.dtype == torch.float64 else own.float() for own in boxes])
    height, width = image_size
    return box_convert(every, "xyxy", "cxcywh") / every.new_tensor([width, height, width, height])


def _image_index(boxes: Sequence[Tensor]) -> Tensor:
    """Return the image that each box belongs to, (M,)."""
    counts = torch.tensor([len(own) for own in boxes], device=boxes[0].device)
    return torch.arange(len(boxes), device=boxes[0].device).repeat_interleave(counts)
