"""The encoder's predictions for each cell, against what the decoder's own forward pass chooses from them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from fgd_yolo.neck import HeadHook, NeckHook
from fgd_yolo.training.heads.encoder_outputs import encoder_outputs
from fgd_yolo.training.heads.head_outputs import HeadOutputs, paired_branches, run_branches
from fixtures import narrow_rtdetr, narrow_yaml


@pytest.fixture
def rtdetr(tmp_path) -> RTDETRDetectionModel:
    torch.manual_seed(0)
    model = RTDETRDetectionModel(str(narrow_rtdetr(tmp_path / "rtdetr.yaml", 0.0625)), nc=3, verbose=False)
    torch.nn.init.normal_(model.model[-1].enc_bbox_head.layers[-1].weight, std=0.1)  # 0 without training
    torch.nn.init.normal_(model.model[-1].enc_score_head.weight)
    return model


def forward(model, image) -> SimpleNamespace:
    """Run a model and return its neck maps, what its encoder makes of them, and its outputs."""
    necks, features = NeckHook(model), HeadHook(model, "enc_output")
    outputs = model(image)
    return SimpleNamespace(maps=necks.pop(), features=features.pop(), outputs=outputs)


def boxes_of_cells(outputs, shapes) -> list[list[float]]:
    """Return the boxes of all cells as centre-size fractions, in plain loops."""
    edges, number, boxes = outputs["boxes"][0].T.tolist(), 0, []
    for height, width in shapes:
        for y in range(height):
            for x in range(width):
                left, top, right, bottom = edges[number]
                x1, y1, x2, y2 = x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom
                boxes.append([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height])
                number += 1
    return boxes


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_the_queries_are_the_cells_with_the_highest_scores(rtdetr, size):
    rtdetr.eval().double()  # so that no two scores are equal by rounding
    run = forward(rtdetr, torch.rand(1, 3, *size).double())
    dense = encoder_outputs(rtdetr.model[-1], run.maps)
    _, (_, _, chosen_boxes, chosen_scores, _) = run.outputs
    order = dense["scores"][0].amax(0).argsort(descending=True)[:30]
    torch.testing.assert_close(chosen_scores[0], dense["scores"][0].T[order])
    boxes = chosen_boxes.new_tensor(boxes_of_cells(dense, [m.shape[2:] for m in run.maps]))
    torch.testing.assert_close(chosen_boxes[0], boxes[order], rtol=1e-4, atol=1e-5)


def test_in_training_the_features_of_the_forward_pass_are_used_and_statistics_stay(rtdetr):
    rtdetr.train()
    run = forward(rtdetr, torch.rand(2, 3, 64, 64))
    before = {name: value.clone() for name, value in rtdetr.named_buffers()}
    dense = encoder_outputs(rtdetr.model[-1], run.maps, run.features)
    assert all(torch.equal(value, before[name]) for name, value in rtdetr.named_buffers())
    gradients = torch.autograd.grad(dense["scores"].square().sum() + dense["boxes"].square().sum(), run.maps)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_cells_at_the_border_that_have_no_prediction_are_compared_by_no_term(rtdetr, tmp_path):
    rtdetr.eval()
    yolo = DetectionModel(str(narrow_yaml(tmp_path / "yolo.yaml", 0.0625)), nc=3, verbose=False).train()
    image = torch.rand(1, 3, 512, 512)  # 64 cells in a row: the first centre is at 0.8 %
    teacher = HeadOutputs(rtdetr.model[-1], run_branches(rtdetr.model[-1], forward(rtdetr, image).maps), [0, 2])
    (branch,) = paired_branches(HeadOutputs(yolo.model[-1], yolo(image), [0, 2]), [teacher])
    inner = 62 * 62 + 16 * 16
    assert branch.student.scores.shape[2] == branch.teachers[0].outputs.boxes.shape[2] == inner
    assert branch.teachers[0].outputs.boxes.isfinite().all()
