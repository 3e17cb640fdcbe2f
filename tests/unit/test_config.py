"""Options of a distillation and recipes: defaults, checks, and reading from YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fgd_yolo.cfg import recipe_names

from fgd_yolo.config import FGDConfig, Recipe, load_recipe
from fgd_yolo.errors import UsageError
from fgd_yolo.methods import METHODS


def write(path, text):
    path.write_text(text)
    return path


def test_an_unknown_fgd_key_names_the_closest_one():
    with pytest.raises(UsageError, match=r"'fg_wieght', did you mean 'fg_weight'\?"):
        FGDConfig.from_dict({"fg_wieght": 1.0})


def test_an_unknown_recipe_key_names_the_closest_one():
    with pytest.raises(UsageError, match=r"'techer', did you mean 'teacher'\?"):
        Recipe.from_dict({"techer": "yolov8l"})


@pytest.mark.parametrize(("option", "wrong", "near"), [("scale", "fre", "free"), ("method", "fitnt", "fitnet")])
def test_an_unknown_choice_names_the_closest_one(option, wrong, near):
    with pytest.raises(UsageError, match=f"{option} '{wrong}' is unknown, did you mean '{near}'"):
        FGDConfig(**{option: wrong})


def test_an_unknown_recipe_name_names_the_closest_one():
    with pytest.raises(UsageError, match=r"'plian' is unknown, did you mean 'plain'\?"):
        load_recipe("plian")


def test_the_recipes_of_the_paper_and_the_baselines_are_shipped():
    paper = {f"paper-{name}" for name in ("fcos", "reppoints", "retinanet", "two-stage", "yolo", "yolox")}
    assert set(recipe_names()) == {*METHODS, "plain", "scale-free", "heads"} | paper


def test_weights_that_are_not_given_fit_the_scale():
    free = load_recipe("scale-free").fgd
    assert (free.fg_weight, free.bg_weight, free.attn_weight, free.rel_weight) == (0.5, 0.25, 0.25, 1.0)
    assert FGDConfig(scale="free", rel_weight=0.0).weights["rel_loss"] == 0
    assert FGDConfig(scale="paper").weights["fg_loss"] == 2e-4
    assert list(load_recipe("paper-yolo").fgd.feature_weights.values()) == [2e-4, 1e-4, 2e-4, 1e-6]


def test_a_change_of_scale_brings_its_weights_but_replaces_none_that_was_given():
    changed = FGDConfig(scale="paper", fg_weight=1.0).replace(scale="free")
    assert (changed.fg_weight, changed.bg_weight) == (1.0, 0.25)
    assert not FGDConfig().replace(method="fitnet").heads


def test_an_option_of_another_method_is_refused_and_names_that_method():
    with pytest.raises(UsageError, match="imitation_weight is an option of method fitnet, not of fgd: leave it out"):
        FGDConfig(imitation_weight=1.0)
    with pytest.raises(UsageError, match=r"temperature is an option of method .*fgd.*, not of fitnet"):
        FGDConfig(method="fitnet", temperature=1.0)


@pytest.mark.parametrize("name", METHODS)
def test_the_options_of_a_method_are_attributes_beside_the_common_ones(name):
    config = FGDConfig(method=name)
    options = dict(config.method_options)
    assert options and {key: getattr(config, key) for key in options} == options
    assert config.to_dict().keys() == options.keys() | FGDConfig.model_fields.keys()
    assert FGDConfig.from_dict(config.to_dict()) == config
    assert config.heads is METHODS[name].imitates_heads


def test_the_options_do_not_change():
    for config, name in ((FGDConfig(), "gradient_ratio"), (FGDConfig(), "fg_weight"), (Recipe(), "teacher")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(config, name, None)


def test_heads_are_imitated_beside_fgd_but_beside_plain_imitation_only_on_request():
    assert FGDConfig().heads and not FGDConfig(method="fitnet").heads
    assert FGDConfig(method="fitnet", heads=True).head_weights and not FGDConfig(heads=False).head_weights


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads(name):
    assert isinstance(load_recipe(name).fgd, FGDConfig)


def test_the_recipe_of_the_default_method_repeats_no_default():
    assert load_recipe("fgd") == Recipe() and load_recipe("fgd").fgd.model_fields_set == {"method"}


def test_a_paper_recipe_keeps_the_weights_of_its_file():
    fgd = load_recipe("paper-retinanet").fgd
    assert (fgd.fg_weight, fgd.bg_weight, fgd.attn_weight, fgd.rel_weight) == (1e-3, 5e-4, 5e-4, 5e-6)
    assert (fgd.gradient_ratio, fgd.temperature) == (None, 0.5)


def test_plain_is_inactive_and_every_other_recipe_is_active():
    assert {name for name in recipe_names() if not load_recipe(name).fgd.active} == {"plain"}


def test_a_single_weight_makes_the_distillation_active():
    off = {"fg_weight": 0, "bg_weight": 0, "attn_weight": 0, "heads": False}
    assert FGDConfig(**off, rel_weight=1e-6).active
    assert not FGDConfig(**off, rel_weight=0).active
    assert not FGDConfig(method="fitnet", imitation_weight=0).active


def test_an_exponent_without_a_dot_is_refused_with_the_reason(tmp_path):
    path = write(tmp_path / "recipe.yaml", "fgd:\n  fg_weight: 1e-4\n")
    assert yaml.safe_load(path.read_text())["fgd"]["fg_weight"] == "1e-4"  # the trap: YAML reads text here
    with pytest.raises(UsageError, match=r"fg_weight must be a number.*write 1\.0e-4"):
        load_recipe(path)


@pytest.mark.parametrize(
    "options",
    [
        {"fg_weight": -1.0},
        {"bg_weight": True},
        {"temperature": 0},
        {"gradient_ratio": 0},
        {"gradient_ratio": float("nan")},
        {"rel_weight": float("inf")},
        {"ratio_every": 0},
        {"plot_every": -1},
        {"plot_every": 2.5},
        {"method": "fgdd"},
        {"scale": "papper"},
        {"heads": 1},
        {"head_gradient_ratio": 0.0},
        {"decay_end": 0.0},
        {"decay_end": 1.5},
        {"decay_start": 0.9, "decay_end": 0.5},
        {"fg_weight": None},
        {"imitation_weight": -1.0, "method": "fitnet"},
        {"imitation_weight": True, "method": "fitnet"},
    ],
)
def test_a_value_out_of_range_is_a_usage_error_of_one_line_that_names_it(options):
    with pytest.raises(UsageError) as caught:
        FGDConfig.from_dict(options)
    assert next(iter(options)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_override_replaces_what_it_gives_and_keeps_the_rest():
    recipe = Recipe(teacher="a.pt", student="b.yaml", teacher_epochs=5, train={"imgsz": 320, "batch": 16})
    changed = recipe.override(teacher="c.pt", student=None, train={"imgsz": 640})
    assert (changed.teacher, changed.student, changed.teacher_epochs) == ("c.pt", "b.yaml", 5)
    assert changed.train == {"imgsz": 640, "batch": 16}
    assert recipe.train == {"imgsz": 320, "batch": 16}


@pytest.mark.parametrize(
    "options",
    [
        {"teacher": 5},
        {"teacher_epochs": -1},
        {"teacher_epochs": "5"},
        {"teacher_epochs": True},
        {"train": 3},
        {"fgd": 3},
    ],
)
def test_a_wrong_value_in_a_recipe_is_a_usage_error_of_one_line_that_names_it(options):
    with pytest.raises(UsageError, match=f"^{next(iter(options))} must be .*, got ") as caught:
        Recipe.from_dict(options)
    assert "\n" not in str(caught.value)


def test_a_path_is_a_model_name_too():
    assert Recipe(teacher=Path("a") / "b.pt").teacher == "a/b.pt"


def test_a_zero_is_an_override_and_none_is_not():
    assert Recipe(teacher_epochs=5).override(teacher_epochs=0).teacher_epochs == 0


def test_a_recipe_survives_a_round_trip_through_yaml():
    recipe = Recipe(
        teacher="a.pt", data="d.yaml", train={"lr0": 0.01}, fgd=FGDConfig(gradient_ratio=None, fg_weight=1e-3)
    )
    assert Recipe.from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("text", ["- a\n- b\n", "fgd: [unclosed\n", "train: 3\n"])
def test_a_file_that_is_not_a_mapping_of_options_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(UsageError) as caught:
        load_recipe(write(tmp_path / "recipe.yaml", text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        load_recipe("nowhere.yaml")


def test_an_empty_file_is_the_default(tmp_path):
    assert load_recipe(write(tmp_path / "empty.yaml", "")) == Recipe()
