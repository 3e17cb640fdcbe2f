"""The check on the first batch stops on a term that is 0, not finite or reaches nothing."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.methods import LabelledObjects
from fgd_yolo.training.step.first_batch import check_first_batch
from training import batch


def terms_of(joined):
    """Return the terms of a batch, in their graph, and the student's neck maps."""
    seen = []
    joined.distiller._check_first_batch = lambda terms, student_maps, *_: seen.append((terms, student_maps))
    joined.student(batch())
    return seen[0]


def check(joined, terms, maps, **options):
    distiller = joined.distiller
    objects = [LabelledObjects(batch()["bboxes"], batch()["batch_idx"])] * len(distiller.levels)
    check_first_batch(terms, distiller.levels, distiller.losses, maps, objects, **options)


def test_finite_terms_that_reach_the_student_pass(joined):
    terms, maps = terms_of(joined)
    check(joined, terms, maps)
    assert set(terms) == {"fg_loss", "bg_loss", "attn_loss", "rel_loss"}


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_term_that_is_zero_or_not_finite_is_named(joined, value):
    terms, maps = terms_of(joined)
    with pytest.raises(FGDError, match=r"attn_loss is (0|nan|inf) on the first batch"):
        check(joined, {**terms, "attn_loss": terms["attn_loss"] * value}, maps)


def test_a_term_cut_from_the_student_is_named(joined):
    terms, maps = terms_of(joined)
    detached = {**terms, "bg_loss": joined.distiller.losses[0].align.weight.square().sum()}
    with pytest.raises(FGDError, match="bg_loss sends no usable gradient to the student's neck at stride 8"):
        check(joined, detached, maps)


@pytest.mark.parametrize("size", [1.0, 0.6])
def test_objects_that_fill_the_image_leave_no_background_to_check(joined, size):
    """At 0.6 of the image the finest level alone has background left."""
    filled = {**batch(boxes=2), "batch_idx": torch.tensor([0.0, 1.0])}
    filled["bboxes"] = torch.tensor([[0.5, 0.5, size, size]] * 2)
    _, items = joined.student(filled)
    assert (items["bg_loss"] == 0) == (size == 1.0)
    assert joined.distiller.first_batch_checked


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_dead_context_block_is_named(joined, side):
    block = getattr(joined.distiller.losses[1], f"{side}_context")
    norm = next(part for part in block.modules() if isinstance(part, torch.nn.LayerNorm))
    torch.nn.init.zeros_(norm.weight)
    torch.nn.init.constant_(norm.bias, -1.0)  # the ReLU behind it is now always 0
    terms, maps = terms_of(joined)
    with pytest.raises(FGDError, match=f"rel_loss sends no usable gradient to the {side} context block at stride 16"):
        check(joined, terms, maps)


def test_under_float16_a_weak_term_passes_with_the_gradient_scale(joined):
    """Its gradient is below the smallest float16 unless the loss is scaled, as it is in training."""
    with torch.autocast("cpu", dtype=torch.float16):
        terms, maps = terms_of(joined)
    assert {neck_map.dtype for neck_map in maps} == {torch.float16}
    weak = {name: term * 1e-6 for name, term in terms.items()}
    with pytest.raises(FGDError, match="no usable gradient"):
        check(joined, weak, maps)
    check(joined, weak, maps, amp_scale=65536.0)
