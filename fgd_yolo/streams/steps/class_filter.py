"""The classes of objects that count in a run; whatever shows, tracks or counts objects sees no others."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.text import listed, printable, shortened

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class ClassFilter:
    """A step that takes the other classes' objects out of every result; it belongs before all other steps.

    Args:
        names: the detector's classes.
        classes: those that count, as `resolve_classes` reads them.
    Raises:
        UsageError: a class that the detector does not know, or that may be one or another.
    """

    def __init__(self, names: Mapping[int, str], classes: Collection[str | int]):
        self._labels = resolve_classes(names, classes)

    def __call__(self, result: Result) -> None:
        """Leave the chosen objects in the result."""
        found = result.detections
        result.detections = found[np.isin(found.classes, self._labels)]


def resolve_classes(names: Mapping[int, str], classes: Collection[str | int]) -> list[int]:
    """Return the numbers of chosen classes, in order.

    Convention:
        `id:2` is the class of that number, and `name:2` every class of that name, whatever the name holds: the class
        that is called "id:2" is `name:id:2`. A word without either is a name or a number, whichever there is; where
        both are there and differ, or the name is that of several classes, it is an error. Names are compared exactly.
    Args:
        names: classes by number; of a file that does not know its names there are none, and any number is taken.
        classes: words, or numbers, which are read like the words for them.
    Raises:
        UsageError: a class that is not there, or that may be one or another.
    """
    return sorted({label for item in classes for label in _labels(item, names)})


def _labels(item: str | int, names: Mapping[int, str]) -> list[int]:
    if isinstance(item, bool) or not isinstance(item, (str, Integral)):
        raise UsageError(f"class {_quoted(item)} is neither a name nor a number: in YAML, write it in quotes")
    word = str(item)
    kind, colon, rest = word.partition(":")
    if colon and kind == "id":
        return _by_number(rest, word, names)
    if colon and kind == "name":
        return _named(rest, names) or _unknown(word, rest, names)
    named, numbered = _named(word, names), _numbered(word, names)
    if len(named) > 1 or (named and numbered and named != numbered):
        raise UsageError(_ambiguous(word, named, numbered, names))
    return named or numbered or _unknown(word, word, names)


def _named(name: str, names: Mapping[int, str]) -> list[int]:
    return [label for label, found in names.items() if found == name]


def _numbered(word: str, names: Mapping[int, str]) -> list[int]:
    number = int(word) if _NUMBER.fullmatch(word) else None
    return [number] if number is not None and (number in names or not names) else []


def _by_number(number: str, word: str, names: Mapping[int, str]) -> list[int]:
    found = _numbered(number, names)
    if not found:
        same = f"; the class that is called so is {_quoted(f'name:{word}')}" if _named(word, names) else ""
        raise UsageError(f"class {_quoted(word)} is unknown: the model has {_range(names)}{same}")
    return found


def _ambiguous(word: str, named: list[int], numbered: list[int], names: Mapping[int, str]) -> str:
    """Return what a word may mean, and how each is written."""
    ids = listed([f"id:{label}" for label in named])
    if numbered and named != numbered:
        number = numbered[0]
        called = f"number {number}, which is called {_quoted(names[number])}"
        ways = f"id:{number} for the first or name:{word} for the second"
        return f"class {_quoted(word)} is ambiguous: it is class {called}, and the name of class {ids}; write {ways}"
    return (
        f"class {_quoted(word)} is ambiguous: {len(named)} classes have that name; write {ids} for one of them, or "
        f"name:{shortened(printable(word), 40)} for all"
    )


def _unknown(word: str, name: str, names: Mapping[int, str]) -> list[int]:
    """Raise the error for a class that is not there, with the one that is spelled like it."""
    if _NUMBER.fullmatch(word) or word.removeprefix("-").isdecimal():
        raise UsageError(f"class {_quoted(word)} is unknown: the model has {_range(names)}")
    folded = " ".join(name.casefold().split())
    near = next((known for known in names.values() if " ".join(known.casefold().split()) == folded), None)
    guess = f", did you mean '{near}'?" if near is not None else close_match(name, list(names.values()))
    several = "; several classes are separate words" if "," in name else ""
    known = listed(names.values(), most=6, longest=20)
    raise UsageError(f"class {_quoted(word)} is unknown{guess}{several}; the model has {known}")


def _range(names: Mapping[int, str]) -> str:
    if not names:
        return "classes without names, given as a number such as id:0"
    return f"classes {min(names)} to {max(names)}" if len(names) > 1 else f"one class, number {min(names)}"


def _quoted(word: object) -> str:
    return f"'{shortened(printable(word), 40)}'"
