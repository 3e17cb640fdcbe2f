"""Where the distillation meets the host: the student's loss, with the terms appended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fgd_yolo.neck import FeatureHook, HeadHook, NeckHook
from fgd_yolo.training.distiller import Distiller
from fgd_yolo.training.gradient_ratio import gradient_norm

FirstBatchCheck = Callable[[dict[str, Tensor], list[Tensor], dict[str, Tensor]], None]


class LossHook:
    """Taps a student's neck and stands in for its `loss`, until detached.

    The host calls `loss(batch, preds=None)` on the live model. An instance attribute hides the class's method and is
    no part of the weights; it must be gone whenever the live model is deep-copied.

    Args:
        student: the live model, not its EMA.
        distiller: computes the terms.
        check_first_batch: called with terms, neck maps and batch of the first batch that has boxes.
        amp_scale: the gradient scaler's current factor.
    """

    def __init__(
        self,
        student: nn.Module,
        distiller: Distiller,
        check_first_batch: FirstBatchCheck,
        amp_scale: Callable[[], float] = lambda: 1.0,
    ):
        self.student = student
        self.distiller = distiller
        self.amp_scale = amp_scale
        self._check_first_batch: FirstBatchCheck | None = check_first_batch
        self._neck_hook: NeckHook | None = None
        self._head_hook: HeadHook | None = None

    def attach(self) -> None:
        """Put taps and loss on; a second call does nothing."""
        if self._neck_hook is None:
            self._neck_hook = NeckHook(self.student)
            if self.distiller.config.heads:
                self._head_hook = HeadHook(self.student)
            self.student.loss = self.loss

    def detach(self) -> None:
        """Take taps and loss off and leave the student as the host built it; a second call does nothing."""
        if self._neck_hook is not None:
            for hook in self._hooks:
                hook.remove()
            self._neck_hook = self._head_hook = None
            del self.student.loss

    @property
    def _hooks(self) -> list[FeatureHook]:
        return [hook for hook in (self._neck_hook, self._head_hook) if hook is not None]

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Take them off for a block, and put back on what was on."""
        was_attached = self._neck_hook is not None
        self.detach()
        try:
            yield
        finally:
            if was_attached:
                self.attach()

    def loss(self, batch: dict[str, Tensor], preds=None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the host's loss with the scaled terms appended, times batch size like the host's own, and the items.

        Args:
            batch: the host's batch.
            preds: outputs of a forward pass already made on this batch (as with `compile`), or None.
        """
        try:
            loss, items = type(self.student).loss(self.student, batch, preds)
        except BaseException:  # out of memory, perhaps: what the taps hold would keep the whole graph alive
            self._forget()
            raise
        if not self.student.training:
            self._forget()
            return loss, items
        distiller = self.distiller
        maps, predictions = self._neck_hook.pop(), self._head_hook.pop() if self._head_hook else None
        terms = distiller.terms(maps, batch, predictions)
        self._measure(loss, terms, maps, batch)
        scaled = torch.stack([terms[name] * part.share.strength for part in distiller.parts for name in part.names])
        for part in distiller.parts:
            part.share.batches += 1
        items = {**items, **dict(zip(terms, scaled.detach(), strict=True))}
        return torch.cat([loss.reshape(-1), scaled * len(batch["img"])]), items

    def _forget(self) -> None:
        for hook in self._hooks:
            hook.clear()

    def _measure(self, loss: Tensor, terms: dict[str, Tensor], maps: list[Tensor], batch: dict[str, Tensor]) -> None:
        if len(batch["bboxes"]) == 0:  # without boxes both losses are unlike those of any other batch
            return
        if self._check_first_batch is not None:
            # A run that is resumed late has nothing to check of what is over.
            due = {name: terms[name] for part in self.distiller.parts if part.live for name in part.names}
            if due:
                self._check_first_batch(due, maps, batch)
            self._check_first_batch = None  # only now: after an error the host may go on with another batch
        live, amp_scale = [neck_map for neck_map in maps if neck_map.requires_grad], self.amp_scale()
        detection_norm = None
        for part in self.distiller.parts:
            total = sum(terms[name] for name in part.names) * len(batch["img"])
            if part.share.due and total.requires_grad:  # it does not when all of it was dropped
                if detection_norm is None:  # once for all parts: it is a backward pass
                    detection_norm = gradient_norm(loss.sum(), live, amp_scale)
                part.share.measured(gradient_norm(total, live, amp_scale), detection_norm)
