"""The tables of results in README.md and docs/ are those of the committed rows."""

import importlib.util
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[2] / "docs/generators/results_tables.py"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("results_tables", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_says_what_the_committed_rows_say(generator, capsys):
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_every_table_stands_on_a_page(generator):
    texts = [page.read_text(encoding="utf-8") for page in generator.pages()]
    assert {place["name"] for text in texts for place in generator.PLACE.finditer(text)} == set(generator.TABLES)


def test_a_changed_figure_is_found_and_put_back(generator, tmp_path, monkeypatch, capsys):
    page, right = tmp_path / "README.md", generator.with_tables("A\n<!-- table: random-teachers -->\n<!-- end -->\nB\n")
    page.write_text(right.replace("+3.56", "+9.99"))
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator.comparison_tables, "draw_figures", lambda: None)
    assert "+3.56" in right and generator.main(["--check"]) == 1
    assert "README.md is stale" in capsys.readouterr().err
    assert generator.main([]) == 0 and page.read_text() == right
    assert generator.main(["--check"]) == 0


def test_text_around_a_table_is_kept(generator):
    text = generator.with_tables("before\n<!-- table: steps -->\nold\n<!-- end -->\nafter <!-- end -->\n")
    assert text.startswith("before\n<!-- table: steps -->\n\n| mAP50-95")
    assert text.endswith("|\n\n<!-- end -->\nafter <!-- end -->\n") and "old" not in text


def test_a_table_that_has_no_rows_is_refused(generator):
    with pytest.raises(KeyError):
        generator.with_tables("<!-- table: invented -->\n<!-- end -->\n")
