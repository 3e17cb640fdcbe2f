"""A frozen teacher returns the maps that its head would read, and never changes."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch.utils._pytree import tree_flatten
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import profile_ops

from fgd_yolo.neck import NeckHook
from fgd_yolo.task_table import TASKS
from fgd_yolo.training.teachers.teacher import FrozenTeacher, SideBySide
from fgd_yolo.ultralytics import load_model
from fixtures import narrow_yaml

CPU = torch.device("cpu")


def test_maps_are_those_that_the_complete_teachers_head_reads(teacher_pt):
    complete, _ = load_model(teacher_pt)
    image = torch.rand(2, 3, 96, 64)
    hook = NeckHook(complete)
    with torch.no_grad():
        complete(image)
    expected = hook.pop()
    maps = FrozenTeacher(load_model(teacher_pt)[0], CPU)(image)
    assert [m.shape for m in maps] == [m.shape for m in expected]
    # Fusing a batch norm into its convolution reorders float32 sums, so the maps agree to rounding only.
    for actual, exact in zip(maps, expected, strict=True):
        assert (actual - exact).abs().max() <= 1e-4 * exact.abs().max()


def test_the_head_is_cut_off_and_nothing_needs_a_gradient(teacher_pt):
    complete, _ = load_model(teacher_pt)
    count = sum(p.numel() for p in complete.parameters())
    head = sum(p.numel() for p in complete.model[-1].parameters())
    teacher = FrozenTeacher(complete, CPU)
    assert sum(p.numel() for p in teacher.model.parameters()) <= count - head
    maps = teacher(torch.rand(1, 3, 64, 64, requires_grad=True))
    assert not any(m.requires_grad for m in maps) and not any(p.requires_grad for p in teacher.model.parameters())
    assert not teacher.model.training


def test_maps_can_be_saved_for_a_backward_pass(teacher_pt):
    teacher = FrozenTeacher(load_model(teacher_pt)[0], CPU)
    weight = torch.ones(1, requires_grad=True)
    (teacher(torch.rand(1, 3, 64, 64))[0] * weight).sum().backward()
    assert weight.grad is not None


def test_a_teacher_with_a_larger_stride_sees_a_padded_image_and_returns_maps_that_fit(tmp_path):
    YOLO("yolov8n-p6.yaml").save(tmp_path / "p6.pt")
    teacher = FrozenTeacher(load_model(tmp_path / "p6.pt")[0], CPU)
    image = torch.rand(1, 3, 96, 160)
    maps = teacher(image)
    assert [m.shape[2:] for m in maps] == [(12, 20), (6, 10), (3, 5), (2, 3)]
    padded = torch.full((1, 3, 128, 192), 114 / 255)
    padded[..., :96, :160] = image
    torch.testing.assert_close(maps[0], teacher(padded)[0][..., :12, :20])


def test_the_memory_profile_of_ultralytics_can_run_the_pair(joined):
    pair = SideBySide(_detached_student(joined), [joined.distiller.teachers[0].frozen])
    (result,) = profile_ops([torch.empty(1, 3, 64, 64)], pair, n=1, device=CPU, max_num_obj=1)
    assert result is not None


def test_the_memory_profile_runs_a_teacher_of_a_larger_stride():
    student, teacher = (DetectionModel(f"{name}.yaml", verbose=False) for name in ("yolov8n", "yolov8n-p6"))
    pair = SideBySide(student, [FrozenTeacher(teacher, CPU)])
    _, (maps,) = pair(torch.rand(1, 3, 96, 96))
    assert [neck_map.shape[-1] for neck_map in maps] == [12, 6, 3, 2]


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_the_memory_profile_includes_the_backward_pass_of_each_task(task, tmp_path):
    file = narrow_yaml(tmp_path / "narrow.yaml", 0.125, task)
    student, teacher = (TASKS[task].model(str(file), verbose=False) for _ in range(2))
    pair = SideBySide(student, [FrozenTeacher(teacher, CPU)]).train()
    (result,) = profile_ops([torch.empty(1, 3, 64, 64)], pair, n=1, device=CPU, max_num_obj=1)
    assert result[4] > 0, "the time of the backward pass; nan if the outputs cannot be summed"


def test_side_by_side_runs_both_and_trains_the_student_alone(joined):
    """As Ultralytics' memory profile uses it: a copy in train mode, all outputs summed, backward."""
    pair = deepcopy(SideBySide(_detached_student(joined), [joined.distiller.teachers[0].frozen])).train()
    ran = []
    for name, model in (("student", pair.student), ("teacher", pair.teachers[0])):
        model.model[0].register_forward_hook(lambda *_, name=name: ran.append(name))
    outputs, _ = tree_flatten(pair(torch.rand(2, 3, 64, 64)))
    sum(output.sum() for output in outputs if isinstance(output, torch.Tensor)).backward()
    assert sorted(ran) == ["student", "teacher"]
    assert any(p.grad is not None for p in pair.student.parameters())
    assert all(p.grad is None for p in pair.teachers.parameters())


def _detached_student(joined):
    joined.loss_hook.detach()
    return joined.student
