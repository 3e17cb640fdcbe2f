"""The distillation itself: teacher, level pairs and loss modules, from a batch to named terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError
from fgd_yolo.methods import FGDLoss, FitNetLoss, HeadLoss
from fgd_yolo.neck import Level
from fgd_yolo.training.gradient_ratio import ShareScale
from fgd_yolo.training.head_outputs import paired_branches
from fgd_yolo.training.teacher import FrozenTeacher

MOST_DROPPED = 0.01
LEAST_DROPPED = 10


def level_loss(config: FGDConfig, level: Level) -> nn.Module:
    """Build the loss module that a configuration asks for, sized for one pair of maps."""
    channels = (level.student_channels, level.teacher_channels)
    if config.method == "fitnet":
        return FitNetLoss(*channels, weight=config.imitation_weight)
    return FGDLoss(
        *channels,
        temperature=config.temperature,
        fg_weight=config.fg_weight,
        bg_weight=config.bg_weight,
        attn_weight=config.attn_weight,
        rel_weight=config.rel_weight,
        free=config.scale == "free",
    )


@dataclass(frozen=True)
class Part:
    """Terms with a share of the gradient of their own.

    Args:
        prefix: of the share's options and columns.
        names: of the loss items, those of weight 0 left out.
        share: what they are multiplied by.
    """

    prefix: str
    names: tuple[str, ...]
    share: ShareScale

    @property
    def live(self) -> bool:
        """Whether there is something left to compute in this run."""
        return bool(self.names) and not self.share.over


class Distiller:
    """Computes the distillation terms of a batch and keeps everything that trains or is counted with them.

    Deliberately no part of the student: what is registered on the student ends up in its checkpoints.

    Args:
        teacher: cut at its neck.
        levels: pairs of neck maps.
        config: method, weights and share.
        classes: whose scores the heads' terms compare; None is all.
    """

    def __init__(
        self, teacher: FrozenTeacher, levels: list[Level], config: FGDConfig, classes: Sequence[int] | None = None
    ):
        self.teacher = teacher
        self.levels = levels
        self.classes = classes
        self.config = config
        heads_config = replace(config, gradient_ratio=config.head_gradient_ratio, decay_start=1.0, decay_end=1.0)
        self.features = Part("", _switched_on(config.feature_weights), ShareScale(config))
        self.heads = Part("head_", _switched_on(config.head_weights), ShareScale(heads_config))
        self.losses = nn.ModuleList()
        if self.features.names:  # heads alone need no alignments
            self.losses.extend(level_loss(config, level) for level in levels)
        self.head_loss = HeadLoss(config.head_cls_weight, config.head_box_weight)
        self.dropped = 0

    @property
    def parts(self) -> list[Part]:
        """Those of the two parts that have a term."""
        return [part for part in (self.features, self.heads) if part.names]

    def terms(
        self, student_maps: list[Tensor], batch: dict[str, Tensor], predictions: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return each term with a weight, by the name of its loss item: per image, levels summed, before scaling.

        Those of a method that has ended are 0 and not computed; the teacher is asked only where one is left.
        A level or a branch of the head in which a term is not finite is left out of this batch whole, since a
        backward pass through it could spoil the gradient of its finite terms too.

        Args:
            student_maps: neck maps of the student for this batch, in its graph.
            batch: the host's batch: `img` (B, 3, H, W), `bboxes` (M, 4) centre-size fractions of the padded input,
                `batch_idx` (M,).
            predictions: what the student's head returned for it; needed where the heads are compared.

        Raises:
            FGDError: more than 1 % of the batches so far, and at least 10, had something dropped.
        """
        zero = torch.zeros((), device=student_maps[0].device)
        found = {name: zero for part in self.parts for name in part.names}
        summands = []
        if any(part.live for part in self.parts):
            teacher_maps = self.teacher(batch["img"])
            if self.features.live:
                summands.append((self.config.feature_weights, self._level_terms(student_maps, teacher_maps, batch)))
            if self.heads.live:
                taught = self.teacher.predictions(teacher_maps)
                branches = paired_branches(predictions, taught, self.levels, self.classes)
                summands.append((self.config.head_weights, [self.head_loss(*branch) for branch in branches]))
        finite = True
        for names, terms in summands:
            total, whole = _sum_finite(terms)
            found.update((name, term) for name, term in zip(names, total, strict=True) if name in found)
            finite = finite and whole
        if not finite:
            self._count_drop()
        return found

    def _level_terms(self, student_maps, teacher_maps, batch) -> list[tuple[Tensor, ...]]:
        boxes = batch["bboxes"].to(batch["img"].device)
        image_index = batch["batch_idx"].to(batch["img"].device).long()
        return [
            loss(student_maps[level.student_index], teacher_maps[level.teacher_index], boxes, image_index)
            for level, loss in zip(self.levels, self.losses, strict=True)
        ]

    def _count_drop(self) -> None:
        self.dropped += 1
        batches = self.parts[0].share.batches + 1
        if self.dropped >= LEAST_DROPPED and self.dropped > MOST_DROPPED * batches:
            raise FGDError(
                f"distillation terms were not finite in {self.dropped} of {batches} batches: the neck maps of teacher "
                "or student hold NaN or infinity. Check the teacher on this data, lower lr0, or train with amp=False"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: tensors and plain numbers, without the teacher."""
        return {
            "losses": self.losses.state_dict(),
            "gradient_ratio": self.features.share.state_dict(),
            "head_gradient_ratio": self.heads.share.state_dict(),
            "dropped": self.dropped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            FGDError: the state belongs to other levels, channels or another method.
        """
        try:
            self.losses.load_state_dict(state["losses"])
            self.features.share.load_state_dict(state["gradient_ratio"])
            self.heads.share.load_state_dict(state["head_gradient_ratio"])
            self.dropped = state["dropped"]
        except (RuntimeError, KeyError, TypeError) as error:
            raise FGDError(
                "the distillation's side file does not fit this teacher, student or method: resume with the same ones"
            ) from error


def _switched_on(weights: dict[str, float]) -> tuple[str, ...]:
    return tuple(name for name, weight in weights.items() if weight)


def _sum_finite(summands: list[tuple[Tensor, ...]]) -> tuple[Tensor, bool]:
    """Add up tuples of terms without those in which one is not finite, and say whether all were finite."""
    stacked = [torch.stack(terms) for terms in summands]
    finite = torch.stack(stacked).isfinite().all(dim=1).tolist()
    kept = [terms for terms, good in zip(stacked, finite, strict=True) if good]
    total = torch.stack(kept).sum(dim=0) if kept else torch.zeros_like(stacked[0].detach())
    return total, all(finite)
