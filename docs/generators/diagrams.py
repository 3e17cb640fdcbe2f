"""MkDocs hook: draws the Mermaid diagrams of a page as SVG.

The theme would load Mermaid from a content delivery network each time a page is viewed. Drawn here, diagrams need no
network and no script, and follow the colours of the page.
"""

from __future__ import annotations

import re

from merm import Theme, render_diagram

_FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_THEME = Theme(
    node_fill="var(--md-code-bg-color)",
    node_stroke="var(--md-default-fg-color--light)",
    node_text_color="var(--md-default-fg-color)",
    node_font_size="14px",
    edge_stroke="var(--md-default-fg-color--light)",
    edge_stroke_width="1.5",
    edge_label_bg="var(--md-default-bg-color)",
    text_color="var(--md-default-fg-color)",
    font_family="inherit",
    background_color="transparent",
    rank_sep=32,
)


def on_page_markdown(markdown: str, **_) -> str:
    """Replace diagrams before a page is rendered; MkDocs calls this for every page."""
    return _FENCE.sub(lambda fence: _figure(fence[1]), markdown)


def _figure(source: str) -> str:
    """Return a diagram as one block of HTML, in which Markdown finds no blank line to end it."""
    lines = [line for line in render_diagram(source, theme=_THEME).splitlines() if line.strip()]
    return '<div class="diagram">\n' + "\n".join(lines) + "\n</div>"
