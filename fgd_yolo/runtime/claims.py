"""A file's metadata as claims: each is read with care, and what is missing or damaged is replaced aloud."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from typing import Any

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.session import TensorSpec
from fgd_yolo.text import printable


class Claims:
    """The metadata, read value by value; what is missing or damaged is replaced and noted."""

    def __init__(self, metadata: Mapping[str, str]):
        self.metadata = metadata
        self.notes: list[str] = []

    def find(self, key: str, convert: Callable[[Any], Any]) -> Any:
        """Return the converted value, or None if it is missing or damaged."""
        try:
            return convert(ast.literal_eval(self.metadata[key]))
        except (KeyError, ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError):
            return None

    def get(self, key: str, convert: Callable[[Any], Any], default: Any) -> Any:
        """Return the converted value, or the default with a note."""
        found = self.find(key, convert)
        if found is not None:
            return found
        self.assume(key, f"{default} is taken")
        return default

    def assume(self, key: str, assumption: str) -> None:
        """Note what is assumed because a value is missing or damaged."""
        state = "cannot be read" if self.metadata.get(key) else "is missing"
        self.notes.append(f"'{key}' {state} in the file's metadata: {assumption}")

    def ours(self) -> dict[str, Any]:
        """Return what fgd_yolo wrote, empty for a file that it did not write."""
        if "fgd_yolo" not in self.metadata:
            return {}
        try:
            found = json.loads(self.metadata["fgd_yolo"])
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise refusal("its metadata 'fgd_yolo' is damaged; export it again")
        return found


def refusal(reason: str) -> FGDError:
    """Return the error for a file that cannot be used."""
    return FGDError(f"the file is no detector that this reads: {reason}")


def describe(spec: TensorSpec) -> str:
    """Return shape and type as a person reads them."""
    return f"{' x '.join('?' if size is None else str(size) for size in spec.shape)} {spec.dtype}"


def flag(value: Any) -> bool:
    """Return True or False, or raise ValueError."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def positive(value: Any) -> int:
    """Return a whole number of pixels or parts, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 4096:
        raise ValueError
    return value


def size(value: Any) -> tuple[int, int]:
    """Return height and width of a pair or of one side, or raise ValueError."""
    height, width = value if isinstance(value, (list, tuple)) else (value, value)
    return positive(height), positive(width)


def keypoint_shape(value: Any) -> tuple[int, int]:
    """Return the number of keypoints and of the numbers of each, or raise ValueError."""
    count, numbers = (positive(part) for part in value)
    if numbers not in (2, 3):
        raise ValueError
    return count, numbers


def class_names(value: Any) -> dict[int, str]:
    """Return the names of classes 0, 1, ... of a dict or list, or raise ValueError."""
    found = value if isinstance(value, dict) else dict(enumerate(value if isinstance(value, (list, tuple)) else ()))
    names = {int(number): printable(name) for number, name in found.items()}
    if not names or sorted(names) != list(range(len(names))):
        raise ValueError
    return dict(sorted(names.items()))
