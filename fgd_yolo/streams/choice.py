"""The classes of objects that count in a run; whatever shows, tracks or counts objects sees no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgd_yolo.config import close_match
from fgd_yolo.errors import UsageError

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result


class Choice:
    """A step that takes the other classes' objects out of every result; it belongs before all other steps.

    Args:
        names: the detector's classes.
        classes: names or numbers of those that count.
    Raises:
        UsageError: a class that the detector does not know.
    """

    def __init__(self, names: Mapping[int, str], classes: Collection[str | int]):
        self._labels = sorted({_label(item, names) for item in classes})

    def __call__(self, result: Result) -> None:
        """Leave the chosen objects in the result."""
        found = result.detections
        result.detections = found[np.isin(found.classes, self._labels)]


def _label(item: str | int, names: Mapping[int, str]) -> int:
    for label, name in names.items():
        if item == name or str(item) == str(label):
            return label
    known = ", ".join(names.values())
    raise UsageError(f"class '{item}' is unknown{close_match(str(item), list(names.values()))}; the model has {known}")
