from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.compare.options import folder_name, method_of, parse_method, parse_methods
from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import UsageError


def test_the_four_standard_methods():
    plain, ultralytics, fitnet, fgd = parse_methods(["plain", "ultralytics", "fitnet", "fgd"])
    assert [method.needs_teacher for method in (plain, ultralytics, fitnet, fgd)] == [False, True, True, True]
    assert ultralytics.config is None and not plain.config.active
    assert fitnet.config.method == "fitnet" and fgd.config == FGDConfig(method="fgd")


def test_changes_after_a_colon_are_in_the_configuration_and_the_label():
    method = parse_method("fgd:features.ratio=0.1,features.rel_weight=0")
    assert (method.config.features.ratio, method.config.features.rel_weight) == (0.1, 0)
    assert method.config.features.fg_weight == FGDConfig(method="fgd").features.fg_weight
    assert method.label == "fgd:features.ratio=0.1,features.rel_weight=0"
    assert parse_method("fgd:features.ratio=None").config.features.ratio is None


def test_a_class_map_keeps_the_commas_between_its_pairs():
    method = parse_method("fgd+heads:map=truck=car,bus=car,heads.ratio=1,box=5")
    assert method.config.map == {"truck": "car", "bus": "car"}
    assert (method.config.heads.ratio, method.gains) == (1, {"box": 5})


def test_another_scale_changes_default_weights_but_no_given_ones():
    for word, scale in (("fgd:features.scale=paper", "paper"), ("paper-yolo:features.scale=free", "free")):
        assert parse_method(word).config.weights == {
            **parse_method(word).config.weights,
            **FGDConfig.from_dict({"features.scale": scale, "method": "fgd"}).weights,
        }
    assert parse_method("fgd:features.scale=paper,features.fg_weight=0.5").config.features.fg_weight == 0.5


def test_methods_are_joined_with_a_plus_in_any_order_and_have_one_label():
    assert parse_method("heads+cwd:heads.ratio=1").label == "cwd+heads:heads.ratio=1"
    assert parse_method("cwd+heads").config == FGDConfig(method="cwd+heads")
    assert method_of(FGDConfig()).label == "heads+dfine"


def test_loss_gains_become_train_arguments_of_the_method():
    assert parse_method("ultralytics:dis=3").gains == {"dis": 3}
    assert parse_method("fgd:box=5,features.ratio=0.1").gains == {"box": 5}
    assert parse_method("ultralytics:dis=3").options == {"trainer": "ultralytics", "dis": 3}


def test_methods_say_what_they_make_of_images_without_labels():
    plain, whole, ours, labels = parse_methods(
        ["plain", "plain:labels=all", "fgd+heads:frames=true,unlabeled_ratio=0.7,pseudo=false", "pseudo-labels"]
    )
    assert [method.needs_label_fraction for method in (plain, whole, ours, labels)] == [False, True, True, True]
    assert [method.needs_teacher for method in (plain, whole, ours, labels)] == [False, False, True, True]
    assert (ours.config.unlabeled_ratio, ours.config.pseudo, ours.options["frames"]) == (0.7, False, True)
    assert (labels.score, labels.config.active) == (0.35, False)
    assert labels.options == {"trainer": "pseudo-labels", "score": 0.35}
    assert parse_method("pseudo-labels:score=0.5,box=5").options == {
        **{"trainer": "pseudo-labels", "score": 0.5},
        "box": 5,
    }
    assert not {"unlabeled_ratio", "pseudo", "frames"} & parse_method("fgd+heads").options.keys()


def test_a_recipe_file_is_labelled_without_its_folder(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("{method: fgd, features: {ratio: 0.5}}")
    method = parse_method(f"{file}:features.rel_weight=0")
    assert method.label == "mine.yaml:features.rel_weight=0"
    assert (method.config.features.ratio, method.config.features.rel_weight) == (0.5, 0)


def test_a_recipe_that_sets_more_than_the_distillation_is_refused():
    Path("mine.yaml").write_text("train: {epochs: 3}\nteacher: t.pt")
    with pytest.raises(UsageError, match="sets teacher, train"):
        parse_method("mine.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fgs"], "unknown method 'fgs', did you mean 'fgd'"),
        (["fgd:features.rato=0.1"], "unknown option 'features.rato', did you mean 'features.ratio'"),
        (["fgd:features.ratio=-1"], "features.ratio must be above 0, got -1"),
        (["ultralytics:lr0=0.1"], "accepts dis, box, cls, dfl, not lr0"),
        (["fgd:epochs=3"], "unknown option 'epochs'"),
        (["fgd:features.ratio=0.1", "fgd:features.ratio=0.1"], "more than once"),
        (["fgd:share"], "write name=value"),
        (["plain:labels=some"], "plain:labels=some: labels must be all, got some"),
        (["fgd:frames=false"], "frames must be true, got False"),
        (["plain:frames=true"], "plain:frames=true: nothing is distilled on frames without labels"),
        (["fgd:frames=true,labels=all"], "with labels=all no image is without labels"),
        (["ultralytics:frames=true"], "ultralytics knows no frames without labels"),
        (["pseudo-labels:frames=true"], "pseudo-labels accepts score, box, cls, dfl, not frames"),
        (["pseudo-labels:features.ratio=1"], "pseudo-labels accepts score, box, cls, dfl, not features.ratio"),
        (["pseudo-labels:score=2"], "score must be a number between 0 and 1, got 2"),
    ],
)
def test_an_invalid_method_is_a_one_line_error(words, message):
    with pytest.raises(UsageError, match=message):
        parse_methods(words)


def test_plain_training_has_no_options():
    assert parse_method("plain").options == {}


def test_labels_become_valid_folder_names():
    assert folder_name("fgd:features.ratio=0.1,features.rel_weight=0") == "fgd-features.ratio-0.1-features.rel_weight-0"
    assert "/" not in folder_name("a/b c")


@pytest.mark.parametrize(
    "word", ["plain", "fitnet", "fgd", "paper-yolo", "fgd:features.ratio=0.2", "fitnet:features.imitation_weight=2"]
)
def test_a_configuration_gets_the_label_that_parses_to_it(word):
    method = parse_method(word)
    assert method_of(method.config) == method
