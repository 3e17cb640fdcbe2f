"""`DistillationLoss` against the loss modules of the levels with boxes converted by hand, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict

import pytest
import torch

from fgd_yolo import DistillationLoss
from fgd_yolo.config import METHOD_OPTIONS
from fgd_yolo.errors import UsageError
from fgd_yolo.methods import METHODS

HEIGHT, WIDTH = 64, 128
BOXES = [
    torch.tensor([[16.0, 8.0, 48.0, 40.0]]),
    torch.zeros(0, 4),
    torch.tensor([[0.0, 0.0, 128.0, 16.0], [64, 32, 80, 64]]),
]
# Centre and size over width and height, by hand.
FRACTIONS = torch.tensor([[0.25, 0.375, 0.25, 0.5], [0.5, 0.125, 1.0, 0.25], [0.5625, 0.75, 0.125, 0.5]])
IMAGE_INDEX = torch.tensor([0, 2, 2])
GRIDS = ((8, 16), (4, 8))


def make_maps(channels, seed: int, images: int = 3) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(images, C, *grid, generator=random) for C, grid in zip(channels, GRIDS, strict=True)]


def student_maps() -> list[torch.Tensor]:
    return [level.requires_grad_() for level in make_maps((3, 6), seed=1)]


def make_loss(method: str = "fgd", **options) -> DistillationLoss:
    torch.manual_seed(2)
    return DistillationLoss((3, 6), 5, method, **{"ratio": None, **options})


def make_scores(method: str) -> list[torch.Tensor] | None:
    return [torch.rand(3, *grid) for grid in GRIDS] if METHODS[method].needs_scores else None


@pytest.mark.parametrize("method", METHODS)
def test_a_term_is_the_sum_of_the_levels_with_boxes_in_fractions(method):
    loss, students, teachers, scores = make_loss(method), student_maps(), make_maps((5, 5), seed=3), make_scores(method)
    terms = loss(students, teachers, BOXES, (HEIGHT, WIDTH), scores=scores)
    wanted = [0.0] * len(terms)
    for index, level in enumerate(make_loss(method).levels):  # a new one, since one draws its masks in turn
        own = level(students[index], teachers[index], FRACTIONS, IMAGE_INDEX, None, scores and scores[index])
        wanted = [total + term.item() for total, term in zip(wanted, own, strict=True)]
    assert [term.item() for term in terms.values()] == pytest.approx(wanted, rel=1e-6)
    assert list(terms) == list(METHOD_OPTIONS[method]().weights) and all(term > 0 for term in terms.values())


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_the_student_and_the_trained_parts_but_not_the_teacher(method):
    loss, students = make_loss(method), student_maps()
    teachers = [level.requires_grad_() for level in make_maps((5, 5), seed=3)]
    sum(loss(students, teachers, BOXES, (HEIGHT, WIDTH), scores=make_scores(method)).values()).backward()
    assert all(level.grad.any() for level in students) and all(level.grad is None for level in teachers)
    assert all(level.align.weight.grad.any() for level in loss.levels)


def test_maps_may_be_named_as_the_pyramid_of_torchvision_returns_them():
    students, teachers = student_maps(), make_maps((5, 5), seed=3)
    plain = make_loss()(students, teachers, BOXES, (HEIGHT, WIDTH))
    named = (OrderedDict(zip(("0", "pool"), maps, strict=True)) for maps in (students, teachers))
    assert make_loss()(*named, BOXES, (HEIGHT, WIDTH)) == plain


def test_a_term_of_weight_0_is_left_out():
    terms = make_loss(bg_weight=0, rel_weight=0)(student_maps(), make_maps((5, 5), seed=3), BOXES, (HEIGHT, WIDTH))
    assert list(terms) == ["fg_loss", "attn_loss"]


def test_a_recipe_gives_the_published_weights_and_options_replace_them():
    loss = DistillationLoss(4, 4, recipe="paper-retinanet", levels=1, fg_weight=0.5)
    assert loss.weights == {"fg_loss": 0.5, "bg_loss": 5e-4, "attn_loss": 5e-4, "rel_loss": 5e-6}
    assert loss.options.scale == "paper" and loss.ratio.target is None


def test_a_method_that_reads_no_boxes_needs_none():
    maps = student_maps(), make_maps((5, 5), seed=3)
    with_boxes = make_loss("cwd")(*maps, BOXES, (HEIGHT, WIDTH))
    assert make_loss("cwd")(*maps, None, (HEIGHT, WIDTH)) == with_boxes


# ---- the gradient ratio


def norm_at(loss: torch.Tensor, maps: list[torch.Tensor]) -> float:
    gradients = torch.autograd.grad(loss, maps, retain_graph=True)
    return sum(float((gradient**2).sum()) for gradient in gradients) ** 0.5


def test_the_terms_together_have_the_wanted_share_of_the_gradient_of_the_detection_loss():
    loss, students = make_loss(ratio=0.1), student_maps()
    detection = sum((level**3).sum() for level in students)
    terms = loss(students, make_maps((5, 5), seed=3), BOXES, (HEIGHT, WIDTH), detection_loss=detection)
    assert norm_at(sum(terms.values()), students) == pytest.approx(0.1 * norm_at(detection, students), rel=1e-4)


def test_the_ratio_is_measured_on_every_nth_batch_with_boxes_and_kept_in_the_state():
    loss, students, teachers = make_loss(ratio=0.1, measure_every=2), student_maps(), make_maps((5, 5), seed=3)
    gains = []
    for scale, boxes in ((1.0, BOXES), (1.5, BOXES), (1.5, [torch.zeros(0, 4)] * 3), (1.5, BOXES)):
        detection = scale * sum((level**3).sum() for level in students)
        loss(students, teachers, boxes, (HEIGHT, WIDTH), detection_loss=detection)
        gains.append(loss.ratio.gain)
    first, rest = gains[0], gains[1:]
    assert rest == [first, first, pytest.approx(first * 1.5**0.5)]  # the logarithm moves half of the way
    other = make_loss(ratio=0.1)
    other.load_state_dict(loss.state_dict())
    assert other.ratio.gain == gains[-1]


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_the_factor_of_the_gradient_scaler_keeps_small_float16_gradients(scale):
    """Most of the gradients of this detection loss are below the smallest number of float16."""
    gains = []
    for maps, factor in ((student_maps(), 1.0), ([level.half() for level in student_maps()], scale)):
        loss, detection = make_loss(ratio=0.1), sum((level.float() ** 3).sum() for level in maps) * 1e-8
        loss(maps, make_maps((5, 5), 3), BOXES, (HEIGHT, WIDTH), detection_loss=detection, amp_scale=factor)
        gains.append(loss.ratio.gain)
    kept = gains[1] == pytest.approx(gains[0], rel=0.02)
    assert kept == (scale > 1), gains


def test_outside_of_training_the_gain_stays_and_no_detection_loss_is_needed():
    loss = make_loss(ratio=0.1).eval()
    with torch.no_grad():
        terms = loss(student_maps(), make_maps((5, 5), seed=3), BOXES, (HEIGHT, WIDTH))
    assert loss.ratio.gain == 1 and all(term > 0 for term in terms.values())


# ---- bad input: one line that names both sides and the remedy


def call(loss=None, students=None, teachers=None, boxes=BOXES, size=(HEIGHT, WIDTH), **more):
    loss = loss or make_loss()
    return loss(students or student_maps(), teachers or make_maps((5, 5), seed=3), boxes, size, **more)


def box(*edges: float) -> list[torch.Tensor]:
    return [torch.tensor([edges]), *BOXES[1:]]


META = torch.device("meta")
BAD_CALLS = {
    "levels": (lambda: call(teachers=make_maps((5, 5), seed=3)[:1]), r"teacher has 1 map \(0\).*built for 2 levels"),
    "channels": (
        lambda: call(teachers=make_maps((5, 7), seed=3)),
        "level 1: the teacher's map is .*7, 4, 8.*5, H, W",
    ),
    "batch of the maps": (lambda: call(teachers=make_maps((5, 5), 3, images=2)), "student's map has 3.*teacher's 2"),
    "grid": (lambda: call(teachers=make_maps((5, 5), seed=3)[::-1]), r"grid is \(8, 16\) and the teacher's \(4, 8\)"),
    "device of the maps": (
        lambda: call(teachers=[level.to(META) for level in make_maps((5, 5), seed=3)]),
        r"level 0: the teacher's map is on meta and level 0: the student's map on cpu: move one of them",
    ),
    "device of the loss": (
        lambda: call(make_loss().to(META)),
        "the loss, its levels.0.*, is on meta and",
    ),
    "batch of the boxes": (lambda: call(boxes=BOXES[:2]), "boxes are of 2 images and the maps of 3 images"),
    "one tensor": (lambda: call(boxes=torch.cat(BOXES)), "boxes are one tensor and the maps of 3 images: give a list"),
    "device of the boxes": (
        lambda: call(boxes=[own.to(META) for own in BOXES]),
        r"boxes\[0\] is on meta and the student's map on cpu: move one of them with .to\('cpu'\)",
    ),
    "shape of the boxes": (lambda: call(boxes=[torch.zeros(0), *BOXES[1:]]), r"boxes of image 0 are \(0,\)"),
    "order": (lambda: call(boxes=box(40.0, 40.0, 20.0, 60.0)), "box .40.0, 40.0, 20.0, 60.0. of image 0 ends before"),
    "order of y": (lambda: call(boxes=box(20.0, 60.0, 40.0, 40.0)), "ends before it begins"),
    "not a number": (lambda: call(boxes=box(0.0, 0.0, float("nan"), 4.0)), "ends before it begins"),
    "outside": (lambda: call(boxes=box(200.0, 0.0, 240.0, 9.0)), "lies outside of the padded image of 128 x 64 px"),
    "fractions": (
        lambda: call(boxes=[torch.tensor([[0.1, 0.2, 0.5, 0.9]])] * len(BOXES)),
        "128 x 64 px, as if they were fractions: multiply them",
    ),
    "no boxes": (lambda: call(boxes=None), "fgd compares the maps by objects: give boxes"),
    "no detection loss": (lambda: call(make_loss(ratio=0.1)), "ratio is 0.1.*give detection_loss.*ratio=None"),
    "detached": (
        lambda: call(make_loss(ratio=0.1), make_maps((3, 6), 1), detection_loss=torch.ones(())),
        "no gradient at student_maps: give the maps that the student's heads read",
    ),
    "number of levels": (lambda: DistillationLoss(3, 5), "student_channels=3 and teacher_channels=5 leave the number"),
    "two numbers of levels": (
        lambda: DistillationLoss((3, 3), 5, levels=4),
        "got 4 from levels, 2 from student_channels",
    ),
    "recipe without features": (
        lambda: DistillationLoss(3, 5, recipe="plain", levels=1),
        "method plain compares no feature maps: choose from fgd",
    ),
    "method": (lambda: DistillationLoss(3, 5, "fdg", levels=1), "method 'fdg' is unknown, did you mean 'fgd'"),
    "option": (lambda: DistillationLoss(3, 5, levels=1, fg_weigth=1.0), "features.fg_weigth.*features.fg_weight"),
    "teacher": (lambda: DistillationLoss(3, 5, levels=1, teacher=2), "teacher is an option of distill"),
    "recipe of a method": (
        lambda: DistillationLoss(3, 5, "cwd", recipe="paper-retinanet", levels=1),
        "recipe paper-retinanet has options of fgd, not of cwd",
    ),
}


@pytest.mark.parametrize("kind", BAD_CALLS)
def test_bad_input_is_refused_in_one_line(kind):
    bad_call, message = BAD_CALLS[kind]
    with pytest.raises(UsageError, match=message) as refusal:
        bad_call()
    assert "\n" not in str(refusal.value)


def test_neither_ultralytics_nor_onnx_is_imported():
    code = (
        "import sys; from fgd_yolo import DistillationLoss; print(sorted({'ultralytics', 'onnx'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
