from __future__ import annotations

import pytest

from fgd_yolo.compare.comparability import check_all, common_arguments, refusal, stated_rate
from fgd_yolo.errors import FGDError
from unit.compare.made_up import made_up

PLAIN = made_up("plain", 0)


def test_runs_that_differ_in_method_seed_and_result_are_compared():
    others = [PLAIN, made_up("ultralytics", 0, 0.6, teacher_key="t"), made_up("plain", 1, 0.4)]
    assert refusal(made_up("fgd", 1, 0.55, teacher_key="t", options={"gradient_ratio": 0.25}), others) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 29}, r"epochs \(29 and 30\)"),
        ({"batch": 8}, r"batch \(8 and 16\)"),
        ({"imgsz": 640}, r"imgsz \(640 and 320\)"),
        ({"optimizer": "MuSGD"}, r"optimizer \(MuSGD and AdamW\)"),
        ({"lr0": 0.01}, r"lr0 \(0.01 and 0.001429\)"),
        ({"arguments": {"mosaic": 0.0}}, r"cos_lr \(None and True\), mosaic \(0.0 and None\)"),
        ({"data_key": "other"}, "the images or labels"),
        ({"student_key": "other"}, "the student"),
        ({"val_images": 71}, r"val_images \(71 and 72\)"),
        ({"hold_out": 0.2}, r"hold_out \(0.2 and 0.0\)"),
        ({"device_type": "cuda"}, "the kind of device"),
        ({"order": "other"}, "the order or augmentation of the images"),
        ({"init": "other"}, "the initial weights"),
    ],
)
def test_what_differs_besides_the_method_is_named(values, words):
    with pytest.raises(FGDError, match=rf"^runs\.csv: cells, fgd, seed 0 and cells, plain, seed 0 differ in {words};"):
        check_all([PLAIN, made_up("fgd", 0, **values)], "runs.csv")


def test_order_and_initial_weights_are_those_of_a_seed():
    assert refusal(made_up("fgd", 1, order="other", init="other"), [PLAIN]) is None


def test_data_sets_have_budgets_of_their_own():
    assert refusal(made_up("fgd", 0, data="boards", epochs=100, imgsz=640), [PLAIN]) is None


def test_all_data_sets_share_what_a_method_is_and_whether_images_were_held_out():
    other = made_up("fgd", 0, data="boards", options={"gradient_ratio": 0.25})
    reason = refusal(made_up("fgd", 0, options={"gradient_ratio": 0.1}), [other])
    assert reason.endswith("differ in gradient_ratio (0.1 and 0.25)")
    assert refusal(made_up("plain", 0, hold_out=0.2), [other]).endswith("differ in hold_out (0.2 and 0.0)")


def test_a_run_that_is_there_twice_is_named():
    with pytest.raises(FGDError, match=r"runs\.csv: cells, plain, seed 0 is there twice"):
        check_all([PLAIN, made_up("fgd", 0), made_up("plain", 0, 0.6)], "runs.csv")


def test_optimizer_and_rate_are_known_beforehand_where_they_were_named():
    assert stated_rate({"optimizer": "auto", "lr0": 0.1}) == {"optimizer": None, "lr0": None}
    stated = stated_rate({"optimizer": "adamw", "lr0": 0.1})
    assert refusal(made_up("fgd", 1, **stated), [PLAIN]).endswith("differ in lr0 (0.1 and 0.001429)")


def test_what_is_not_known_is_no_difference():
    planned = made_up("fgd", 0, optimizer=None, lr0=None, order=None, init=None, teacher_key=None)
    assert refusal(planned, [PLAIN]) is None


def test_a_method_that_means_something_else_now_is_refused():
    before = made_up("fgd", 0, options={"gradient_ratio": 0.25, "rel_weight": 1e-6})
    after = made_up("fgd", 1, options={"gradient_ratio": 0.1, "rel_weight": 1e-6, "new_switch": False})
    assert refusal(after, [before]).endswith("differ in gradient_ratio (0.1 and 0.25)")
    assert refusal(made_up("fgd", 1, options={"gradient_ratio": 0.25, "new_switch": False}), [before]) is None


def test_a_rate_that_was_rounded_in_the_file_is_the_same_rate():
    assert refusal(made_up("fgd", 0, lr0=0.00142900001), [PLAIN]) is None


def test_only_arguments_that_decide_what_is_learnt_and_are_not_the_defaults_count():
    train = {
        "epochs": 5,
        "imgsz": 64,
        "mosaic": 0.0,
        "fliplr": 0.5,
        "plots": False,
        "workers": 3,
        "patience": 0,
        "seed": 4,
    }
    assert common_arguments({**train, "model": "x.pt", "data": "y.yaml", "device": "cpu"}) == {"mosaic": 0.0}
