"""Recipes: those that are shipped, checks, and reading from YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fgd_yolo.cfg import recipe_names

from fgd_yolo.config import FGDConfig, Recipe, load_recipe
from fgd_yolo.errors import UsageError


def write(path, text):
    path.write_text(text)
    return path


def test_an_unknown_recipe_key_names_the_closest_one():
    with pytest.raises(UsageError, match=r"'techer', did you mean 'teacher'\?"):
        Recipe.from_dict({"techer": "yolov8l"})


def test_an_unknown_recipe_name_names_the_closest_one():
    with pytest.raises(UsageError, match=r"'plian' is unknown, did you mean 'plain'\?"):
        load_recipe("plian")


def test_the_recipes_of_the_paper_and_the_baselines_are_shipped():
    paper = {f"paper-{name}" for name in ("fcos", "reppoints", "retinanet", "two-stage", "yolo", "yolox")}
    assert set(recipe_names()) == {"plain", "pretrain"} | paper


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads(name):
    assert isinstance(load_recipe(name), FGDConfig)


def test_a_paper_recipe_keeps_the_weights_of_its_file():
    features = load_recipe("paper-retinanet").features
    assert list(features.weights.values()) == [1e-3, 5e-4, 5e-4, 5e-6]
    assert (features.ratio, features.temperature) == (None, 0.5)


def test_the_recipes_without_weights_have_the_defaults_of_their_scale():
    assert list(Recipe(method="fgd").features.weights.values()) == [0.5, 0.25, 0.25, 1.0]
    assert list(load_recipe("paper-yolo").features.weights.values()) == [2e-4, 1e-4, 2e-4, 1e-6]


def test_plain_is_inactive_and_every_other_recipe_is_active():
    assert {name for name in recipe_names() if not load_recipe(name).active} == {"plain"}


def test_an_exponent_without_a_dot_is_refused_with_the_reason(tmp_path):
    path = write(tmp_path / "recipe.yaml", "method: fgd\nfeatures:\n  fg_weight: 1e-4\n")
    assert yaml.safe_load(path.read_text())["features"]["fg_weight"] == "1e-4"  # the trap: YAML reads text here
    with pytest.raises(UsageError, match=r"fg_weight must be a number.*write 1\.0e-4"):
        load_recipe(path)


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
        {"teacher_epochs": "never"},
        {"train": 3},
        {"heads": 3},
    ],
)
def test_a_wrong_value_in_a_recipe_is_a_usage_error_of_one_line_that_names_it(options):
    with pytest.raises(UsageError, match=f"^{next(iter(options))} must be .*, got ") as caught:
        Recipe.from_dict(options)
    assert "\n" not in str(caught.value)


def test_the_epochs_of_the_teacher_are_a_number_or_auto_which_is_the_default():
    assert Recipe().teacher_epochs == Recipe(teacher_epochs=None).teacher_epochs == "auto"
    assert Recipe(teacher_epochs=5).override(teacher_epochs="auto").teacher_epochs == "auto"


def test_a_path_is_a_model_name_too():
    assert Recipe(teacher=Path("a") / "b.pt").teacher == "a/b.pt"


@pytest.mark.parametrize("teacher", ["a.pt,b.pt", "a.pt , b.pt", ["a.pt", Path("b.pt")], ("a.pt", "b.pt")])
def test_several_teachers_are_a_list_or_text_with_commas(teacher):
    assert Recipe(teacher=teacher).teachers == ("a.pt", "b.pt")
    assert Recipe(teacher="x.pt").override(teacher=teacher).teachers == ("a.pt", "b.pt")


def test_one_teacher_is_a_list_of_one_and_none_is_an_empty_list():
    assert Recipe(teacher="yolov8l").teachers == ("yolov8l",) and Recipe().teachers == ()


def test_a_recipe_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("# für Kameras\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"recipe .*latin\.yaml cannot be read: .*utf-8"):
        load_recipe(tmp_path / "latin.yaml")


def test_an_existing_folder_of_frames_is_not_split_at_its_commas(tmp_path):
    (tmp_path / "door, day 1").mkdir()
    assert Recipe(unlabeled=str(tmp_path / "door, day 1")).unlabeled == (str(tmp_path / "door, day 1"),)
    assert Recipe(unlabeled="a, b").unlabeled == ("a", "b")


def test_the_name_of_an_existing_file_is_not_split_at_its_commas(tmp_path):
    file = tmp_path / "a,b.pt"
    assert len(Recipe(teacher=str(file)).teachers) == 2
    file.touch()
    assert Recipe(teacher=str(file)).teachers == Recipe(teacher=[file]).teachers == (str(file),)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("a.pt,b.pt,a.pt", "teacher a.pt given more than once: leave out one"),
        (["a.pt", "a.pt"], "teacher a.pt given more than once: leave out one"),
        ("a.pt,", "teacher 'a.pt,' has an empty name"),
        (["a.pt", 3], r"teacher must be a model name or file, or a list of them, got \['a.pt', 3\]"),
        ([], "teacher must be a model name or file, or a list of them"),
    ],
)
def test_a_wrong_list_of_teachers_is_a_usage_error_that_names_it(teacher, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        Recipe(teacher=teacher)


def test_an_option_of_the_top_level_is_suggested_before_one_of_the_same_name_in_a_group():
    with pytest.raises(UsageError, match="did you mean 'teacher'"):
        Recipe.from_dict({"teachr": "t.pt"})
    with pytest.raises(UsageError, match=r"did you mean 'features\.teacher'"):
        Recipe.from_dict({"features": {"teachr": 2}})


def test_a_zero_is_an_override_and_none_is_not():
    assert Recipe(teacher_epochs=5).override(teacher_epochs=0).teacher_epochs == 0


def test_a_recipe_survives_a_round_trip_through_yaml():
    options = {"method": "fgd", "features": {"ratio": None, "fg_weight": 1e-3}}
    recipe = Recipe(teacher="a.pt", data="d.yaml", train={"lr0": 0.01}, **options)
    for same in (recipe, recipe.override(teacher=["a.pt", "b.pt"])):
        assert Recipe.from_dict(yaml.safe_load(yaml.safe_dump(same.to_dict()))) == same


@pytest.mark.parametrize("text", ["- a\n- b\n", "features: [unclosed\n", "train: 3\n"])
def test_a_file_that_is_not_a_mapping_of_options_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(UsageError) as caught:
        load_recipe(write(tmp_path / "recipe.yaml", text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        load_recipe("nowhere.yaml")


def test_an_empty_file_is_the_default(tmp_path):
    assert load_recipe(write(tmp_path / "empty.yaml", "")) == Recipe()


def test_a_recipe_is_a_distillation_with_models_and_data():
    config = FGDConfig(method="fitnet", pictures_every=0)
    recipe = Recipe.of(config, teacher="a.pt")
    assert recipe.config == config and type(recipe.config) is FGDConfig
    assert recipe.replace(**{"features.imitation_weight": 2.0}).features.ratio == 0.25, "still a default of the method"


def test_the_options_of_the_distillation_can_be_overridden():
    changed = Recipe(heads={"ratio": 0.1}).override(teacher="t.pt", **{"heads.cls_weight": 2.0})
    assert (changed.heads.ratio, changed.heads.cls_weight, changed.teacher) == (0.1, 2.0, "t.pt")


def test_a_data_set_given_as_a_recipe_is_named(tmp_path):
    path = write(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [disc]\n")
    with pytest.raises(UsageError, match=r"data\.yaml is a data set, not a recipe: give it as data= \(--data\)"):
        load_recipe(path)


def test_a_wrong_option_is_reported_with_its_recipe(tmp_path):
    with pytest.raises(UsageError, match=r"mine\.yaml: unknown option 'features\.ratoi', did you mean"):
        load_recipe(write(tmp_path / "mine.yaml", "features: {ratoi: 0.1}"))
