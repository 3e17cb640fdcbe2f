"""The blocks of every page work as they stand, on small stand-ins."""

from __future__ import annotations

import pytest

from doc_pages import page_names, read_page
from doc_runner import PageRunner


@pytest.mark.slow
@pytest.mark.parametrize("name", page_names())
def test_the_blocks_of_a_page_work_and_print_what_it_shows(name, request, tmp_path):
    page = read_page(name)
    if any(block.kind in {"run", "file", "json"} for block in page.blocks):
        runner = PageRunner(request.getfixturevalue("stand_ins"), tmp_path / "page")
        try:
            runner.run(page)
        finally:
            runner.close()
