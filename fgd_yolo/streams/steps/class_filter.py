"""The class filter of `--classes`: everything that shows, tracks or counts objects sees only the selected classes."""

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
    from fgd_yolo.streams.stream_options import RunOptions

_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class ClassFilter:
    """A step that removes objects of all other classes from every result. It must be the first step.

    Args:
        names: the detector's class names by number.
        classes: the selected classes, see `resolve_classes`.
    Raises:
        UsageError: a class is unknown or ambiguous.
    """

    def __init__(self, names: Mapping[int, str], classes: Collection[str | int]):
        self._classes = resolve_classes(names, classes)

    @classmethod
    def from_options(cls, options: RunOptions, names: Mapping[int, str]) -> ClassFilter | None:
        """Create the filter of `--classes`."""
        return None if options.classes is None else cls(names, options.classes)

    def __call__(self, result: Result) -> None:
        """Keep only objects of the selected classes."""
        detections = result.detections
        result.detections = detections[np.isin(detections.class_id, self._classes)]


def resolve_classes(names: Mapping[int, str], classes: Collection[str | int]) -> list[int]:
    """Return the numbers of the selected classes in ascending order.

    Convention:
        `id:2` is the class with that number and `name:2` every class with that name, whatever the name contains: a
        class called "id:2" is `name:id:2`. A word without prefix is a name or a number. It is an error if it is both
        and they differ, or if several classes have that name. Names are compared exactly.
    Args:
        names: class names by number; empty if the file has no names, in which case every number is accepted.
        classes: words, or numbers, which are treated like their decimal text.
    Raises:
        UsageError: a class is unknown or ambiguous.
    """
    return sorted({number for item in classes for number in _resolve(item, names)})


def _resolve(item: str | int, names: Mapping[int, str]) -> list[int]:
    if isinstance(item, bool) or not isinstance(item, (str, Integral)):
        raise UsageError(f"class {_quoted(item)} is neither a name nor a number: in YAML, write it in quotes")
    word = str(item)
    kind, colon, rest = word.partition(":")
    if colon and kind == "id":
        return _resolve_id(rest, word, names)
    if colon and kind == "name":
        return _by_name(rest, names) or _raise_unknown(word, rest, names)
    by_name, by_number = _by_name(word, names), _by_number(word, names)
    if len(by_name) > 1 or (by_name and by_number and by_name != by_number):
        raise UsageError(_ambiguous(word, by_name, by_number, names))
    return by_name or by_number or _raise_unknown(word, word, names)


def _by_name(name: str, names: Mapping[int, str]) -> list[int]:
    return [number for number, known in names.items() if known == name]


def _by_number(word: str, names: Mapping[int, str]) -> list[int]:
    number = int(word) if _NUMBER.fullmatch(word) else None
    return [number] if number is not None and (number in names or not names) else []


def _resolve_id(number: str, word: str, names: Mapping[int, str]) -> list[int]:
    matches = _by_number(number, names)
    if not matches:
        hint = f"; for the class with this name, write {_quoted(f'name:{word}')}" if _by_name(word, names) else ""
        raise UsageError(f"class {_quoted(word)} is unknown: the model has {_range(names)}{hint}")
    return matches


def _ambiguous(word: str, by_name: list[int], by_number: list[int], names: Mapping[int, str]) -> str:
    """Return the message about an ambiguous word, with the unambiguous alternatives."""
    ids = listed([f"id:{number}" for number in by_name])
    if by_number and by_name != by_number:
        number = by_number[0]
        called = f"number {number}, which is called {_quoted(names[number])}"
        ways = f"id:{number} for the first or name:{word} for the second"
        return f"class {_quoted(word)} is ambiguous: it is class {called}, and the name of class {ids}; write {ways}"
    return (
        f"class {_quoted(word)} is ambiguous: {len(by_name)} classes have that name; write {ids} for one of them, or "
        f"name:{shortened(printable(word), 40)} for all"
    )


def _raise_unknown(word: str, name: str, names: Mapping[int, str]) -> list[int]:
    """Raise the error about an unknown class, with the class whose spelling is closest."""
    if _NUMBER.fullmatch(word) or word.removeprefix("-").isdecimal():
        raise UsageError(f"class {_quoted(word)} is unknown: the model has {_range(names)}")
    folded = " ".join(name.casefold().split())
    same = next((known for known in names.values() if " ".join(known.casefold().split()) == folded), None)
    guess = f", did you mean '{same}'?" if same is not None else close_match(name, list(names.values()))
    several = "; separate several classes with spaces" if "," in name else ""
    known = listed(names.values(), most=6, longest=20)
    raise UsageError(f"class {_quoted(word)} is unknown{guess}{several}; the model has {known}")


def _range(names: Mapping[int, str]) -> str:
    if not names:
        return "classes without names, given as a number such as id:0"
    return f"classes {min(names)} to {max(names)}" if len(names) > 1 else f"one class, number {min(names)}"


def _quoted(word: object) -> str:
    return f"'{shortened(printable(word), 40)}'"
