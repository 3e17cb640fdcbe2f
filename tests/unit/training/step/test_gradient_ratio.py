"""The gradient ratio is measured, follows its target smoothly, and stops a run in which it stays too high."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.training.step.gradient_ratio import GradientRatio, gradient_square


def gradient_ratio(
    target: float | None = 0.1, every: int = 50, maximum: float = 10.0, group: str = "features", **options
) -> GradientRatio:
    return GradientRatio(group, target, every=every, maximum=maximum, **options)


def gradient_norm(*args, **options) -> float:
    return float(gradient_square(*args, **options).sqrt())


def test_gradient_norm_is_over_all_maps_together_and_keeps_the_graph():
    one, two = torch.zeros(3, requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = 3 * one.sum() + 2 * two.sum()
    assert gradient_norm(loss, [one, two]) == pytest.approx((9 * 3 + 4 * 2) ** 0.5)
    loss.backward()


def test_a_map_that_the_loss_does_not_use_adds_nothing():
    used, unused = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    assert gradient_norm(2 * used.sum(), [used, unused]) == pytest.approx(2)


def test_the_amp_scale_preserves_a_gradient_that_float16_would_lose():
    neck_map = torch.ones(4, requires_grad=True)
    loss = (neck_map.half().float() * 1e-9).sum()  # below the smallest float16
    assert gradient_norm(loss, [neck_map]) == 0
    assert gradient_norm(loss, [neck_map], amp_scale=65536) == pytest.approx(2e-9, rel=1e-2)


def test_the_first_measurement_sets_the_factor():
    ratio = gradient_ratio(target=0.25)
    ratio.update(distillation_norm=5000, detection_norm=10)
    assert ratio.factor == pytest.approx(0.25 / 500)
    assert ratio.current == pytest.approx(0.25)


def test_a_later_measurement_at_most_halves_or_doubles_the_factor():
    ratio = gradient_ratio(target=0.25)
    ratio.update(1, 1)
    ratio.update(1e9, 1)
    assert ratio.factor == pytest.approx(0.125)
    for _ in range(3):
        ratio.update(1e-9, 1)
    assert ratio.factor <= 1.0


def test_the_ratio_converges_to_the_target():
    ratio = gradient_ratio(target=0.1)
    ratio.update(1, 1)
    for _ in range(30):
        ratio.update(40, 1)
    assert ratio.current == pytest.approx(0.1, rel=1e-3)


def test_one_outlier_moves_the_factor_less_than_its_own_ratio():
    ratio = gradient_ratio(target=0.25)
    ratio.update(1, 1)
    ratio.update(2, 1)
    assert ratio.factor == pytest.approx(0.25 / 2**0.5)


@pytest.mark.parametrize("norms", [(float("nan"), 1), (float("inf"), 1), (0, 1), (1, 0)])
def test_a_measurement_that_is_not_positive_and_finite_is_ignored(norms):
    ratio = gradient_ratio(target=0.25)
    ratio.update(*norms)
    assert ratio.factor == 1 and ratio.current == 0 and not ratio.epoch_ratios


def test_fixed_weights_are_monitored_but_not_scaled():
    ratio = gradient_ratio(target=None)
    ratio.update(7, 1)
    assert ratio.factor == 1 and ratio.current == 7


def test_the_warm_up_is_linear():
    ratio = gradient_ratio(target=None)
    ratio.warmup_batches = 10
    gains = []
    for ratio.batches in (0, 5, 10, 20):
        gains.append(ratio.gain)
    assert gains == [0, 0.5, 1, 1]


def test_the_warm_up_of_a_short_run_ends_before_the_decay_starts():
    ratio = gradient_ratio(target=None, decay_start=0.3, decay_end=0.6)
    ratio.warmup_batches, ratio.run_batches = 30, 40
    gains = []
    for ratio.batches in (0, 6, 12, 18, 24):
        gains.append(ratio.gain)
    assert gains == pytest.approx([0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize(
    ("options", "gains"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"decay_start": 0.0}, [1, 0.853553, 0.5, 0.146447, 0]),
        ({"decay_start": 0.5}, [1, 1, 1, 0.5, 0]),
        ({"decay_start": 0.25, "decay_end": 0.75}, [1, 1, 0.5, 0, 0]),
        ({"decay_start": 0.5, "decay_end": 0.5}, [1, 1, 0, 0, 0]),
    ],
    ids=str,
)
def test_the_gain_falls_from_decay_start_to_decay_end(options, gains):
    ratio = gradient_ratio(target=None, **options)
    ratio.run_batches = 100
    computed = []
    for ratio.batches in (0, 25, 50, 75, 100):
        computed.append(ratio.gain)
    assert computed == pytest.approx(gains, abs=1e-6)


def test_the_schedule_has_ended_at_decay_end_and_the_summary_reports_it():
    ratio = gradient_ratio(decay_start=0.5, decay_end=0.8)
    ratio.run_batches, ratio.batches = 10, 7
    assert not ratio.ended and "schedule at" in ratio.summary()
    ratio.batches = 8
    assert ratio.ended and ratio.current == 0 and ratio.summary() == "features ended"


def test_without_a_detection_loss_the_summary_says_that_nothing_was_measured():
    ratio = gradient_ratio(target=None)
    ratio.update(1.0, 0.0)
    assert ratio.summary() == "features not measured (gain 1)" and ratio.factor == 1
    ratio.update(1.0, 2.0)
    assert ratio.summary() == "features 0.5 (gain 1)"


def test_a_measurement_is_due_at_the_interval_and_once_per_epoch():
    ratio = gradient_ratio(every=4)
    due = []
    for ratio.batches in range(6):
        due.append(ratio.due)
        if ratio.due:
            ratio.update(1, 1)
    assert due == [True, False, False, False, True, False]
    ratio.end_epoch()
    ratio.batches = 6
    assert ratio.due


def test_a_ratio_above_the_maximum_for_a_whole_epoch_stops_the_run():
    ratio = gradient_ratio(target=None, maximum=10, group="heads")
    ratio.update(11, 1)
    ratio.update(9, 1)
    ratio.end_epoch()
    ratio.update(11, 1)
    ratio.update(12, 1)
    with pytest.raises(FGDError, match=r"set heads\.ratio"):
        ratio.end_epoch()


def test_a_restored_ratio_continues_unchanged():
    ratio = gradient_ratio()
    ratio.batches = 7
    ratio.update(3, 1)
    restored = gradient_ratio()
    restored.load_state_dict(ratio.state_dict())
    for one in (ratio, restored):
        one.update(5, 1)
    assert restored.state_dict() == ratio.state_dict()
