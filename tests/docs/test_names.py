"""The pages name only commands, options, recipes, files and Python names that exist."""

from __future__ import annotations

import pytest

from doc_names import problems
from doc_pages import page_names, read_page


@pytest.mark.parametrize("name", page_names())
def test_a_page_names_nothing_that_does_not_exist_and_every_block_has_a_known_kind(name):
    found = problems(read_page(name))
    assert not found, "\n".join(found)
