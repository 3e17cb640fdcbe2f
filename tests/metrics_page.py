"""Read the tables of docs/reference/metrics.md."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/reference/metrics.md"


def documented(section: str) -> list[str]:
    """Return the names in the first column of a section's table."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
