"""The outputs of heads, branch by branch and level by level, as the head terms compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.utils.tal import make_anchors

from fgd_yolo.methods import Predictions, TeacherPredictions
from fgd_yolo.methods.placement import columns_of
from fgd_yolo.training.heads.coarser_outputs import coarser, coarser_valid, joined
from fgd_yolo.training.heads.encoder_outputs import encoder_outputs

BRANCHES = ("one2many", "one2one")  # YOLO10 and YOLO26 have both; the second sends no gradient to the neck


def _prototypes_of_all_levels(head: nn.Module, maps: list[Tensor]) -> Tensor:
    """Return the prototypes of a head that makes them from all neck maps.

    It enlarges coarse maps by whole factors, so maps that were cropped to the image are extended again to one area.
    """
    rows, columns = maps[-1].shape[2:]
    extended = []
    for stride, neck_map in zip(head.stride.tolist(), maps, strict=True):
        factor = round(float(head.stride[-1]) / stride)
        below, right = rows * factor - neck_map.shape[2], columns * factor - neck_map.shape[3]
        extended.append(F.pad(neck_map, (0, right, 0, below), mode="replicate") if below or right else neck_map)
    prototypes = head.proto(extended)
    per_cell = prototypes.shape[2] // extended[0].shape[2]
    return prototypes[..., : maps[0].shape[2] * per_cell, : maps[0].shape[3] * per_cell]


_PROTOTYPES: dict[str, Callable[[nn.Module, list[Tensor]], Tensor]] = {
    "Segment": lambda head, maps: head.proto(maps[0]),
    "Segment26": _prototypes_of_all_levels,
}
"""Prototypes of a head for its neck maps, by the head's class; Ultralytics adds them outside `forward_head`."""

_ANCHOR_OFFSETS: dict[str, Callable[[Tensor], Tensor]] = {
    "Pose": lambda raw: 2 * raw - 0.5,
    "Pose26": lambda raw: raw,
}
"""Offset of a keypoint from its anchor in cells, from the raw output, by the head's class."""


def boxes_and_scores(head: nn.Module, maps: list[Tensor]) -> dict[str, Any]:
    """Return the raw boxes, with their angles, and scores of a head for neck maps, branch by branch, with gradient."""
    kept = ("boxes", "scores", "feats", "angle", "valid")
    return {
        branch: {name: output for name, output in outputs.items() if name in kept}
        for branch, outputs in _forward_branches(head, maps).items()
    }


def _forward_branches(head: nn.Module, maps: list[Tensor]) -> dict[str, Any]:
    if isinstance(head, RTDETRDecoder):
        return {BRANCHES[0]: encoder_outputs(head, maps)}
    outputs = {"one2many": head.forward_head(maps, **head.one2many)}
    if getattr(head, "one2one_cv2", None) is not None:
        outputs["one2one"] = head.forward_head(maps, **head.one2one)
    return outputs


def run_branches(head: nn.Module, maps: list[Tensor]) -> dict[str, Any]:
    """Return the raw outputs of a head for its neck maps, in the format of Ultralytics' forward pass in training."""
    outputs = _forward_branches(head, maps)
    make_prototypes = _PROTOTYPES.get(type(head).__name__)
    if make_prototypes is not None:
        prototypes = make_prototypes(head, maps)
        for branch in outputs.values():
            branch["proto"] = prototypes
    return outputs


class HeadOutputs(NamedTuple):
    """Outputs of a head, and which of its levels are compared.

    Args:
        head: the head.
        outputs: output of a head in training: `boxes`, `scores`, `feats` and those of its task, or one such mapping per
            branch; for RT-DETR that of `encoder_outputs`.
        indices: numbers of the compared levels, finest first.
        known: of a teacher, the numbers of the data's classes that it knows; None for all.
        assignments: of a student, what `record_assignments` has recorded, by branch.
        factor: of a teacher that sees larger images, its cells per side of a student's cell.
    """

    head: nn.Module
    outputs: dict[str, Any]
    indices: Sequence[int]
    known: Sequence[int] | None = None
    assignments: Mapping[str, dict[str, Tensor]] = MappingProxyType({})
    factor: int = 1

    @property
    def branches(self) -> dict[str, dict[str, Any]]:
        """The outputs by branch; a head with one branch has the first of `BRANCHES`."""
        outputs = self.outputs if BRANCHES[0] in self.outputs else {BRANCHES[0]: self.outputs}
        return {branch: {**own, **self.assignments.get(branch, {})} for branch, own in outputs.items()}


def cell_scores(outputs: HeadOutputs, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Return the largest class probability in each cell of the compared levels, (B, H, W) each.

    Only the classes that the teacher knows count; without any, every cell has 1.

    Args:
        outputs: of a teacher.
        grids: (H, W) of each level, to which the teacher's own is resized.
    """
    branch = outputs.branches[BRANCHES[0]]
    cells = _cells(branch)
    by_level = branch["scores"].split(cells, dim=2)
    maps = []
    for index, grid in zip(outputs.indices, grids, strict=True):
        own_grid = branch["feats"][index].shape[2:]
        scores = columns_of(by_level[index], outputs.known)
        best = scores.amax(dim=1).sigmoid() if scores.shape[1] else torch.ones_like(by_level[index][:, 0])
        best = best.unflatten(1, own_grid)
        same = own_grid == torch.Size(grid)
        maps.append(best if same else F.interpolate(best[:, None], size=grid, mode="area")[:, 0])
    return maps


class Branch(NamedTuple):
    """One branch of the student's head, with the same branch of the teachers that have it, by their numbers."""

    student: Predictions
    teachers: dict[int, TeacherPredictions]


def paired_branches(student: HeadOutputs, teachers: Sequence[HeadOutputs]) -> list[Branch]:
    """Return the branches that the student and at least one teacher have."""
    pairs = []
    for branch in BRANCHES:
        taught = {
            number: TeacherPredictions(_for_student(teacher, branch), teacher.known)
            for number, teacher in enumerate(teachers)
            if branch in teacher.branches
        }
        if branch in student.branches and taught:
            own = read_outputs(student.head, student.branches[branch], student.indices)
            pairs.append(_without_invalid(Branch(own, taught), _valid_anchors(branch, [student, *teachers])))
    return pairs


def _valid_anchors(branch: str, heads: Sequence[HeadOutputs]) -> Tensor | None:
    """Return which anchors (A,) of a branch have predictions of all heads; None if no head leaves out any."""
    valid = []
    for head in heads:
        outputs = head.branches.get(branch, {})
        if "valid" in outputs:
            by_level, grids = outputs["valid"].split(_cells(outputs)), _grids(outputs)
            levels = [coarser_valid(by_level[index], grids[index], head.factor) for index in head.indices]
            valid.append(torch.cat(levels))
    return torch.stack(valid).all(dim=0) if valid else None


def _without_invalid(branch: Branch, valid: Tensor | None) -> Branch:
    """Return a branch with the valid anchors alone."""
    if valid is None or valid.all():
        return branch

    def chosen(outputs: Predictions) -> Predictions:
        per_anchor = {name: value for name, value in outputs._asdict().items() if value is not None}
        per_anchor.pop("prototypes", None)
        return outputs._replace(**{name: value[..., valid] for name, value in per_anchor.items()})

    teachers = {
        number: teacher._replace(outputs=chosen(teacher.outputs)) for number, teacher in branch.teachers.items()
    }
    return Branch(chosen(branch.student), teachers)


def _cells(outputs: dict[str, Any]) -> list[int]:
    """Return the number of cells of each level."""
    return [neck_map.shape[2] * neck_map.shape[3] for neck_map in outputs["feats"]]


def _grids(outputs: dict[str, Any]) -> list[tuple[int, int]]:
    """Return rows and columns of each level."""
    return [tuple(neck_map.shape[2:]) for neck_map in outputs["feats"]]


def _for_student(teacher: HeadOutputs, branch: str) -> Predictions:
    """Return the outputs of a branch of a teacher's head for the anchors of the student."""
    outputs = teacher.branches[branch]
    if teacher.factor == 1:
        return read_outputs(teacher.head, outputs, teacher.indices)
    grids = _grids(outputs)
    return joined(
        [
            coarser(read_outputs(teacher.head, outputs, [index]), grids[index], teacher.factor, teacher.known)
            for index in teacher.indices
        ]
    )


def read_outputs(head: nn.Module, outputs: dict[str, Any], indices: Sequence[int]) -> Predictions:
    """Return the decoded outputs of one branch on chosen levels.

    Args:
        head: the head.
        outputs: output of one branch: `boxes`, `scores` and `feats`, those of the head's task, and of a student what
            `record_assignments` has recorded.
        indices: numbers of the levels, finest first.
    """
    cells = _cells(outputs)

    def chosen(name: str) -> Tensor:
        return torch.cat([outputs[name].split(cells, dim=2)[index] for index in indices], dim=2)

    extras: dict[str, Tensor] = {}
    if "angle" in outputs:
        extras["angles"] = chosen("angle")
    if "kpts" in outputs:
        keypoints = chosen("kpts").unflatten(1, tuple(head.kpt_shape))
        extras["keypoints"] = _ANCHOR_OFFSETS[type(head).__name__](keypoints[:, :, :2])
        if keypoints.shape[2] == 3:
            extras["visibility"] = keypoints[:, :, 2]
    if "mask_coefficient" in outputs:
        prototypes = outputs["proto"]  # in training YOLO26 adds semantic logits
        extras["prototypes"] = prototypes[0] if isinstance(prototypes, tuple) else prototypes
        extras["coefficients"] = chosen("mask_coefficient")
        maps = [outputs["feats"][index] for index in indices]
        anchors, strides = make_anchors(maps, [head.stride[index] for index in indices], 0.5)
        extras |= {"anchors": anchors.T, "strides": strides.flatten()}
    extras |= {name: chosen(name) for name in ("matched", "candidates") if name in outputs}
    return Predictions(chosen("boxes"), chosen("scores"), **extras)


def keep_both_branches(head: nn.Module) -> None:
    """Prevent Ultralytics' `fuse` from removing a branch of a head; its convolutions are still fused."""
    head.fuse = lambda: None
