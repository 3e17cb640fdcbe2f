"""The README is short, and names one command that installs and runs everything and one that runs the tests."""

from __future__ import annotations

from doc_pages import CI_MARKER, read_page

LONGEST = 130


def test_the_readme_is_short():
    assert len(read_page("README.md").text.splitlines()) <= LONGEST


def test_the_readme_has_the_test_command_that_ci_runs():
    marked = [block for block in read_page("README.md").blocks if CI_MARKER in block.comment]
    assert [block.language for block in marked] == ["bash"]
    assert ".[test]" in marked[0].text and "pytest" in marked[0].text
