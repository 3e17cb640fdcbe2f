"""Classes by name: the choice of columns against plain loops, and the heads of all tasks against their own outputs."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import product

import pytest
import torch
from ultralytics.nn.tasks import RTDETRDetectionModel

from fgd_yolo.class_columns import (
    ABSENT,
    ClassColumns,
    check_class_map,
    choose_columns,
    known_classes,
    predict_classes,
    same_classes,
)
from fgd_yolo.errors import UsageError
from fgd_yolo.task_table import TASKS, task_of_yaml
from fgd_yolo.ultralytics import read_architecture
from fixtures import narrow_rtdetr, narrow_yaml

COCO_LIKE = {0: "person", 1: "Bicycle", 2: "car", 3: "traffic  light", 4: "bus", 5: "truck"}


def columns_in_loops(teacher, data, class_map):
    """Return the columns as a plain reference: each teacher class stands for one name."""
    result = []
    for wanted in data.values():
        chosen = []
        for number, name in teacher.items():
            stands_for = name
            for source, target in class_map.items():
                if source.lower() == name.lower():
                    stands_for = target
            if " ".join(stands_for.lower().split()) == " ".join(wanted.lower().split()):
                chosen.append(number)
        result.append(tuple(chosen))
    return tuple(result)


@pytest.mark.parametrize(
    "data",
    [
        {0: "car", 1: "person"},
        {0: "Traffic Light", 1: "CAR"},
        {0: "cat", 1: "car"},
        {0: "cat"},
        {0: "truck", 1: "car", 2: "bus"},
    ],
)
@pytest.mark.parametrize("class_map", [{}, {"truck": "car", "BUS": "Car"}, {"car": "truck"}, {"bicycle": "cat"}])
def test_columns_are_chosen_by_name(data, class_map):
    assert choose_columns(COCO_LIKE, data, class_map) == columns_in_loops(COCO_LIKE, data, class_map)


def test_a_mapped_class_does_not_count_under_its_own_name():
    columns = choose_columns(COCO_LIKE, {0: "car", 1: "truck"}, {"car": "truck"})
    assert columns == ((), (2, 5))
    assert known_classes(columns) == [1]


def test_a_teacher_with_the_classes_of_the_data_keeps_them_whatever_the_map_says():
    names = {0: "car", 1: "truck"}
    assert choose_columns({0: "Car", 1: " truck"}, names, {"truck": "car"}) == ((0,), (1,))
    assert choose_columns({0: "truck", 1: "car"}, names) == ((1,), (0,)), "the order matters"


def test_equal_names_keep_their_numbers():
    assert choose_columns({0: "a", 1: "A"}, {0: "a", 1: "A"}) == ((0,), (1,))
    assert choose_columns({0: "a", 1: "A"}, {0: "a"}) == ((0, 1),)


@pytest.mark.parametrize(
    ("class_map", "words"),
    [
        ({"truk": "car"}, ["truk=car", "teacher has no class 'truk'", "did you mean 'truck'?", "6 classes", "person"]),
        ({"truck": "cra"}, ["truck=cra", "data has no class 'cra'", "did you mean 'car'?", "2 classes (car, person)"]),
    ],
)
def test_a_map_to_or_from_a_missing_class_names_the_closest_and_both_sides(class_map, words):
    with pytest.raises(UsageError) as caught:
        check_class_map(class_map, [COCO_LIKE], {0: "car", 1: "person"})
    assert all(word in str(caught.value) for word in words), caught.value


def test_with_several_teachers_one_of_them_must_have_the_mapped_class():
    check_class_map({"TRUCK": "car", "van": "Car"}, [COCO_LIKE, {0: "van"}], {0: "car"})
    with pytest.raises(UsageError, match="teachers have no class 'lorry'"):
        check_class_map({"lorry": "car"}, [COCO_LIKE, {0: "van"}], {0: "car"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_joined_columns_have_the_probability_of_at_least_one(dtype):
    values = [-30.0, -12.0, -3.0, -0.5, 0.0, 0.7, 4.0, 11.0]
    logits = torch.tensor(list(product(values, repeat=3)), dtype=dtype).view(-1, 3, 1, 1)
    result = ClassColumns(((2,), (0, 1, 2), (), (1, 0)), count=3)(logits)
    assert result.dtype == dtype and result.shape == (len(logits), 4, 1, 1)
    for own, (single, joined, absent, pair) in zip(logits.flatten(1).tolist(), result.flatten(1).tolist(), strict=True):
        p = [1 / (1 + math.exp(-value)) for value in own]
        assert single == own[2]
        assert absent == torch.tensor(ABSENT, dtype=dtype)
        for logit, numbers in ((joined, (0, 1, 2)), (pair, (1, 0))):
            none = math.prod(1 - p[number] for number in numbers)
            some = -math.expm1(sum(math.log1p(-p[number]) for number in numbers))
            rel = 1e-4 if dtype == torch.float32 else 2e-2
            assert logit == pytest.approx(math.log(some) - math.log(none), rel=rel, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_extreme_logits_stay_finite_and_keep_their_order(dtype):
    logits = torch.tensor([[-6e4, -6e4], [-200.0, -300.0], [-50.0, -50.0], [60.0, -60.0], [2e4, 2e4]], dtype=dtype)
    result = ClassColumns(((0, 1),), count=2)(logits.view(-1, 2, 1, 1)).flatten().tolist()
    assert all(map(math.isfinite, result)) and result == sorted(result)
    assert result[-2] == pytest.approx(60.0) and result[2] == pytest.approx(-50 + math.log(2), rel=1e-3)


MODELS = ["yolov8.yaml", "yolov8-seg.yaml", "yolov8-pose.yaml", "yolov8-obb.yaml", "yolov10n.yaml"]
MODELS += ["yolo26n.yaml", "yolo26n-seg.yaml", "yolo26n-pose.yaml", "yolo26n-obb.yaml"]
WANTED = {0: "wedge", 1: "cat", 2: "round", 3: "disc"}
CLASS_MAP = {"block": "round", "ball": "round"}
NAMES = {0: "disc", 1: "block", 2: "wedge", 3: "ball", 4: "cone"}


def teacher(name, tmp_path):
    """Return a model of a few classes with scores that differ between classes and cells."""
    task = task_of_yaml(read_architecture(name))
    file = narrow_yaml(tmp_path / name, 0.125, task.name, nc=5) if name.startswith("yolov8") else name
    torch.manual_seed(0)
    model = task.model(str(file), nc=5, verbose=False).eval()
    for key, parameter in model.model[-1].named_parameters():
        if "cv3" in key:
            parameter.data = torch.randn_like(parameter)
    model.names = dict(NAMES)
    return model


def scores(model, image):
    """Return the class probabilities (B, classes, A) that each branch of the head predicts."""
    with torch.no_grad():
        outputs = model(image)[1]
    branches = [outputs.get(name) for name in ("one2many", "one2one")] if "one2many" in outputs else [outputs]
    return [branch["scores"].double().sigmoid() for branch in branches if branch]


@pytest.mark.parametrize("fused", [False, True], ids=["as trained", "fused"])
@pytest.mark.parametrize("name", MODELS)
def test_a_head_predicts_the_classes_of_the_data(name, fused, tmp_path):
    model = teacher(name, tmp_path)
    image = torch.rand(2, 3, 64, 64)
    if fused:
        model.fuse(verbose=False)
    before = scores(model, image)
    changed = deepcopy(model)
    assert predict_classes(changed, WANTED, CLASS_MAP) == [0, 2, 3]
    after = scores(deepcopy(changed), image)
    head = changed.model[-1]
    assert (head.nc, changed.nc, changed.names) == (4, 4, WANTED) and head.no == 4 + 4 * head.reg_max
    assert len(after) == len(before) == (2 if hasattr(head, "one2one_cv3") and not fused else 1)
    for own, chosen in zip(before, after, strict=True):
        disc, block, wedge, ball, _ = own.unbind(1)
        expected = [wedge, torch.zeros_like(disc), 1 - (1 - block) * (1 - ball), disc]
        torch.testing.assert_close(chosen, torch.stack(expected, dim=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["yolov8.yaml", "yolo26n-seg.yaml"])
def test_fewer_classes_and_fusing_afterwards_work(name, tmp_path):
    model = teacher(name, tmp_path)
    image = torch.rand(1, 3, 64, 64)
    expected = scores(deepcopy(model).fuse(verbose=False), image)[0][:, 1:2]
    assert predict_classes(model, {0: "Block"}) == [0]
    (after,) = scores(model.fuse(verbose=False), image)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)
    channels_last = deepcopy(model).to(memory_format=torch.channels_last)
    torch.testing.assert_close(scores(channels_last, image)[0], expected, rtol=1e-2, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert scores(model, image)[0].shape == after.shape


def test_a_teacher_with_the_classes_of_the_data_is_not_changed(tmp_path):
    model = teacher("yolov8.yaml", tmp_path)
    modules = list(model.modules())
    names = {number: f" {name.upper()}" for number, name in NAMES.items()}
    assert predict_classes(model, names, {"disc": "block"}) == [0, 1, 2, 3, 4]
    assert list(model.modules()) == modules and model.names == NAMES


@pytest.mark.parametrize(
    ("names", "same"),
    [
        ({0: "RBC", 1: "WBC"}, True),
        ({0: " rbc", 1: "Wbc "}, True),
        ({0: "WBC", 1: "RBC"}, False),
        ({0: "RBC"}, False),
        ({0: "RBC", 1: "WBC", 2: "Platelets"}, False),
    ],
)
def test_classes_are_the_same_by_number_whatever_their_case_and_spacing(names, same):
    assert same_classes(names, {0: "RBC", 1: "WBC"}) is same


def test_every_task_has_a_model_in_these_tests():
    assert {task_of_yaml(read_architecture(name)).name for name in MODELS} == set(TASKS)


def test_an_rtdetr_predicts_the_classes_of_the_data_and_chooses_its_queries_by_them(tmp_path):
    torch.manual_seed(0)
    file = narrow_rtdetr(tmp_path / "rtdetr.yaml", 0.0625)
    model = RTDETRDetectionModel(str(file), nc=5, verbose=False).eval()
    model.names, head = dict(NAMES), model.model[-1]
    for layer in (head.enc_score_head, *head.dec_score_head):
        torch.nn.init.normal_(layer.weight)
    stored = {}
    head.enc_output.register_forward_hook(lambda layer, inputs, output: stored.update(cells=output))
    image = torch.rand(1, 3, 64, 64)
    model(image)
    own = head.enc_score_head(stored["cells"]).double().sigmoid()[0]  # of 84 cells, of which 30 become queries
    assert predict_classes(model, WANTED, CLASS_MAP) == [0, 2, 3]
    assert (head.nc, model.nc, model.names) == (4, 4, WANTED)
    rows, (_, decoded, _, chosen, _) = model(image)
    disc, block, wedge, ball, _ = own.unbind(1)
    expected = torch.stack([wedge, torch.zeros_like(disc), 1 - (1 - block) * (1 - ball), disc], dim=1)
    highest = expected[expected.amax(1).topk(30).indices]
    torch.testing.assert_close(chosen[0].double().sigmoid(), highest, rtol=1e-4, atol=1e-6)
    assert decoded.shape[-1] == 4 and (decoded[..., 1] == ABSENT).all()
    assert set(rows[..., 5].flatten().tolist()) <= {0, 2, 3}
