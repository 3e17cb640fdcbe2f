"""The files of the page, written without a build step and served unchanged.

`index.html` with `page.css`, `page.js` and `plots.js` is the page; `token.html` asks for the token.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def read_page(name: str) -> str:
    """Return the text of a file of the page."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
