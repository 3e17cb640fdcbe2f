"""The distillation itself: teacher, level pairs and loss modules, from a batch to named terms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fgd_yolo.config import FGDConfig
from fgd_yolo.distillation.share import ShareScale
from fgd_yolo.distillation.taps import Level
from fgd_yolo.distillation.teacher import FrozenTeacher
from fgd_yolo.errors import FGDError
from fgd_yolo.losses import FGDLoss, FitNetLoss

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
        scale=config.scale,
    )


class Distiller:
    """Computes the distillation terms of a batch and keeps everything that trains or is counted with them.

    Deliberately no part of the student: what is registered on the student ends up in its checkpoints.

    Args:
        teacher: cut at its neck.
        levels: pairs of neck maps.
        config: method, weights and share.
    """

    def __init__(self, teacher: FrozenTeacher, levels: list[Level], config: FGDConfig):
        self.teacher = teacher
        self.levels = levels
        self.config = config
        self.losses = nn.ModuleList(level_loss(config, level) for level in levels)
        self.share = ShareScale(config)
        self.dropped = 0

    def terms(self, student_maps: list[Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each term with a weight, by the name of its loss item: per image, levels summed, before scaling.

        A level in which a term is not finite is left out of this batch whole, since a backward pass through it
        could spoil the gradient of its finite terms too.

        Args:
            student_maps: neck maps of the student for this batch, in its graph.
            batch: the host's batch: `img` (B, 3, H, W), `bboxes` (M, 4) centre-size fractions of the padded input,
                `batch_idx` (M,).

        Raises:
            FGDError: more than 1 % of the batches so far, and at least 10, had something dropped.
        """
        teacher_maps = self.teacher(batch["img"])
        boxes = batch["bboxes"].to(batch["img"].device)
        image_index = batch["batch_idx"].to(batch["img"].device).long()
        per_level = [
            torch.stack(loss(student_maps[level.student_index], teacher_maps[level.teacher_index], boxes, image_index))
            for level, loss in zip(self.levels, self.losses, strict=True)
        ]
        finite = torch.stack(per_level).isfinite().all(dim=1).tolist()
        if not all(finite):
            self._count_drop()
        kept = [terms for terms, good in zip(per_level, finite, strict=True) if good]
        total = torch.stack(kept).sum(dim=0) if kept else torch.zeros_like(per_level[0].detach())
        names = self.config.weights
        return {name: term for (name, weight), term in zip(names.items(), total, strict=True) if weight}

    def _count_drop(self) -> None:
        self.dropped += 1
        batches = self.share.batches + 1
        if self.dropped >= LEAST_DROPPED and self.dropped > MOST_DROPPED * batches:
            raise FGDError(
                f"distillation terms were not finite in {self.dropped} of {batches} batches: the neck maps of teacher "
                "or student hold NaN or infinity. Check the teacher on this data, lower lr0, or train with amp=False"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: tensors and plain numbers, without the teacher."""
        return {"losses": self.losses.state_dict(), "share": self.share.state_dict(), "dropped": self.dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            FGDError: the state belongs to other levels, channels or another method.
        """
        try:
            self.losses.load_state_dict(state["losses"])
        except RuntimeError as error:
            raise FGDError(
                "the distillation's side file does not fit this teacher, student or method: resume with the same ones"
            ) from error
        self.share.load_state_dict(state["share"])
        self.dropped = state["dropped"]
