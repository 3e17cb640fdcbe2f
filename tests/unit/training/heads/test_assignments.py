"""What is recorded of the assigner of the student's loss, against plain loops over anchors and boxes."""

from __future__ import annotations

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import RTDETRDetectionModel

from fgd_yolo.neck import HeadHook
from fgd_yolo.task_table import task_of_yaml
from fgd_yolo.training.heads.assignments import record_assignments
from fgd_yolo.training.heads.head_outputs import read_outputs
from fgd_yolo.ultralytics import read_architecture

LABELS = {0: [(0, 0.5, 0.4, 0.5, 0.6), (2, 0.3, 0.7, 0.4, 0.3)], 1: [(1, 0.6, 0.6, 0.35, 0.7)], 2: []}  # by image


def model(name: str):
    torch.manual_seed(0)
    student = task_of_yaml(read_architecture(name)).model(name, nc=3, verbose=False).train()
    student.args = get_cfg()
    return student


def batch(labels=LABELS) -> dict[str, torch.Tensor]:
    """A batch of 64 px images with labels for every task."""
    rows = [(image, *label) for image, own in labels.items() for label in own]
    values = torch.tensor(rows, dtype=torch.float32).view(-1, 6)
    M = len(values)
    return {
        "img": torch.rand(len(labels), 3, 64, 64, generator=torch.Generator().manual_seed(1)),
        "batch_idx": values[:, 0],
        "cls": values[:, 1:2],
        "bboxes": values[:, 2:],
        "masks": torch.ones(len(labels), 16, 16),
        "keypoints": torch.full((M, 17, 3), 0.5),
    }


def plain_iou(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    overlap = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return overlap / (sum(areas) - overlap)


def outputs_and_assignments(student, images):
    """Return the head's outputs and what was recorded, both by branch."""
    head_hook = HeadHook(student)
    with record_assignments(student) as recorded:
        student.loss(images)
    outputs = head_hook.pop()
    outputs = outputs if "one2many" in outputs else {"one2many": outputs}
    assert recorded.keys() == outputs.keys()
    return outputs, recorded


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml"])
def test_matches_and_candidates_equal_what_the_loss_assigns(name):
    student, images = model(name), batch()
    outputs, recorded = outputs_and_assignments(student, images)
    for branch, own in outputs.items():
        criterion = getattr(student.criterion, branch, student.criterion)
        (assigned, number, target_boxes, anchors, strides), *_ = criterion.get_assigned_targets_and_loss(own, images)
        boxes = criterion.bbox_decode(anchors, own["boxes"].detach().transpose(1, 2)) * strides
        assert assigned.any() and not assigned[2].any()
        for image, labels in LABELS.items():
            for a, (x, y) in enumerate((anchors * strides).tolist()):
                matched, candidates = (recorded[branch][kind][image, :, a] for kind in ("matched", "candidates"))
                wanted = torch.zeros(3)
                if assigned[image, a]:
                    overlap = plain_iou(boxes[image, a].tolist(), target_boxes[image, a].tolist())
                    wanted[labels[number[image, a]][0]] = overlap
                torch.testing.assert_close(matched, wanted, rtol=1e-4, atol=1e-5)
                inside = {
                    label for label, cx, cy, w, h in labels if abs(x / 64 - cx) < w / 2 and abs(y / 64 - cy) < h / 2
                }
                assert set(candidates.nonzero().flatten().tolist()) == inside


@pytest.mark.parametrize("name", ["yolov8n-obb.yaml", "yolo26n-obb.yaml", "yolo26n-seg.yaml", "yolo26n-pose.yaml"])
def test_every_task_matches_candidates_of_its_labels(name):
    student, images = model(name), batch()
    if "obb" in name:
        images["bboxes"] = torch.cat([images["bboxes"], torch.full((3, 1), 0.3)], dim=1)
    if "seg" in name:
        images["sem_masks"] = torch.zeros(3, 16, 16)
    outputs, recorded = outputs_and_assignments(student, images)
    for branch, own in outputs.items():
        read = read_outputs(student.model[-1], {**own, **recorded[branch]}, [0, 2])
        assert read.matched.shape == read.candidates.shape == read.scores.shape == (3, 3, 64 + 4)
        matched = recorded[branch]["matched"]
        assert matched.amax(dim=(1, 2)).bool().tolist() == [True, True, False] and matched.max() <= 1
        assert not matched[0, 1].any() and not matched[1, [0, 2]].any(), "the classes of the labels"
        candidates = recorded[branch]["candidates"]
        assert candidates[matched > 0].all()
        assert not candidates[2].any() and not candidates[1, [0, 2]].any(), "rows that fill up the labels are no boxes"


@pytest.mark.parametrize("labels", [{0: [], 1: []}, {0: []}], ids=["two images", "one image"])
def test_without_labels_nothing_is_matched(labels):
    student = model("yolov8n.yaml")
    with record_assignments(student) as recorded:
        student.loss(batch(labels))
    own = recorded["one2many"]
    assert own["matched"].shape == own["candidates"].shape == (len(labels), 3, 84)
    assert not own["matched"].any() and not own["candidates"].any()


def test_the_loss_is_the_same_and_keeps_no_hook():
    plain, recorded = model("yolov8n.yaml"), model("yolov8n.yaml")
    wanted, _ = plain.loss(batch())
    with record_assignments(recorded):
        loss, _ = recorded.loss(batch())
    assert torch.equal(loss, wanted)
    assert not recorded.criterion.assigner._forward_hooks


def test_a_loss_without_an_assigner_records_nothing():
    student = RTDETRDetectionModel.__new__(RTDETRDetectionModel)
    torch.nn.Module.__init__(student)
    student.criterion = torch.nn.Identity()
    with record_assignments(student) as recorded:
        pass
    assert recorded == {}
