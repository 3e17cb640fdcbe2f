from __future__ import annotations

import yaml
from fgd_yolo.cfg import recipe_names, recipe_summary, recipe_text

from fgd_yolo.cli.recipes_command import EXAMPLES, main
from fgd_yolo.config import Recipe
from shell import loaded_by


def test_every_recipe_is_listed_with_its_explanation(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    for name in recipe_names():
        assert f"{name} {recipe_summary(name)}" in words
    recipes, _, next_steps = printed.partition("\n\n")
    assert "recipes NAME" in next_steps and "distill --recipe NAME" in next_steps
    assert max(map(len, recipes.splitlines())) <= 80


def test_a_recipe_is_printed_as_its_file_and_nothing_else(capsys):
    for name in recipe_names():
        assert main([name]) == 0
        printed = capsys.readouterr().out
        assert printed == recipe_text(name)
        assert Recipe.from_dict(yaml.safe_load(printed))


def test_the_examples_of_the_help_name_recipes():
    named = [words.split()[0] for words, _ in EXAMPLES if words]
    assert named and set(named) <= set(recipe_names())


def test_recipes_need_no_training_packages():
    assert loaded_by(["recipes"], {"torch", "ultralytics", "pydantic", "numpy"}) == "[]"
    assert loaded_by(["recipes", "plain"], {"torch", "ultralytics", "pydantic", "numpy"}) == "[]"
