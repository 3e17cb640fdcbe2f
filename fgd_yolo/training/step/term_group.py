"""A group of distillation terms, those of the features or those of the heads."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fgd_yolo.neck import Level
from fgd_yolo.training.step.gradient_ratio import GradientRatio


@dataclass(frozen=True)
class TermGroup:
    """Terms whose sum is scaled to one gradient ratio.

    Args:
        weights: weight of each term by the name of its loss item, in the order in which the loss module returns them.
        ratio: gradient ratio and gain of the group.
        losses: the group's trainable loss modules, one per level; empty if it has none.
        levels: neck maps on which its terms are compared, finest first.
    """

    weights: dict[str, float]
    ratio: GradientRatio
    losses: nn.ModuleList
    levels: list[Level]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the loss items; a term of weight 0 has none."""
        return tuple(name for name, weight in self.weights.items() if weight)

    @property
    def running(self) -> bool:
        """Whether the group still has terms to compute in this run."""
        return bool(self.names) and not self.ratio.ended
