"""The objects on frames are those that the teacher itself detects."""

import pytest
import torch

from fixtures import CLASSES, draw_dataset, narrow_rtdetr, narrow_yaml, save_checkpoint

LOW = 0.05

MODELS = {
    "detect": ("detect", lambda folder: narrow_yaml(folder / "m.yaml", 0.125)),
    "segment": ("segment", lambda folder: narrow_yaml(folder / "m.yaml", 0.125, "segment")),
    "pose": ("pose", lambda folder: narrow_yaml(folder / "m.yaml", 0.125, "pose", kpt_shape=[3, 3])),
    "obb": ("obb", lambda folder: narrow_yaml(folder / "m.yaml", 0.125, "obb")),
    "yolo26": ("detect", lambda folder: "yolo26n.yaml"),
    "yolo26-seg": ("segment", lambda folder: "yolo26n-seg.yaml"),
    "rtdetr": ("detect", lambda folder: narrow_rtdetr(folder / "m.yaml", 0.125)),
}


@pytest.fixture(params=MODELS)
def teacher(request, tmp_path):
    """A teacher of a task, its file, and the task's name."""
    from fgd_yolo.training.teachers.teacher import FrozenTeacher, Teacher
    from fgd_yolo.ultralytics import load_model

    task, make = MODELS[request.param]
    data = draw_dataset(tmp_path / "data", task=task)
    has_bins = "26" not in request.param and request.param != "rtdetr"
    shape = {"data_kpt_shape": (3, 3)} if task == "pose" else {}
    file = save_checkpoint(
        tmp_path / "t.pt",
        make(tmp_path),
        data,
        task=task,
        small_boxes=has_bins,
        **shape,
    )
    frozen = FrozenTeacher(load_model(file)[0], torch.device("cpu"), heads=True)
    levels = [type("L", (), {"teacher_index": index})() for index in range(3)]
    return Teacher("t.pt", frozen, levels, None), file, task


def by_ultralytics(file, images: torch.Tensor) -> list[torch.Tensor]:
    """Return what Ultralytics makes of a forward pass of the whole model, in the way of its validator."""
    from ultralytics.utils.nms import non_max_suppression

    from fgd_yolo.ultralytics import load_model

    model = load_model(file)[0]
    head = model.model[-1]
    with torch.no_grad():
        predictions = model(images)
    if type(head).__name__ == "RTDETRDecoder":
        return [row[row[:, 4] > LOW] for row in predictions[0]]
    output = predictions[0][0] if isinstance(predictions[0], tuple) else predictions[0]
    options = {"nc": len(CLASSES), "max_time_img": 100.0, "end2end": head.end2end}
    return non_max_suppression(output, LOW, 0.7, rotated="OBB" in type(head).__name__, **options)


@pytest.mark.slow
def test_boxes_scores_and_classes_are_those_of_ultralytics(teacher):
    from fgd_yolo.training.unlabeled_frames.frame_objects import LabelKind, objects_of_frames

    own, file, task = teacher
    torch.manual_seed(0)
    images = torch.rand(3, 3, 64, 96)
    maps = own.frozen(images)
    # Masks would change the order, in which objects of nearly equal scores are compared.
    kind = LabelKind(
        keypoint_shape=(3, 3) if task == "pose" else None,
        rotated=task == "obb",
    )
    found = objects_of_frames(own.outputs(maps), maps, range(3), [0, 2], (64, 96), LOW, kind)
    expected = by_ultralytics(file, images)
    assert sum(map(len, expected)) > 10
    compared = 0
    for image in (0, 2):
        corners, scores = in_fractions(expected[image], own.frozen.head, torch.tensor([96.0, 64.0]))
        order = scores.argsort(descending=True, stable=True)
        mine = found.chosen(found.image_index == image)
        mine = mine.chosen(mine.scores.argsort(descending=True, stable=True))
        torch.testing.assert_close(mine.scores, scores[order], atol=1e-4, rtol=1e-4)
        half = mine.boxes[:, 2:4] / 2
        shown = mine.boxes if kind.rotated else torch.cat([mine.boxes[:, :2] - half, mine.boxes[:, :2] + half], dim=1)
        torch.testing.assert_close(shown, corners[order], atol=1e-3, rtol=1e-3)
        compared += len(mine.classes)
    assert compared > 5 and not found.image_index.eq(1).any()


def in_fractions(rows: torch.Tensor, head, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return corners, or boxes with angles, of the rows that have an area, as fractions of the image; and scores."""
    if "OBB" in type(head).__name__:
        return torch.cat([rows[:, :2] / size, rows[:, 2:4] / size, rows[:, 6:]], dim=1), rows[:, 4]
    if type(head).__name__ == "RTDETRDecoder":
        corners = torch.cat([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], dim=1)
    else:
        corners = rows[:, :4] / size.repeat(2)
    corners = corners.clamp(0, 1)
    with_area = (corners[:, 2:] > corners[:, :2]).all(dim=1)
    return corners[with_area], rows[with_area, 4]


def test_classes_that_are_not_asked_for_do_not_hide_others(teacher):
    from fgd_yolo.training.unlabeled_frames.frame_objects import LabelKind, objects_of_frames

    own, _, task = teacher
    maps = own.frozen(torch.rand(2, 3, 64, 64))
    found = objects_of_frames(own.outputs(maps), maps, [1], [0, 1], (64, 64), LOW, LabelKind(rotated=task == "obb"))
    assert len(found.classes) and set(found.classes.tolist()) == {1}


def test_masks_are_on_the_grid_of_the_labels_and_ordered_by_area(tmp_path):
    from fgd_yolo.training.teachers.teacher import FrozenTeacher, Teacher
    from fgd_yolo.training.unlabeled_frames.frame_objects import LabelKind, objects_of_frames
    from fgd_yolo.ultralytics import load_model

    data = draw_dataset(tmp_path / "data", task="segment")
    file = save_checkpoint(tmp_path / "t.pt", narrow_yaml(tmp_path / "m.yaml", 0.125, "segment"), data, task="segment")
    frozen = FrozenTeacher(load_model(file)[0], torch.device("cpu"), heads=True)
    own = Teacher("t.pt", frozen, [type("L", (), {"teacher_index": index})() for index in range(3)], None)
    maps = own.frozen(torch.rand(2, 3, 64, 64))
    for size in ((16, 16), (8, 8), (64, 64)):
        found = objects_of_frames(own.outputs(maps), maps, range(3), [0, 1], (64, 64), LOW, LabelKind(mask_size=size))
        assert found.masks.shape == (len(found.classes), *size) and found.masks.any()
        for image in (0, 1):
            areas = found.masks[found.image_index == image].flatten(1).sum(dim=1).tolist()
            assert areas == sorted(areas, reverse=True)
        assert found.image_index.tolist() == sorted(found.image_index.tolist())
