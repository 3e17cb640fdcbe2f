"""The preflight stops on a teacher that does not fit and on a term that reaches nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.training.preflight import (
    check_channels,
    check_classes,
    check_first_batch,
    last_convolution,
    same_classes,
)
from training import batch


def terms_of(joined):
    joined.loss_hook._check_first_batch = None
    maps = []
    joined.loss_hook._measure = lambda loss, terms, student_maps, batch: maps.extend(student_maps)
    joined.student(batch())
    return joined.distiller.terms(maps, batch()), maps


def test_a_sound_pair_passes(joined):
    terms, maps = terms_of(joined)
    check_first_batch(joined.distiller, terms, maps, batch())
    assert set(terms) == {"fg_loss", "bg_loss", "attn_loss", "rel_loss"}


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_term_that_is_zero_or_not_finite_is_named(joined, value):
    terms, maps = terms_of(joined)
    with pytest.raises(FGDError, match=r"attn_loss is (0|nan|inf) on the first batch"):
        check_first_batch(joined.distiller, {**terms, "attn_loss": terms["attn_loss"] * value}, maps, batch())


def test_a_term_cut_from_the_student_is_named(joined):
    terms, maps = terms_of(joined)
    detached = {**terms, "bg_loss": joined.distiller.losses[0].align.weight.square().sum()}
    with pytest.raises(FGDError, match="bg_loss sends no usable gradient to the student's neck at stride 8"):
        check_first_batch(joined.distiller, detached, maps, batch())


@pytest.mark.parametrize("size", [1.0, 0.6])
def test_objects_that_fill_the_frame_leave_no_background_to_ask_for(joined, size):
    """At 0.6 of the image the finest level alone has background left."""
    filled = {**batch(boxes=2), "batch_idx": torch.tensor([0.0, 1.0])}
    filled["bboxes"] = torch.tensor([[0.5, 0.5, size, size]] * 2)
    _, items = joined.student(filled)
    assert (items["bg_loss"] == 0) == (size == 1.0)
    assert joined.loss_hook._check_first_batch is None


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_dead_context_block_is_named(joined, side):
    block = getattr(joined.distiller.losses[1], f"{side}_context")
    norm = next(part for part in block.modules() if isinstance(part, torch.nn.LayerNorm))
    torch.nn.init.zeros_(norm.weight)
    torch.nn.init.constant_(norm.bias, -1.0)  # the ReLU behind it is now always 0
    terms, maps = terms_of(joined)
    with pytest.raises(FGDError, match=f"rel_loss sends no usable gradient to the {side} context block at stride 16"):
        check_first_batch(joined.distiller, terms, maps, batch())


def test_the_last_convolution_is_the_zero_initialised_one(joined):
    for loss in joined.distiller.losses:
        assert not last_convolution(loss.student_context).weight.any()


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
def test_classes_are_compared_in_order(names, same):
    assert same_classes(names, {0: "RBC", 1: "WBC"}) is same


def test_other_classes_stop_with_both_lists_and_the_way_out():
    coco = {number: f"class{number}" for number in range(80)}
    with pytest.raises(FGDError, match=r"80 classes \(class0, .*\.\.\.\), the data has 1 class \(cat\).*distill\(\)"):
        check_classes(coco, {0: "cat"})


def test_other_channels_stop():
    with pytest.raises(FGDError, match="1-channel images, the data has 3"):
        check_channels(SimpleNamespace(yaml={"channels": 1}), 3)


def test_under_float16_a_weak_term_is_found_with_the_gradient_scale(joined):
    """Its gradient is below the smallest float16 unless the loss is scaled, as it is in training."""
    joined.loss_hook._check_first_batch = None
    maps = []
    joined.loss_hook._measure = lambda loss, terms, student_maps, batch: maps.extend(student_maps)
    with torch.autocast("cpu", dtype=torch.float16):
        joined.student(batch())
    assert {neck_map.dtype for neck_map in maps} == {torch.float16}
    weak = {name: term * 1e-6 for name, term in joined.distiller.terms(maps, batch()).items()}
    with pytest.raises(FGDError, match="no usable gradient"):
        check_first_batch(joined.distiller, weak, maps, batch())
    check_first_batch(joined.distiller, weak, maps, batch(), amp_scale=65536.0)
