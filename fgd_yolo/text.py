"""Text from outside - names, paths, messages of libraries - as it may be shown on a terminal, in a log or on a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from logging import LogRecord

LONGEST = 300
"""Characters of an error or a warning, at most."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BREAKS = re.compile(r"[\t\n\v\f\r]+")
# What Ultralytics puts into its own lines: colours, clearing to the end of a line, line breaks and tabs.
_ULTRALYTICS = re.compile(r"(\x1b\[(?:[014]|[39][0-7])?m|\x1b\[K|[\n\t])")
# Formatting characters that Persian, Indic scripts and joined emoji need; between ASCII letters they only hide.
_JOINERS = "\u200c\u200d"
_GAP = " ... "


def printable(text: object) -> str:
    """Return a text in which nothing steers a terminal, hides or reorders other text, or cannot be encoded.

    Convention:
        Control characters (C0 with line breaks and tabs, DEL, C1), the invisible formatting characters of Unicode
        (bidirectional overrides, zero-width spaces, byte order marks, tags), its line and paragraph separators, and
        lone surrogates each become `?`. Zero-width joiners stay between characters that are not ASCII.
    Source:
        The general categories Cc, Cf, Cs, Zl and Zp of the Unicode Standard, section 4.5.
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "?" if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and not _joins(text, index) else char
        for index, char in enumerate(text)
    )


def single_line(text: object) -> str:
    """Return a text on one line: without colours, runs of white space as one space, and `printable`."""
    return printable(" ".join(_COLOUR.sub("", str(text)).split()))


def printable_names(names: Mapping[int, object] | Sequence[object]) -> dict[int, str]:
    """Return the names of classes by number, printable; line breaks and tabs in one are spaces, and none at its ends.

    Two names that were the same stay the same, so that the classes of models and data can be compared afterwards.
    """
    numbered = names.items() if isinstance(names, Mapping) else enumerate(names)
    return {int(number): printable(_BREAKS.sub(" ", str(name)).strip()) for number, name in numbered}


def clean_record(record: LogRecord) -> bool:
    """Make a line that Ultralytics logs printable, except for its own colours and line breaks; a `logging` filter."""
    parts = _ULTRALYTICS.split(record.getMessage())
    # Every second part is what the pattern found.
    record.msg = "".join(part if index % 2 else printable(part) for index, part in enumerate(parts))
    record.args = ()
    return True


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most so many characters: what is too long loses its middle.

    What is wrong stands at the beginning of an error and what to do at its end, so both are kept.
    """
    if len(text) <= longest:
        return text
    tail = (longest - len(_GAP)) // 2
    head = longest - len(_GAP) - tail
    return f"{text[:head].rstrip()}{_GAP}{text[-tail:].lstrip()}"


def listed(items: Iterable[object], most: int = 4, longest: int = 60) -> str:
    """Return the first items of a list and how many follow: `a.jpg, b.jpg and 2998 more`.

    Args:
        items: of any number.
        most: of them to show.
        longest: characters of an item.
    """
    items = [*items]
    first = ", ".join(shortened(printable(item), longest) for item in items[:most])
    return f"{first} and {len(items) - most} more" if len(items) > most else first


def _joins(text: str, index: int) -> bool:
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return text[index] in _JOINERS and len(around) == 2 and not any(map(str.isascii, around))
