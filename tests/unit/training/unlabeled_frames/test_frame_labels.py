"""The objects that teachers find on frames, as labels of a batch."""

from types import SimpleNamespace

import pytest
import torch

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import UsageError
from fgd_yolo.task_table import LABEL_SCORES
from fgd_yolo.training.teachers.teacher import Teacher
from fgd_yolo.training.unlabeled_frames.frame_labels import FrameLabels, frames_of, labelled_part
from fgd_yolo.training.unlabeled_frames.frame_objects import FrameObjects


def student(classes: int = 3):
    """What is read of a live student."""
    head = SimpleNamespace(nc=classes, stride=torch.tensor([8.0, 16.0]))
    return SimpleNamespace(model=[head])


def teacher(known=None, labels_frames=True) -> Teacher:
    return Teacher("teacher.pt", None, [], known, labels_frames=labels_frames)


def labels(teachers=None, **options) -> FrameLabels:
    arguments = SimpleNamespace(overlap_mask=True)
    return FrameLabels([teacher()] if teachers is None else teachers, student(), FGDConfig(**options), arguments)


@pytest.fixture
def batch() -> dict:
    """Four images, of which the second and the last are frames."""
    return {
        "img": torch.zeros(4, 3, 32, 64),
        "unlabeled": (False, True, False, True),
        "batch_idx": torch.tensor([0.0, 2.0, 2.0]),
        "cls": torch.tensor([[0.0], [1.0], [2.0]]),
        "bboxes": torch.arange(12.0).reshape(3, 4),
        "host_labels": "of the labelled images alone",
    }


@pytest.fixture
def found() -> FrameObjects:
    return FrameObjects(
        image_index=torch.tensor([1, 1, 3]),
        classes=torch.tensor([2, 0, 1]),
        scores=torch.tensor([0.9, 0.3, 0.7]),
        boxes=torch.full((3, 4), 0.5),
    )


def test_a_class_is_labelled_by_the_first_teacher_that_knows_it():
    teachers = [teacher([2]), teacher([], True), teacher(None, labels_frames=False), teacher([0, 2])]
    own = labels(teachers)
    assert own.classes == {teachers[0]: [2], teachers[3]: [0]}
    assert own.unknown == [1]


def test_without_a_teacher_that_can_label_a_run_is_refused():
    with pytest.raises(UsageError, match="no teacher can label the unlabelled frames"):
        labels([teacher(labels_frames=False)])


def test_certain_objects_become_labels_in_the_order_of_the_images(batch, found):
    merged = labels().with_targets(batch, found)
    assert merged["batch_idx"].tolist() == [0, 1, 2, 2, 3]
    assert merged["cls"].flatten().tolist() == [0, 2, 1, 2, 1]
    assert merged["bboxes"][[0, 2, 3]].tolist() == batch["bboxes"].tolist()
    assert "host_labels" not in merged and len(batch["cls"]) == 3


def test_all_objects_are_foreground_by_their_score(batch, found):
    merged = labels().with_foreground(batch, found)
    assert merged["batch_idx"].tolist() == [0, 1, 1, 2, 2, 3]
    assert merged[LABEL_SCORES].tolist() == pytest.approx([1, 0.9, 0.3, 1, 1, 0.7])


def test_uncertain_objects_are_neither_object_nor_background(batch, found):
    regions = labels([teacher([0, 1])]).ignored(batch, found)
    assert regions.image_index.tolist() == [1] and regions.frames == [1, 3] and regions.unknown == [2]


def test_masks_are_painted_smaller_over_larger_beside_those_of_labelled_images(batch, found):
    batch |= {"masks": torch.zeros(4, 8, 16), "sem_masks": torch.zeros(4, 8, 16)}
    batch["masks"][0, 0, 0] = 1
    masks = torch.zeros(3, 8, 16, dtype=torch.bool)
    masks[0, :4, :4] = masks[1, :2, :2] = masks[2, 7, 7] = True
    merged = labels().with_foreground(batch, found._replace(masks=masks))
    assert merged["masks"][0, 0, 0] == 1 and not batch["masks"][1].any()
    assert merged["masks"][1, :4, :4].tolist() == [[2, 2, 1, 1], [2, 2, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert merged["sem_masks"][1, :4, 3].tolist() == [2] * 4 and merged["sem_masks"][1, 0, 0] == 0
    assert merged["masks"][3].sum() == 1


def test_keypoints_join_those_of_a_batch_that_has_none(batch, found):
    batch |= {"keypoints": torch.empty(0, 3), "batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1)}
    batch["bboxes"] = torch.zeros(0, 4)
    merged = labels().with_foreground(batch, found._replace(keypoints=torch.rand(3, 5, 3)))
    assert merged["keypoints"].shape == (3, 5, 3)


def test_the_labelled_part_has_its_images_numbered_anew(batch):
    preds = {"one2many": {"boxes": torch.arange(4.0), "feats": [torch.arange(4.0)[:, None]]}}
    part, own, counts = labelled_part(batch | {"masks": torch.arange(4.0)[:, None, None]}, preds, True)
    assert counts and len(part["img"]) == 2 and part["batch_idx"].tolist() == [0, 1, 1]
    assert own["one2many"]["boxes"].tolist() == [0, 2] and own["one2many"]["feats"][0].tolist() == [[0], [2]]
    assert part["masks"].flatten().tolist() == [0, 2]


def test_masks_of_single_objects_stay_with_their_labels(batch):
    batch["batch_idx"] = torch.tensor([0.0, 2.0, 2.0, 2.0])  # as many objects as images
    part, _, _ = labelled_part(batch | {"masks": torch.arange(4.0)[:, None, None]}, torch.arange(4.0), False)
    assert part["masks"].flatten().tolist() == [0, 1, 2, 3] and part["batch_idx"].tolist() == [0, 1, 1, 1]


def test_a_batch_of_frames_alone_has_a_part_that_does_not_count(batch):
    batch |= {"unlabeled": (True,) * 4, "batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1)}
    part, own, counts = labelled_part(batch | {"bboxes": torch.zeros(0, 4)}, torch.arange(4.0), True)
    assert not counts and len(part["img"]) == 1 and own.tolist() == [0]


def test_the_anchors_are_those_of_ultralytics_loss():
    from ultralytics.utils.tal import make_anchors

    maps = [torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 2, 4)]
    points, strides = make_anchors(maps, torch.tensor([8.0, 16.0]), 0.5)
    own = labels().anchors((32, 64), torch.device("cpu"))
    torch.testing.assert_close(own * torch.tensor([64.0, 32.0]), points * strides)


def test_a_batch_without_frames_has_none():
    assert frames_of({"img": torch.zeros(2, 3, 32, 32)}) == []
    assert frames_of({"unlabeled": (False, False)}) == []
