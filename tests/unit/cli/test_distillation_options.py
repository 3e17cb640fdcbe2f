from __future__ import annotations

from fgd_yolo.cli.main import parsers
from fgd_yolo.config import FGDConfig

DISTILL = parsers()["distill"].names


def test_the_options_of_distill_are_exactly_those_of_the_models():
    dotted = {name for name in DISTILL if "." in name}
    assert dotted == {name for name in FGDConfig.option_names() if "." in name}
    assert "pictures_every" in DISTILL


def test_the_help_has_description_and_defaults_of_the_models():
    assert DISTILL["heads.ratio"].help.endswith("None keeps the weights fixed (default: 0.5)")
    assert DISTILL["checks.min_teacher_map"].help.endswith("(default: 0.05)")
    assert DISTILL["method"].help.endswith("(default: heads+dfine)")


def test_the_help_says_which_method_has_an_option_and_on_what_its_default_depends():
    assert DISTILL["features.imitation_weight"].help.startswith("(fitnet only)")
    assert DISTILL["features.temperature"].help.startswith("(fgd only)")
    assert DISTILL["features.temperature"].help.endswith("(default: 0.5)")
    assert DISTILL["features.fg_weight"].help.endswith("(default: 0.5, 0.0002 with features.scale=paper)")
    assert "only)" not in DISTILL["features.ratio"].help
