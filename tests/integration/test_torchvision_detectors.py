"""The example for torchvision's detectors: a real step of each, and its short form from the command line."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from examples import torchvision_detectors as example
from fgd_yolo import DistillationLoss

pytestmark = pytest.mark.slow  # imports torchvision's detectors and trains


def short_args(detector: str, tmp_path, *words: str):
    args = example.build_parser().parse_args(["--detector", detector, "--output", str(tmp_path), *words])
    vars(args).update(example.SHORT)
    return args


@pytest.mark.parametrize("detector", example.PAPER_RECIPES)
def test_a_training_step_of_each_detector_has_finite_terms_and_gradients_everywhere(detector, tmp_path, monkeypatch):
    args = short_args(detector, tmp_path, "--scale", "paper" if detector == "fcos" else "free")
    torch.manual_seed(1)
    teacher = example.build_detector(detector, example.TEACHER, args.image_px).eval()
    forward, update, steps, losses = DistillationLoss.forward, example.Training.update, [], []

    def forward_and_keep(self, *given, **more):
        losses.append(self)
        steps.append(forward(self, *given, **more))
        return steps[-1]

    def update_if_finite(self, loss):
        assert loss.isfinite()
        update(self, loss)

    monkeypatch.setattr(DistillationLoss, "forward", forward_and_keep)
    monkeypatch.setattr(example.Training, "update", update_if_finite)
    student = example.train_student(args, teacher)

    assert len(steps) == args.images // args.batch
    for terms in steps:
        assert list(terms) == ["fg_loss", "bg_loss", "attn_loss", "rel_loss"]
        assert all(term.isfinite() and term > 0 for term in terms.values())
    for level in losses[-1].levels:
        for item in losses[-1].weights:
            assert all(weight.grad.any() for weight in level.trained_weights(item).values()), item
    assert all(parameter.requires_grad and parameter.grad.any() for parameter in student.backbone.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    norms = [module for module in student.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(norm.num_batches_tracked == len(steps) for norm in norms), "batch norm is live"


def test_the_short_form_trains_the_teacher_once_and_appends_a_row_for_each_run(tmp_path, capsys):
    words = ["--detector", "faster-rcnn", "--short", "--output", str(tmp_path)]
    for more in (["--method", "cwd"], ["--scale", "paper", "--seed", "1"], ["--method", "plain"]):
        assert example.main([*words, *more]) == 0
    assert capsys.readouterr().err.count("training the teacher") == 1
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(row["method"], row["scale"], row["seed"]) for row in rows] == [
        ("teacher", None, 0),
        ("cwd", None, 0),
        ("fgd", "paper", 1),
        ("plain", None, 0),
    ]
    assert all(0 <= row["ap"] <= row["ap50"] <= 1 and row["images"] == 8 for row in rows)


def test_a_scale_is_refused_for_a_method_without_one(tmp_path, capsys):
    assert example.main(["--method", "cwd", "--scale", "paper", "--output", str(tmp_path)]) == 2
    assert "--scale paper is an option of fgd, not of cwd: leave it out" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_student(tmp_path):
    args = short_args("retinanet", tmp_path, "--method", "plain")
    first, second = (example.train_student(args, None).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


class Answers(nn.Module):
    """A detector that answers what it is given, image by image."""

    def __init__(self, answers):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.answers = iter(answers)

    def forward(self, images):
        return [next(self.answers)]


def test_the_average_precision_is_1_for_the_truth_and_0_for_other_classes():
    boxes = torch.tensor([[4.0, 4.0, 20.0, 30.0], [32.0, 8.0, 60.0, 40.0]])
    scenes = [(torch.zeros(3, 64, 64), {"boxes": boxes + shift, "labels": torch.tensor([1, 2])}) for shift in (0, 2)]
    right = [{**target, "scores": torch.ones(2)} for _, target in scenes]
    wrong = [{**answer, "labels": torch.tensor([3, 4])} for answer in right]
    assert example.average_precision(Answers(right), scenes) == {"ap": 1.0, "ap50": 1.0}
    assert example.average_precision(Answers(wrong), scenes) == {"ap": 0.0, "ap50": 0.0}


@pytest.mark.parametrize("dim", [1, 2])
def test_a_flip_takes_the_boxes_and_masks_along(dim):
    image = torch.zeros(3, 40, 60)
    image[:, 5:15, 20:50] = 1
    target = {"boxes": torch.tensor([[20.0, 5.0, 50.0, 15.0]]), "labels": torch.tensor([1]), "masks": image[:1].byte()}
    turned, moved = example.flipped(image, target, dim)
    rows, columns = turned[0].nonzero(as_tuple=True)
    assert moved["boxes"].tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    assert torch.equal(moved["masks"][0], turned[0].byte()) and target["boxes"].tolist() == [[20, 5, 50, 15]]


def test_the_boxes_of_masks_lie_within_those_of_the_detect_labels(tmp_path):
    detect, segment = (example.load_scenes(short_args(name, tmp_path), "train") for name in ("fcos", "mask-rcnn"))
    for (_, boxes), (_, masks) in zip(detect, segment, strict=True):
        assert torch.equal(boxes["labels"], masks["labels"])
        beyond = (boxes["boxes"] - masks["boxes"]) * torch.tensor([1, 1, -1, -1])
        assert (beyond < 1).all(), "less than a pixel; a polygon is the largest visible part"
