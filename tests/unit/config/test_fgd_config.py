"""Options of a distillation: groups, defaults and checks."""

from __future__ import annotations

import pickle

import pytest

from fgd_yolo.config import METHOD_OPTIONS, FGDConfig
from fgd_yolo.config.method_options import GROUPS, FGDOptions
from fgd_yolo.errors import UsageError

PROMISED = {
    "features": {
        *("scale", "temperature", "teacher"),
        *("fg_weight", "bg_weight", "attn_weight", "rel_weight", "ratio"),
    },
    "heads": {
        *("ratio", "cls_weight", "box_weight"),
        *("mask_weight", "keypoint_weight", "visibility_weight", "angle_weight"),
    },
    "schedule": {"warmup_epochs", "decay_start", "decay_end", "measure_every"},
    "checks": {"min_teacher_map", "max_ratio"},
}


def test_the_options_are_in_groups():
    flat = {f"{group}.{option}" for group, options in PROMISED.items() for option in options}
    assert set(FGDConfig(method="fgd+heads").flat()) == flat | {
        "method",
        "map",
        "teacher_imgsz",
        "teacher_precision",
        "unlabeled_ratio",
        "pseudo",
        "pseudo_high",
        "pseudo_low",
        "inherit",
        "pictures_every",
    }
    assert flat < set(FGDConfig.option_names())


def test_a_group_is_a_mapping_an_object_or_dotted_options():
    both = {"method": "fgd+heads"}
    given = FGDConfig(**both, features={"fg_weight": 1.0, "ratio": None}, heads={"ratio": 0.25})
    assert given == FGDConfig(**both, features=FGDOptions(fg_weight=1.0, ratio=None), heads={"ratio": 0.25})
    dotted = {**both, "features.ratio": None, "heads.ratio": 0.25}
    assert given == FGDConfig.from_dict({**dotted, "features.fg_weight": 1.0})
    assert given == FGDConfig.from_dict({**dotted, "features": {"fg_weight": 1.0}})


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
        ({"method": "fgd", "features": {"scale": "fre"}}, r"features\.scale 'fre' is unknown, did you mean 'free'"),
        ({"method": "fgd+fitnt"}, r"method 'fitnt' is unknown, did you mean 'fitnet'"),
        ({"heads.ratio": 1.0, "heads": False}, r"heads"),
        ({"heads": False}, r"heads must be a mapping of options, got False"),
        ({"heads": {1: 2}}, r"unknown option 'heads\.1'"),
        ({1: 2}, r"unknown option '1'"),
        ({"method": ["fgd"]}, r"method '\['fgd'\]' is unknown"),
        ({"method": "fgd+heads+fgd"}, r"method fgd\+heads\+fgd names fgd twice"),
        ({"method": "fgd+plain"}, r"method fgd\+plain joins plain, .*: leave out plain"),
        ({"method": "fgd+"}, r"method 'fgd\+' lacks a name: write one such as fgd"),
        ({"method": ""}, r"method '' lacks a name"),
        ({"method": "CWD"}, r"method 'CWD' is unknown, did you mean 'cwd'"),
    ],
)
def test_a_wrong_name_is_an_error_with_the_closest_one(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        FGDConfig.from_dict(options)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_given_fit_the_scale():
    assert FGDConfig(method="fgd", features={"scale": "free", "rel_weight": 0.0}).weights["rel_loss"] == 0
    assert FGDConfig(method="fgd", features={"scale": "paper"}).weights["fg_loss"] == 2e-4


def test_a_change_replaces_single_options_of_a_group():
    features = {"scale": "paper", "fg_weight": 1.0}
    config = FGDConfig(method="fgd+heads", features=features, heads={"ratio": 0.25})
    changed = config.replace(**{"features.scale": "free", "heads.cls_weight": 2.0, "pictures_every": 0})
    assert (changed.features.fg_weight, changed.features.bg_weight) == (1.0, 0.25), "given, and the default of free"
    assert (changed.heads.ratio, changed.heads.cls_weight, changed.pictures_every) == (0.25, 2.0, 0)
    assert config.heads.cls_weight == 1.0, "the original is unchanged"


def test_a_change_of_the_method_brings_its_defaults():
    changed = FGDConfig().replace(method="fitnet")
    assert changed.features == METHOD_OPTIONS["fitnet"]() and not changed.heads.weights
    assert (changed.schedule.decay_start, changed.schedule.decay_end) == (1, 1), "it does not decay"
    given = FGDConfig(method="fitnet", schedule={"decay_end": 0.8}).schedule
    assert (given.decay_start, given.decay_end) == (0.3, 0.8), "a decay that is given"


def test_an_option_of_another_method_is_refused_and_names_that_method():
    with pytest.raises(UsageError, match=r"features\.imitation_weight is an option of method fitnet, not of fgd"):
        FGDConfig(method="fgd", features={"imitation_weight": 1.0})
    with pytest.raises(UsageError, match=r"features\.temperature is an option of method fgd, not of fitnet: leave it"):
        FGDConfig(method="fitnet", features={"temperature": 1.0})
    with pytest.raises(UsageError, match=r"heads\.cls_weight .* not of fgd: .* add the method \(method=fgd\+heads\)"):
        FGDConfig(method="fgd", heads={"cls_weight": 1.0})


@pytest.mark.parametrize(("method", "group"), [("fgd", "heads"), ("heads", "features"), ("plain", "features")])
def test_a_ratio_without_a_method_is_refused(method, group):
    with pytest.raises(UsageError, match=rf"{group}\.ratio has no effect, since method {method} compares no {group}"):
        FGDConfig.from_dict({"method": method, f"{group}.ratio": 0.2})
    assert FGDConfig.from_dict(FGDConfig(method=method).to_dict()) == FGDConfig(method=method)


def of_group(group):
    return [name for name, model in METHOD_OPTIONS.items() if issubclass(model, group)]


@pytest.mark.parametrize("group", GROUPS)
def test_an_option_belongs_to_one_method_of_its_group(group):
    own = [name for method in of_group(group) for name in METHOD_OPTIONS[method].model_fields]
    assert len({*own, *group.model_fields}) == len([name for name in own if name not in group.model_fields]) + len(
        group.model_fields
    )


@pytest.mark.parametrize("name", METHOD_OPTIONS)
def test_a_method_has_its_own_options_and_survives_a_round_trip(name):
    config = FGDConfig(method=name)
    assert type(getattr(config, METHOD_OPTIONS[name].group)) is METHOD_OPTIONS[name]
    assert config.weights == METHOD_OPTIONS[name]().weights and config.active_methods == name
    assert FGDConfig.from_dict(config.to_dict()) == FGDConfig.from_dict(config.flat()) == config


def test_methods_are_composed_in_the_order_of_the_table_with_the_options_of_each():
    config = FGDConfig(method=" heads+cwd + fgd", features={"channel_temperature": 2.0, "fg_weight": 3.0})
    assert (config.method, config.feature_methods) == ("fgd+cwd+heads", ("fgd", "cwd"))
    alone = [FGDConfig(method=name).weights for name in ("fgd", "cwd", "heads")]
    together = {name: value for weights in alone for name, value in weights.items()}
    assert list(config.weights) == list(together) and config.weights == {**together, "fg_loss": 3.0}
    assert FGDConfig.from_dict(config.to_dict()) == FGDConfig.from_dict(config.flat()) == config
    assert pickle.loads(pickle.dumps(config)) == config, "a comparison passes it to its processes"
    assert FGDConfig(method="fgd+fitnet").features.ratio == 0.1, "that of the first"
    assert FGDConfig(method="fgd+fitnet").schedule.decay_end == 0.6
    assert FGDConfig(method="fitnet+cwd").features.ratio == 0.25


def test_methods_without_a_weight_are_not_active():
    off = {name: 0 for name in METHOD_OPTIONS["fgd"].model_fields if name.endswith("_weight")}
    config = FGDConfig(method="fgd+heads", features=off)
    assert (config.active_methods, config.method) == ("heads", "fgd+heads")
    assert FGDConfig(method="fgd", features=off).active_methods == FGDConfig(method="plain").active_methods == "plain"
    assert not FGDConfig(method="plain").methods


def test_heads_can_be_left_out_of_a_composition():
    kept = {"features": {"fg_weight": 2.0}, "schedule": {"warmup_epochs": 1.0}}
    config, alone = FGDConfig(method="fgd+heads", heads={"cls_weight": 3.0}, **kept), FGDConfig(method="fgd", **kept)
    assert config.without_heads() == alone and config.without_heads().given == alone.given


@pytest.mark.parametrize("name", METHOD_OPTIONS)
def test_every_option_has_a_description_and_every_method_too(name):
    models = [FGDConfig, *(type(value) for _, value in FGDConfig(method=name) if hasattr(value, "group"))]
    for model in models:
        for option in model.model_fields:
            inherited = [base.model_fields.get(option) for base in model.__mro__ if hasattr(base, "model_fields")]
            assert any(entry and entry.description for entry in inherited), f"{model.__name__}.{option}"
    assert METHOD_OPTIONS[name].label and not METHOD_OPTIONS[name].description.endswith(".")
    assert len(METHOD_OPTIONS[name].description) > 20


def test_given_options_are_in_the_order_of_the_fields():
    given = {"rel_weight": 1.0, "bg_weight": 1.0, "fg_weight": 1.0, "scale": "free"}
    assert [*FGDConfig(method="fgd", features=given).features.given] == [
        "scale",
        "fg_weight",
        "bg_weight",
        "rel_weight",
    ], "messages name the first"


def test_the_options_do_not_change():
    for options, name in (
        (FGDConfig(), "pictures_every"),
        (FGDConfig().features, "ratio"),
        (FGDConfig().heads, "ratio"),
    ):
        with pytest.raises(ValueError, match="frozen"):
            setattr(options, name, None)


def test_a_single_weight_makes_the_distillation_active():
    off = {"features.fg_weight": 0, "features.bg_weight": 0, "features.attn_weight": 0, "method": "fgd"}
    assert FGDConfig.from_dict({**off, "features.rel_weight": 1e-6}).active
    assert not FGDConfig.from_dict({**off, "features.rel_weight": 0}).active
    assert not FGDConfig(method="fitnet", features={"imitation_weight": 0}).active


@pytest.mark.parametrize(
    "options",
    [
        {"features.fg_weight": -1.0, "method": "fgd"},
        {"features.bg_weight": True, "method": "fgd"},
        {"features.temperature": 0, "method": "fgd"},
        {"features.ratio": 0, "method": "fgd"},
        {"features.ratio": float("nan"), "method": "fgd"},
        {"features.rel_weight": float("inf"), "method": "fgd"},
        {"schedule.measure_every": 0},
        {"pictures_every": -1},
        {"pictures_every": 2.5},
        {"method": "fgdd"},
        {"method": 3},
        {"features.scale": "papper", "method": "fgd"},
        {"heads.cls_weight": "1"},
        {"heads.ratio": 0.0},
        {"checks.max_ratio": 0},
        {"schedule.decay_end": 0.0},
        {"schedule.decay_end": 1.5},
        {"schedule.decay_start": 0.9, "schedule.decay_end": 0.5},
        {"features.fg_weight": None, "method": "fgd"},
        {"features.imitation_weight": -1.0, "method": "fitnet"},
        {"features.imitation_weight": True, "method": "fitnet"},
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
