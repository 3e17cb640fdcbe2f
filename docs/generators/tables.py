"""Markdown tables, and text of docstrings and --help as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]+`)")
_FLAG = re.compile(r"(?<![\w-])(--?[a-z][\w.-]*\w|-[a-z])(?![\w-])")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of options in Markdown, in a block that becomes a list on a narrow screen (`site.css`).

    Args:
        header: titles of the columns; the first column has the names.
        rows: cells in Markdown; line breaks are joined and bars replaced.
    """
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in lines)
    return f'<div class="options" markdown>\n\n{text}\n\n</div>'


def _cell(text: str) -> str:
    """Return a cell on one line; bars inside code do not end it, others are replaced."""
    parts = [part if part.startswith("`") else part.replace("|", "&#124;") for part in _CODE.split(text)]
    return " ".join("".join(parts).split())


def prose(text: str) -> str:
    """Return plain text as Markdown: options such as `--data` as code, brackets and asterisks as they are."""
    parts = _CODE.split(text)
    return "".join(part if part.startswith("`") else _FLAG.sub(r"`\1`", _escaped(part)) for part in parts)


def code(text: object) -> str:
    """Return text as inline code."""
    return f"`{text}`"


def sentence(text: str) -> str:
    """Return text with a capital letter and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', ':')) or not text else '.'}"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", r"\*").replace("[", r"\[")
