"""The page's files: written by hand, without a build step, and served as they are."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def read_page(name: str) -> str:
    """Return the text of one of the page's files."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
