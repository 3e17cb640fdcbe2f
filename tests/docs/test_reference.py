"""The generated reference has what the parsers and the models have, and nothing else."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from fgd_yolo.cfg import recipe_names
from generated_parts import PARTS, on_page_markdown
from reference_commands import commands

import fgd_yolo
from fgd_yolo.cli.main import parsers
from fgd_yolo.config import METHOD_OPTIONS, FeatureOptions, FGDConfig, HeadOptions, Recipe
from fgd_yolo.config.method_options import methods_of_group
from fgd_yolo.export import export_onnx
from fgd_yolo.export.export_options import ExportOptions
from fgd_yolo.streams.stream_options import RunOptions, StreamOptions

DOCS = Path(__file__).parents[2] / "docs"
OPTIONS = (DOCS / "reference/options.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", f"{commands()}\n", re.MULTILINE))


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables in a Markdown text, without their headers."""
    lines = [line.removeprefix("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip(" |") for cell in line] for line in lines]
    return [line for line in cells if line[0] not in {"Option", "Recipe", "---"}]


def names(text: str) -> list[str]:
    """Return the names in the first column of all tables, in order."""
    return [name for cells in rows(text) for name in re.findall(r"`([^`]+)`", cells[0])]


def part(name: str) -> list[str]:
    """Return the names in a generated part of the page of the options."""
    assert f"<!-- generated: {name} -->" in OPTIONS
    return names(PARTS[name]())


def test_every_command_has_a_section_and_no_other():
    assert list(SECTIONS) == list(parsers())


@pytest.mark.parametrize("command", parsers())
def test_the_section_of_a_command_has_every_option_of_its_parser_and_no_other(command):
    listed = [name.partition(" ")[0] for name in names(SECTIONS[command]) if name.startswith("-")]
    assert sorted(listed) == sorted(set(parsers()[command].flags) - {"-h", "--help"})


@pytest.mark.parametrize("command", parsers())
def test_the_section_of_a_command_has_its_examples(command):
    examples = parsers()[command].examples
    assert len(examples) >= 3
    assert not [words for words, _ in examples if words not in SECTIONS[command].splitlines()]


@pytest.mark.parametrize("command", ["distill", "compare"])
def test_train_arguments_have_both_spellings(command):
    assert {"--epochs N", "epochs=N"} <= set(names(SECTIONS[command]))


def test_defaults_of_the_help_have_their_own_column():
    row = next(cells for cells in rows(SECTIONS["stream"]) if cells[0].startswith("`--segment-s"))
    assert row[1] == "`600`" and "default" not in row[2]


def test_the_page_of_the_options_has_every_option_of_a_distillation_and_no_other():
    groups = ("feature", "head", "schedule", "check", "other")
    assert {name for group in groups for name in part(f"{group}_options")} == set(FGDConfig.option_names())
    assert set(part("recipe_options")) == set(Recipe.model_fields) - set(FGDConfig.model_fields)


def test_the_page_of_the_options_has_every_option_of_an_export_and_no_other():
    assert part("export_options") == list(inspect.signature(export_onnx).parameters)
    assert {field.name for field in fields(ExportOptions)} <= set(part("export_options"))


@pytest.mark.parametrize(("name", "model"), [("run_options", RunOptions), ("stream_options", StreamOptions)])
def test_the_page_of_the_options_has_every_setting_of_streams_and_no_other(name, model):
    assert part(name) == [field.alias or key for key, field in model.model_fields.items()]


def test_the_page_of_the_options_has_every_recipe_and_no_other():
    assert sorted(part("recipes")) == recipe_names()


def test_every_option_and_recipe_has_an_explanation():
    tables = [*SECTIONS.values(), *(build() for name, build in PARTS.items() if name != "commands")]
    assert not [cells[0] for text in tables for cells in rows(text) if len(cells[-1]) < 4]


def test_weights_show_the_default_of_each_scale():
    row = next(cells for cells in rows(PARTS["feature_options"]()) if cells[0] == "`features.fg_weight`")
    assert row[1:3] == ["`0.5` with scale free<br>`0.0002` with scale paper", "a number at least 0"]


def test_the_default_of_the_ratio_shows_the_methods_that_have_another():
    row = next(cells for cells in rows(PARTS["feature_options"]()) if cells[0] == "`features.ratio`")
    assert row[1] == "`0.1`<br>`0.25` with fitnet"


@pytest.mark.parametrize("group", [FeatureOptions, HeadOptions])
def test_every_method_has_its_options(group):
    methods = methods_of_group(tuple(METHOD_OPTIONS), group)
    part = PARTS["feature_options" if group is FeatureOptions else "head_options"]()
    assert re.findall(r"^### (\w+)$", part, re.MULTILINE) == [*methods]
    wanted = [f"{group.group}.{name}" for name in group.model_fields]
    wanted += [name for method in methods for name in METHOD_OPTIONS[method].option_names() if name not in wanted]
    assert [cells[0].strip("`") for cells in rows(part)] == wanted


def test_the_python_page_has_every_public_name_and_no_other_of_the_package():
    page = (DOCS / "reference/python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: fgd_yolo\.(\w+)$", page, re.MULTILINE)) == sorted(fgd_yolo.__all__)


def test_pages_are_completed_where_they_ask_for_it():
    page = on_page_markdown("before\n<!-- generated: recipes -->\nafter")
    assert page.startswith("before\n") and page.endswith("\nafter") and "`plain`" in page and "generated" not in page


def test_every_generated_part_stands_on_a_page_and_every_mark_names_a_part():
    pages = [path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")]
    marks = [name for page in pages for name in re.findall(r"^<!-- generated: (.+) -->$", page, re.MULTILINE)]
    assert sorted(marks) == sorted(PARTS)
