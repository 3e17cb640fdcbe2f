"""MkDocs hook: replaces a line `<!-- generated: NAME -->` of a page by what the function of this name returns."""

from __future__ import annotations

import re
from collections.abc import Callable

import reference_commands
import reference_options

PARTS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        reference_commands.completion,
        reference_commands.commands,
        reference_options.recipe_options,
        reference_options.feature_options,
        reference_options.head_options,
        reference_options.schedule_options,
        reference_options.check_options,
        reference_options.other_options,
        reference_options.recipes,
        reference_options.export_options,
        reference_options.run_options,
        reference_options.stream_options,
    )
}
_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_) -> str:
    """Complete a page before it is rendered; MkDocs calls this for every page."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](), markdown)
