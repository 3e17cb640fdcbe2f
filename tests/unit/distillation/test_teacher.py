"""A frozen teacher gives the maps its own head would read, and never changes."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch.utils._pytree import tree_flatten

from fgd_yolo.distillation.taps import NeckTap
from fgd_yolo.distillation.teacher import FrozenTeacher, SideBySide
from fgd_yolo.host import load_detector


def test_maps_are_those_that_the_whole_teachers_head_reads(teacher_pt):
    whole, _ = load_detector(teacher_pt)
    image = torch.rand(2, 3, 96, 64)
    tap = NeckTap(whole)
    with torch.no_grad():
        whole(image)
    wanted = tap.take()
    maps = FrozenTeacher(load_detector(teacher_pt)[0], torch.device("cpu"))(image)
    assert [m.shape for m in maps] == [m.shape for m in wanted]
    # Fusing a batch norm into its convolution reorders float32 sums, so the maps agree to rounding only.
    for ours, theirs in zip(maps, wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_the_head_is_cut_off_and_nothing_needs_a_gradient(teacher_pt):
    whole, _ = load_detector(teacher_pt)
    count = sum(p.numel() for p in whole.parameters())
    head = sum(p.numel() for p in whole.model[-1].parameters())
    teacher = FrozenTeacher(whole, torch.device("cpu"))
    assert sum(p.numel() for p in teacher.model.parameters()) <= count - head
    maps = teacher(torch.rand(1, 3, 64, 64, requires_grad=True))
    assert not any(m.requires_grad for m in maps) and not any(p.requires_grad for p in teacher.model.parameters())
    assert not teacher.model.training


def test_maps_can_be_kept_for_a_backward_pass(teacher_pt):
    teacher = FrozenTeacher(load_detector(teacher_pt)[0], torch.device("cpu"))
    weight = torch.ones(1, requires_grad=True)
    (teacher(torch.rand(1, 3, 64, 64))[0] * weight).sum().backward()
    assert weight.grad is not None


def test_side_by_side_runs_both_and_trains_the_student_alone(joined):
    """As the host's memory profile uses it: a copy in train mode, all outputs summed, backward."""
    pair = deepcopy(SideBySide(_bare(joined), joined.distiller.teacher.model)).train()
    ran = []
    for name in ("student", "teacher"):
        getattr(pair, name).model[0].register_forward_hook(lambda *_, name=name: ran.append(name))
    outputs, _ = tree_flatten(pair(torch.rand(2, 3, 64, 64)))
    sum(output.sum() for output in outputs if isinstance(output, torch.Tensor)).backward()
    assert sorted(ran) == ["student", "teacher"]
    assert any(p.grad is not None for p in pair.student.parameters())
    assert all(p.grad is None for p in pair.teacher.parameters())


def _bare(joined):
    joined.seam.detach()
    return joined.student
