"""Several methods that compare neck maps, as one loss module of a level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fgd_yolo.config import METHOD_OPTIONS
from fgd_yolo.methods.method import LabelledObjects, LevelLoss


class ComposedLoss(LevelLoss):
    """The terms of several methods between a student's map and its teacher's on one level.

    Each method keeps its own alignment, since it asks the student for something else.

    Args:
        losses: loss module of each method by its name, in the order of their options.
    """

    def __init__(self, losses: Mapping[str, LevelLoss]):
        nn.Module.__init__(self)  # without an alignment of its own
        self.losses = nn.ModuleDict(losses)
        self.needs_scores = any(loss.needs_scores for loss in losses.values())
        self._owner = {item: name for name in losses for item in METHOD_OPTIONS[name]().weights}

    @property
    def align(self) -> nn.Conv2d | None:
        """Alignment of the first method."""
        return next(iter(self.losses.values())).align

    def prepare(self, teacher_map: Tensor, objects: LabelledObjects) -> tuple[Any, ...]:
        """Return the target of each method; see `LevelLoss.prepare`."""
        return tuple(loss.prepare(teacher_map, objects) for loss in self.losses.values())

    def terms(self, student_map: Tensor, target: tuple[Any, ...]) -> tuple[Tensor, ...]:
        """Return the terms of all methods, in their order; see `LevelLoss.terms`."""
        pairs = zip(self.losses.values(), target, strict=True)
        return tuple(term for loss, own in pairs for term in loss.terms(student_map, own))

    def trained_weights(self, item: str) -> dict[str, Tensor]:
        """Return the weights that the gradient of a loss item must reach."""
        return self.losses[self._owner[item]].trained_weights(item)

    def is_empty(self, item: str, *objects) -> bool:
        """Return whether a loss item is 0 by definition; see `LevelLoss.is_empty`."""
        return self.losses[self._owner[item]].is_empty(item, *objects)
