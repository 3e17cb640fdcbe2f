"""The loss hook: attaches a distillation to a live Ultralytics model, and detaches it without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from ultralytics.nn.modules.head import RTDETRDecoder

from fgd_yolo.neck import FeatureHook, HeadHook, NeckHook
from fgd_yolo.training.attachment import Attachment
from fgd_yolo.training.heads.assignments import criterion_of
from fgd_yolo.training.heads.encoder_outputs import encoder_outputs

Loss = tuple[Tensor, dict[str, Tensor]]
Step = Callable[["LossHook", dict[str, Tensor], Any], Loss]


class LossHook(Attachment):
    """Replaces a student's `loss` by a distillation step and stores the student's features for it, until detached.

    Ultralytics calls `loss(batch, preds=None)` on the live model. The replacement is an instance attribute that hides
    the class's method and is not part of the weights; it must be detached whenever the live model is deep-copied.

    Args:
        student: the live model, not its EMA.
        step: called in place of `loss`, with this hook, the batch and `preds`.
        head: whether to store the output of the head too.
    """

    def __init__(self, student: nn.Module, step: Step, head: bool = False):
        self.student = student
        self._step = step
        self._head = head
        self._neck_hook: NeckHook | None = None
        self._head_hook: HeadHook | None = None

    @property
    def attached(self) -> bool:
        """Whether it is attached."""
        return self._neck_hook is not None

    def attach(self) -> None:
        """Attach the feature hooks and replace the loss; a second call does nothing."""
        if self._neck_hook is None:
            self._neck_hook = NeckHook(self.student)
            head = self.student.model[-1]
            # RT-DETR's forward pass returns only the queries that it has chosen from all cells.
            part = "enc_output" if isinstance(head, RTDETRDecoder) else None
            self._head_hook = HeadHook(self.student, part) if self._head else None
            self.student.loss = self._loss

    def detach(self) -> None:
        """Leave the student as Ultralytics built it; a second call does nothing."""
        if self._neck_hook is not None:
            for hook in self._feature_hooks:
                hook.remove()
            self._neck_hook = self._head_hook = None
            del self.student.loss

    def _loss(self, batch: dict[str, Tensor], preds=None) -> Loss:
        return self._step(self, batch, preds)

    def detection_loss(self, batch: dict[str, Tensor], preds=None) -> Loss:
        """Return Ultralytics' own loss and its items; the forward pass is part of it unless `preds` is given."""
        return self.guarded(lambda: type(self.student).loss(self.student, batch, preds))

    def forward(self, images: Tensor) -> Any:
        """Return the outputs of the student's forward pass, for `detection_loss` later."""
        return self.guarded(lambda: self.student.predict(images))

    def guarded(self, call: Callable[[], Any]) -> Any:
        """Return what a function returns, and drop the stored features if it fails."""
        try:
            return call()
        except BaseException:  # such as out of memory: the stored features would keep the whole graph alive
            self.clear()
            raise

    @property
    def criterion(self) -> Any:
        """Ultralytics' criterion of the student; built now if it has none yet, as its first step would."""
        return criterion_of(self.student)

    def pop(self) -> tuple[list[Tensor], dict[str, Any] | None]:
        """Return the neck maps of the latest forward pass, and the output of the head if it is stored; clear both."""
        maps, output = self._neck_hook.pop(), self._head_hook.pop() if self._head_hook else None
        head = self.student.model[-1]
        if output is not None and isinstance(head, RTDETRDecoder):
            output = encoder_outputs(head, maps, output)
        return maps, output

    def clear(self) -> None:
        """Drop the stored features."""
        for hook in self._feature_hooks:
            hook.clear()

    @property
    def _feature_hooks(self) -> list[FeatureHook]:
        return [hook for hook in (self._neck_hook, self._head_hook) if hook is not None]
