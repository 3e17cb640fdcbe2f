from __future__ import annotations

import pytest

from fgd_yolo.compare.comparability import check_comparable, common_arguments, find_difference, known_optimizer
from fgd_yolo.errors import FGDError
from unit.compare.example_runs import example_run

PLAIN = example_run("plain", 0)


def test_runs_may_differ_in_method_seed_and_result():
    others = [PLAIN, example_run("ultralytics", 0, 0.6, teacher_digest="t"), example_run("plain", 1, 0.4)]
    assert (
        find_difference(example_run("fgd", 1, 0.55, teacher_digest="t", options={"features.ratio": 0.25}), others)
        is None
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 29}, r"epochs \(29 and 30\)"),
        ({"batch": 8}, r"batch \(8 and 16\)"),
        ({"imgsz": 640}, r"imgsz \(640 and 320\)"),
        ({"optimizer": "MuSGD"}, r"optimizer \(MuSGD and AdamW\)"),
        ({"lr0": 0.01}, r"lr0 \(0.01 and 0.001429\)"),
        ({"arguments": {"mosaic": 0.0}}, r"cos_lr \(None and True\), mosaic \(0.0 and None\)"),
        ({"measured": "masks"}, r"measured \(masks and boxes\)"),
        ({"data_digest": "other"}, "the images or labels"),
        ({"student_digest": "other"}, "the student"),
        ({"val_images": 71}, r"val_images \(71 and 72\)"),
        ({"val_fraction": 0.2}, r"val_fraction \(0.2 and 0.0\)"),
        ({"device_type": "cuda"}, "the kind of device"),
        ({"batches_digest": "other"}, "the order or augmentation of the images"),
        ({"init_digest": "other"}, "the initial weights"),
    ],
)
def test_a_difference_other_than_the_method_is_named(values, words):
    with pytest.raises(FGDError, match=rf"^runs\.csv: cells, fgd, seed 0 and cells, plain, seed 0 differ in {words};"):
        check_comparable([PLAIN, example_run("fgd", 0, **values)], "runs.csv")


def test_batches_and_initial_weights_may_differ_between_seeds():
    assert find_difference(example_run("fgd", 1, batches_digest="other", init_digest="other"), [PLAIN]) is None


@pytest.mark.parametrize(("option", "column"), [("inherit", "init_digest"), ("teacher_imgsz", "batches_digest")])
def test_a_method_may_change_weights_or_boxes_only_by_the_option_that_does(option, column):
    method = example_run("fgd", 0, options={option: 128}, **{column: "other"})
    assert find_difference(method, [PLAIN]) is None
    assert find_difference(example_run("fgd", 0, options={option: 0}, **{column: "other"}), [PLAIN]) is not None


def part(method: str, seed: int, **values) -> object:
    """Return a run with a tenth of the labels, chosen by the seed, and a teacher trained on these."""
    chosen = {"label_fraction": 0.1, "labelled_digest": f"chosen{seed}", "val_digest": "val"}
    of_seed = {"data_digest": f"part{seed}", "teacher_digest": f"teacher{seed}" if method != "plain" else None}
    return example_run(method, seed, **{**chosen, **of_seed, **values})


def test_the_seed_may_choose_data_and_teacher_only_where_it_chooses_the_labels():
    assert find_difference(part("fgd", 1), [part("plain", 0), part("fgd", 0), part("plain", 1)]) is None
    assert "the images or labels" in find_difference(example_run("plain", 1, data_digest="other"), [PLAIN])
    for column, words in (
        ("labelled_digest", "the images that keep their labels"),
        ("data_digest", "the images or labels"),
        ("teacher_digest", "the teacher"),
    ):
        reason = find_difference(part("fgd", 0, **{column: "other"}), [part("plain", 0, teacher_digest="teacher0")])
        assert reason.endswith(f"differ in {words}")
    other_val = find_difference(part("fgd", 1, val_digest="other"), [part("plain", 0)])
    assert other_val.endswith("differ in the images or labels that are measured on")


def test_runs_with_other_fractions_of_the_labels_are_refused_and_all_labels_stand_beside_them():
    assert find_difference(part("fgd", 1), [PLAIN]).endswith("differ in label_fraction (0.1 and 1.0)")
    whole = part("plain:labels=all", 0, options={"labels": "all"}, data_digest="whole", batches_digest="other")
    assert find_difference(whole, [part("plain", 0), part("fgd", 1)]) is None
    assert find_difference(whole.with_values(init_digest="other"), [part("plain", 0)]) is not None
    assert find_difference(whole.with_values(train_images=29), [part("plain", 0)]) is not None


@pytest.mark.parametrize(
    "options",
    [{"labels": "all"}, {"trainer": "pseudo-labels", "score": 0.35}, {"frames": True, "unlabeled_ratio": 0.5}],
)
def test_methods_with_other_images_need_the_same_start_images_per_epoch_and_val(options):
    base = part("plain", 0, epoch_images=292)
    own = part("other", 0, options=options, data_digest="own", batches_digest="own", epoch_images=292)
    assert find_difference(own, [base]) is None
    for column in ("init_digest", "val_digest", "labelled_digest", "train_images", "epoch_images", "epochs"):
        assert find_difference(own.with_values(**{column: "other"}), [base]) is not None, column


def test_methods_with_frames_see_the_same_batches_if_they_have_the_same_ratio():
    frames = part("fgd:frames=true", 0, options={"frames": True, "unlabeled_ratio": 0.5}, batches_digest="a")
    same = part("mgd:frames=true", 0, options={"frames": True, "unlabeled_ratio": 0.5}, batches_digest="b")
    assert find_difference(same, [frames]).endswith("differ in the order or augmentation of the images")
    more = same.with_values(options={"frames": True, "unlabeled_ratio": 0.7})
    assert find_difference(more, [frames]) is None


def test_budgets_may_differ_between_data_sets():
    assert find_difference(example_run("fgd", 0, data="boards", epochs=100, imgsz=640), [PLAIN]) is None


def test_method_options_and_hold_out_are_shared_by_all_data_sets():
    other = example_run("fgd", 0, data="boards", options={"features.ratio": 0.25})
    reason = find_difference(example_run("fgd", 0, options={"features.ratio": 0.1}), [other])
    assert reason.endswith("differ in features.ratio (0.1 and 0.25)")
    assert find_difference(example_run("plain", 0, val_fraction=0.2), [other]).endswith(
        "differ in val_fraction (0.2 and 0.0)"
    )


def test_runs_of_different_tasks_are_not_compared_even_on_other_data():
    masks = example_run("fgd", 0, data="boards", measured="masks")
    assert find_difference(masks, [PLAIN]).endswith("differ in measured (masks and boxes)")


def test_a_run_that_is_listed_twice_is_named():
    with pytest.raises(FGDError, match=r"runs\.csv: cells, plain, seed 0 is listed twice"):
        check_comparable([PLAIN, example_run("fgd", 0), example_run("plain", 0, 0.6)], "runs.csv")


def test_optimizer_and_learning_rate_are_known_unless_automatic():
    assert known_optimizer({"optimizer": "auto", "lr0": 0.1}) == {"optimizer": None, "lr0": None}
    stated = known_optimizer({"optimizer": "adamw", "lr0": 0.1})
    assert find_difference(example_run("fgd", 1, **stated), [PLAIN]).endswith("differ in lr0 (0.1 and 0.001429)")


def test_an_unknown_value_is_not_a_difference():
    planned = example_run(
        "fgd", 0, optimizer=None, lr0=None, batches_digest=None, init_digest=None, teacher_digest=None
    )
    assert find_difference(planned, [PLAIN]) is None


def test_a_method_whose_options_changed_is_named():
    before = example_run("fgd", 0, options={"features.ratio": 0.25, "features.rel_weight": 1e-6})
    after = example_run("fgd", 1, options={"features.ratio": 0.1, "features.rel_weight": 1e-6, "new_switch": False})
    assert find_difference(after, [before]).endswith("differ in features.ratio (0.1 and 0.25)")
    assert (
        find_difference(example_run("fgd", 1, options={"features.ratio": 0.25, "new_switch": False}), [before]) is None
    )


def test_a_learning_rate_rounded_in_the_file_is_not_a_difference():
    assert find_difference(example_run("fgd", 0, lr0=0.00142900001), [PLAIN]) is None


def test_only_arguments_that_affect_training_and_differ_from_the_defaults_count():
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
