"""A sink that gets some of the objects: those of chosen classes, or with a score of at least so much."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgd_yolo.config import close_match
from fgd_yolo.errors import UsageError
from fgd_yolo.streams.sinks import Sink

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result


class Chosen:
    """Any sink, without the objects that are not wanted there; every result still comes, be it without objects.

    Args:
        sink: the sink behind it.
        names: the detector's classes.
        classes: names or numbers of the classes that are wanted; None takes all.
        least_score: the score from which on an object is wanted, in [0, 1].
    Raises:
        UsageError: a class that the detector does not know, or an impossible score.
    """

    def __init__(
        self,
        sink: Sink,
        names: Mapping[int, str],
        classes: Collection[str | int] | None = None,
        least_score: float = 0.0,
    ):
        if not 0 <= least_score <= 1:
            raise UsageError(f"the least score is {least_score!r}, but must be a number from 0 to 1")
        self.sink, self.name, self.least_score = sink, sink.name, least_score
        self.labels = None if classes is None else sorted({_label(item, names) for item in classes})

    def write(self, result: Result) -> None:
        """Pass on the result with the wanted objects and their track ids."""
        found = result.detections
        wanted = found.scores >= self.least_score
        if self.labels is not None:
            wanted &= np.isin(found.classes, self.labels)
        ids = None if result.ids is None else result.ids[wanted]
        self.sink.write(replace(result, detections=found[wanted], ids=ids))

    def gap(self, stream: str, reason: str) -> None:
        """Pass it on."""
        self.sink.gap(stream, reason)

    def close(self) -> None:
        """Close the sink behind."""
        self.sink.close()


def _label(item: str | int, names: Mapping[int, str]) -> int:
    for label, name in names.items():
        if item == name or str(item) == str(label):
            return label
    known = ", ".join(names.values())
    raise UsageError(f"class '{item}' is unknown{close_match(str(item), list(names.values()))}; the model has {known}")
