"""Options of a distillation: groups, defaults and checks."""

from __future__ import annotations

import pytest

from fgd_yolo.config import METHOD_OPTIONS, FeatureOptions, FGDConfig
from fgd_yolo.config.method_options import FGDOptions
from fgd_yolo.errors import UsageError

PROMISED = {
    "features": {
        *("method", "scale", "temperature", "teacher"),
        *("fg_weight", "bg_weight", "attn_weight", "rel_weight", "ratio"),
    },
    "heads": {
        *("enabled", "ratio", "cls_weight", "box_weight"),
        *("mask_weight", "keypoint_weight", "visibility_weight", "angle_weight"),
    },
    "schedule": {"warmup_epochs", "decay_start", "decay_end", "measure_every"},
    "checks": {"min_teacher_map", "max_ratio"},
}


def test_the_options_are_in_groups():
    flat = {f"{group}.{option}" for group, options in PROMISED.items() for option in options}
    assert set(FGDConfig().flat()) == flat | {"map", "pictures_every"}
    assert flat < set(FGDConfig.option_names())


def test_a_group_is_a_mapping_an_object_or_dotted_options():
    given = FGDConfig(features={"fg_weight": 1.0, "ratio": None}, heads={"ratio": 0.25})
    assert given == FGDConfig(features=FGDOptions(fg_weight=1.0, ratio=None), heads={"ratio": 0.25})
    assert given == FGDConfig.from_dict({"features.fg_weight": 1.0, "features.ratio": None, "heads.ratio": 0.25})
    assert given == FGDConfig.from_dict({"features": {"fg_weight": 1.0}, "features.ratio": None, "heads.ratio": 0.25})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"features": {"fg_wieght": 1.0}},
            r"unknown option 'features\.fg_wieght', did you mean 'features\.fg_weight'\?",
        ),
        ({"fg_weight": 1.0}, r"unknown option 'fg_weight', did you mean 'features\.fg_weight'\?"),
        ({"hedas": {}}, r"unknown option 'hedas'"),
        ({"imitation_weight": 1.0}, r"did you mean 'features\.imitation_weight'"),
        ({"features": {"scale": "fre"}}, r"features\.scale 'fre' is unknown, did you mean 'free'"),
        ({"features": {"method": "fitnt"}}, r"features\.method 'fitnt' is unknown, did you mean 'fitnet'"),
        ({"heads.ratio": 1.0, "heads": False}, r"heads"),
        ({"heads": False}, r"heads must be a mapping of options, got False"),
        ({"heads": {1: 2}}, r"unknown option 'heads\.1'"),
        ({1: 2}, r"unknown option '1'"),
        ({"features": {"method": ["fgd"]}}, r"features\.method '\['fgd'\]' is unknown"),
    ],
)
def test_a_wrong_name_is_an_error_with_the_closest_one(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        FGDConfig.from_dict(options)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_given_fit_the_scale():
    assert FGDConfig(features={"scale": "free", "rel_weight": 0.0}).weights["rel_loss"] == 0
    assert FGDConfig(features={"scale": "paper"}).weights["fg_loss"] == 2e-4


def test_a_change_replaces_single_options_of_a_group():
    config = FGDConfig(features={"scale": "paper", "fg_weight": 1.0}, heads={"ratio": 0.25})
    changed = config.replace(**{"features.scale": "free", "heads.cls_weight": 2.0, "pictures_every": 0})
    assert (changed.features.fg_weight, changed.features.bg_weight) == (1.0, 0.25), "given, and the default of free"
    assert (changed.heads.ratio, changed.heads.cls_weight, changed.pictures_every) == (0.25, 2.0, 0)
    assert config.heads.cls_weight == 1.0, "the original is unchanged"


def test_a_change_of_the_method_brings_its_defaults():
    changed = FGDConfig().replace(features={"method": "fitnet"})
    assert changed.features == METHOD_OPTIONS["fitnet"]() and not changed.heads.enabled
    assert FGDConfig(heads={"enabled": True}).replace(features={"method": "fitnet"}).heads.enabled, "it was given"


def test_an_option_of_another_method_is_refused_and_names_that_method():
    with pytest.raises(UsageError, match=r"features\.imitation_weight is an option of method fitnet, not of fgd"):
        FGDConfig(features={"imitation_weight": 1.0})
    with pytest.raises(UsageError, match=r"features\.temperature is an option of method .*fgd.*, not of fitnet"):
        FGDConfig(features={"method": "fitnet", "temperature": 1.0})


def test_no_two_methods_have_an_option_of_the_same_name():
    own = [
        name for model in METHOD_OPTIONS.values() for name in model.model_fields.keys() - FeatureOptions.model_fields
    ]
    assert len(own) == len(set(own))


@pytest.mark.parametrize("name", METHOD_OPTIONS)
def test_a_method_has_its_own_options_and_survives_a_round_trip(name):
    config = FGDConfig(features={"method": name})
    assert type(config.features) is METHOD_OPTIONS[name] and config.features.weights
    assert FGDConfig.from_dict(config.to_dict()) == FGDConfig.from_dict(config.flat()) == config
    assert config.heads.enabled is METHOD_OPTIONS[name].imitates_heads


@pytest.mark.parametrize("name", METHOD_OPTIONS)
def test_every_option_has_a_description(name):
    models = [FGDConfig, *(type(value) for _, value in FGDConfig(features={"method": name}) if hasattr(value, "group"))]
    for model in models:
        for option, field in model.model_fields.items():
            assert option == "method" or field.description, f"{model.__name__}.{option}"


def test_given_options_are_in_the_order_of_the_fields():
    given = FGDConfig(features={"rel_weight": 1.0, "bg_weight": 1.0, "fg_weight": 1.0, "scale": "free"}).features.given
    assert [*given] == ["scale", "fg_weight", "bg_weight", "rel_weight"], "messages name the first"


def test_the_options_do_not_change():
    for options, name in (
        (FGDConfig(), "pictures_every"),
        (FGDConfig().features, "ratio"),
        (FGDConfig().heads, "ratio"),
    ):
        with pytest.raises(ValueError, match="frozen"):
            setattr(options, name, None)


def test_heads_are_imitated_beside_fgd_but_beside_plain_imitation_only_on_request():
    assert FGDConfig().heads.enabled and not FGDConfig(features={"method": "fitnet"}).heads.enabled
    assert FGDConfig(features={"method": "fitnet"}, heads={"enabled": True}).heads.weights
    assert not FGDConfig(heads={"enabled": False}).heads.weights


def test_a_single_weight_makes_the_distillation_active():
    off = {"features.fg_weight": 0, "features.bg_weight": 0, "features.attn_weight": 0, "heads.enabled": False}
    assert FGDConfig.from_dict({**off, "features.rel_weight": 1e-6}).active
    assert not FGDConfig.from_dict({**off, "features.rel_weight": 0}).active
    assert not FGDConfig(features={"method": "fitnet", "imitation_weight": 0}).active


@pytest.mark.parametrize(
    "options",
    [
        {"features.fg_weight": -1.0},
        {"features.bg_weight": True},
        {"features.temperature": 0},
        {"features.ratio": 0},
        {"features.ratio": float("nan")},
        {"features.rel_weight": float("inf")},
        {"schedule.measure_every": 0},
        {"pictures_every": -1},
        {"pictures_every": 2.5},
        {"features.method": "fgdd"},
        {"features.method": 3},
        {"features.scale": "papper"},
        {"heads.enabled": 1},
        {"heads.ratio": 0.0},
        {"checks.max_ratio": 0},
        {"schedule.decay_end": 0.0},
        {"schedule.decay_end": 1.5},
        {"schedule.decay_start": 0.9, "schedule.decay_end": 0.5},
        {"features.fg_weight": None},
        {"features.imitation_weight": -1.0, "features.method": "fitnet"},
        {"features.imitation_weight": True, "features.method": "fitnet"},
    ],
)
def test_a_value_out_of_range_is_a_usage_error_of_one_line_that_names_it(options):
    with pytest.raises(UsageError) as caught:
        FGDConfig.from_dict(options)
    assert next(iter(options)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_map_is_a_mapping_or_text_and_part_of_the_options_of_a_run():
    config = FGDConfig(map="truck=car, big bus = car")
    assert config.map == FGDConfig(map={"truck": "car", "big bus": "car"}).map == {"truck": "car", "big bus": "car"}
    assert config.flat()["map"] == config.map, "so that a resumed run compares it"
    assert FGDConfig.from_dict(config.to_dict()) == config
    assert FGDConfig.from_dict({"map": {"a.b": "c", 1: 2}}).map == {"a.b": "c", "1": "2"}
    assert FGDConfig(map=None).map == FGDConfig().map == {}


@pytest.mark.parametrize("value", ["truck", "a=b=c", "=car", "truck=", "a=b,", 3, "a=b,a=c"])
def test_a_class_map_of_another_form_is_a_usage_error(value):
    with pytest.raises(UsageError, match=r"^map .*, got "):
        FGDConfig(map=value)
