"""Make untrusted text (names, paths, messages of libraries) safe to print on a terminal, in a log or on a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from logging import LogRecord

LONGEST = 300
"""Maximum number of characters of an error or a warning."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BREAKS = re.compile(r"[\t\n\v\f\r]+")
# Control characters in Ultralytics' own log lines: colours, "erase to end of line", line breaks and tabs.
_ULTRALYTICS = re.compile(r"(\x1b\[(?:[014]|[39][0-7])?m|\x1b\[K|[\n\t])")
# Zero-width joiners, needed by Persian, Indic scripts and joined emoji; between ASCII letters they only hide text.
_JOINERS = "\u200c\u200d"
_GAP = " ... "


def printable(text: object) -> str:
    """Replace every character that controls a terminal, hides or reorders text, or cannot be encoded.

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
    """Return a text as one `printable` line, without colours and with white space collapsed."""
    return printable(" ".join(without_colours(str(text)).split()))


def without_colours(text: str) -> str:
    """Return a text without the escape sequences that colour it on a terminal."""
    return _COLOUR.sub("", text)


def printable_names(names: Mapping[int, object] | Sequence[object]) -> dict[int, str]:
    """Return class names by number, printable and stripped, with line breaks and tabs replaced by spaces.

    Equal names stay equal, so that the classes of models and datasets can still be compared.
    """
    numbered = names.items() if isinstance(names, Mapping) else enumerate(names)
    return {int(number): printable(_BREAKS.sub(" ", str(name)).strip()) for number, name in numbered}


def clean_record(record: LogRecord) -> bool:
    """A `logging` filter that makes records of Ultralytics printable and preserves its colours and line breaks."""
    parts = _ULTRALYTICS.split(record.getMessage())
    # Every second part is a match of the pattern, which stays.
    record.msg = "".join(part if index % 2 else printable(part) for index, part in enumerate(parts))
    record.args = ()
    return True


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most `longest` characters; the middle of a longer one is removed.

    A message begins with the problem and ends with the remedy, so both ends are preserved.
    """
    if len(text) <= longest:
        return text
    tail = (longest - len(_GAP)) // 2
    head = longest - len(_GAP) - tail
    return f"{text[:head].rstrip()}{_GAP}{text[-tail:].lstrip()}"


def counted(count: int, thing: str) -> str:
    """Return a number of things in words.

    Args:
        count: how many.
        thing: name of one, whose plural ends in `s`, or in `es` after an `s`.

    Examples:
        >>> counted(1, "image"), counted(0, "image"), counted(3, "class")
        ('1 image', '0 images', '3 classes')
    """
    ending = "" if count == 1 else "es" if thing.endswith("s") else "s"
    return f"{count} {thing}{ending}"


def listed(items: Iterable[object], most: int = 4, longest: int = 60) -> str:
    """Return the first items and the number of the others: `a.jpg, b.jpg and 2998 more`.

    Args:
        items: any number of items.
        most: maximum number of items to list.
        longest: maximum number of characters per item.
    """
    items = [*items]
    first = ", ".join(shortened(printable(item), longest) for item in items[:most])
    return f"{first} and {len(items) - most} more" if len(items) > most else first


def _joins(text: str, index: int) -> bool:
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return text[index] in _JOINERS and len(around) == 2 and not any(map(str.isascii, around))
