"""The share of the gradient: measured right, followed smoothly, stopped when it drowns the detection."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError
from fgd_yolo.training.gradient_ratio import ShareScale, gradient_norm


def test_gradient_norm_is_over_all_maps_together_and_keeps_the_graph():
    one, two = torch.zeros(3, requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = 3 * one.sum() + 2 * two.sum()
    assert gradient_norm(loss, [one, two]) == pytest.approx((9 * 3 + 4 * 2) ** 0.5)
    loss.backward()


def test_a_map_that_the_loss_does_not_use_counts_nothing():
    used, unused = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    assert gradient_norm(2 * used.sum(), [used, unused]) == pytest.approx(2)


def test_amp_scale_saves_a_gradient_that_float16_would_lose():
    neck_map = torch.ones(4, requires_grad=True)
    loss = (neck_map.half().float() * 1e-9).sum()  # below the smallest float16
    assert gradient_norm(loss, [neck_map]) == 0
    assert gradient_norm(loss, [neck_map], amp_scale=65536) == pytest.approx(2e-9, rel=1e-2)


def test_the_first_measurement_sets_the_scale():
    share = ShareScale(FGDConfig(gradient_ratio=0.25))
    share.measured(distillation_norm=5000, detection_norm=10)
    assert share.factor == pytest.approx(0.25 / 500)
    assert share.now == pytest.approx(0.25)


def test_a_later_measurement_at_most_halves_or_doubles_it():
    share = ShareScale(FGDConfig(gradient_ratio=0.25))
    share.measured(1, 1)
    share.measured(1e9, 1)
    assert share.factor == pytest.approx(0.125)
    for _ in range(3):
        share.measured(1e-9, 1)
    assert share.factor <= 1.0


def test_the_scale_converges_to_the_share_of_a_steady_ratio():
    share = ShareScale(FGDConfig(gradient_ratio=0.1))
    share.measured(1, 1)
    for _ in range(30):
        share.measured(40, 1)
    assert share.now == pytest.approx(0.1, rel=1e-3)


def test_one_outlier_moves_the_scale_less_than_its_own_ratio():
    share = ShareScale(FGDConfig(gradient_ratio=0.25))
    share.measured(1, 1)
    share.measured(2, 1)
    assert share.factor == pytest.approx(0.25 / 2**0.5)


@pytest.mark.parametrize("norms", [(float("nan"), 1), (float("inf"), 1), (0, 1), (1, 0)])
def test_a_measurement_that_says_nothing_is_ignored(norms):
    share = ShareScale(FGDConfig(gradient_ratio=0.25))
    share.measured(*norms)
    assert share.factor == 1 and share.now == 0 and not share.epoch_shares


def test_fixed_weights_are_watched_but_not_scaled():
    share = ShareScale(FGDConfig(gradient_ratio=None))
    share.measured(7, 1)
    assert share.factor == 1 and share.now == 7


def test_the_warm_up_is_linear():
    share = ShareScale(FGDConfig(gradient_ratio=None))
    share.warmup_batches = 10
    ramps = []
    for share.batches in (0, 5, 10, 20):
        ramps.append(share.strength)
    assert ramps == [0, 0.5, 1, 1]


def test_a_short_run_is_warm_before_it_begins_to_fall():
    share = ShareScale(FGDConfig(gradient_ratio=None, decay_start=0.3, decay_end=0.6))
    share.warmup_batches, share.run_batches = 30, 40
    ramps = []
    for share.batches in (0, 6, 12, 18, 24):
        ramps.append(share.strength)
    assert ramps == pytest.approx([0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize(
    ("options", "strengths"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"decay_start": 0.0}, [1, 0.853553, 0.5, 0.146447, 0]),
        ({"decay_start": 0.5}, [1, 1, 1, 0.5, 0]),
        ({"decay_start": 0.25, "decay_end": 0.75}, [1, 1, 0.5, 0, 0]),
        ({"decay_start": 0.5, "decay_end": 0.5}, [1, 1, 0, 0, 0]),
    ],
    ids=str,
)
def test_the_distillation_falls_from_hold_to_end(options, strengths):
    share = ShareScale(FGDConfig(gradient_ratio=None, **{"decay_start": 1.0, "decay_end": 1.0, **options}))
    share.run_batches = 100
    found = []
    for share.batches in (0, 25, 50, 75, 100):
        found.append(share.strength)
    assert found == pytest.approx(strengths, abs=1e-6)


def test_it_is_over_at_the_end_and_says_so():
    share = ShareScale(FGDConfig(decay_start=0.5, decay_end=0.8))
    share.run_batches, share.batches = 10, 7
    assert not share.over and "in force" in share.described("")
    share.batches = 8
    assert share.over and share.now == 0 and share.described("") == "feature terms have ended"


def test_measuring_is_due_every_so_many_batches_and_once_in_each_epoch():
    share = ShareScale(FGDConfig(ratio_every=4))
    due = []
    for share.batches in range(6):
        due.append(share.due)
        if share.due:
            share.measured(1, 1)
    assert due == [True, False, False, False, True, False]
    share.close_epoch()
    share.batches = 6
    assert share.due


def test_a_share_above_the_bound_for_a_whole_epoch_stops_the_run():
    share = ShareScale(FGDConfig(gradient_ratio=None, max_gradient_ratio=10))
    share.measured(11, 1)
    share.measured(9, 1)
    share.close_epoch()
    share.measured(11, 1)
    share.measured(12, 1)
    with pytest.raises(FGDError, match="set head_gradient_ratio"):
        share.close_epoch("head_")


def test_a_restored_scale_goes_on_as_if_nothing_happened():
    share = ShareScale(FGDConfig())
    share.batches = 7
    share.measured(3, 1)
    restored = ShareScale(FGDConfig())
    restored.load_state_dict(share.state_dict())
    for one in (share, restored):
        one.measured(5, 1)
    assert restored.state_dict() == share.state_dict()
