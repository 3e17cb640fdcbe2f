"""Bfloat16 on a CPU: what `amp=bf16` means there, where Ultralytics refuses it.

Ultralytics has mixed precision on accelerators alone. Processors with AVX512-BF16 or AMX multiply bfloat16 about twice
as fast as float32, and bfloat16 has the range of float32, so no gradient needs a scaler. The default, `amp=True`, stays
float32 on a CPU, as in Ultralytics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.utils import LOGGER, colorstr

from fgd_yolo.errors import UsageError
from fgd_yolo.training.attachment import Attachment
from fgd_yolo.training.speed.half_precision import to_float32

BF16 = "bf16"
"""Value of the train argument `amp`."""


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 by instructions of its own, AVX512-BF16 or AMX."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def on_cpu(amp: Any, device_type: str) -> bool:
    """Return whether the train argument `amp` asks for bfloat16 on a CPU."""
    return device_type == "cpu" and amp == BF16


def check_bfloat16(amp: Any, device_type: str, recorded: bool = False) -> None:
    """Check that bfloat16 is worth its name on the CPU that a training runs on.

    Args:
        amp: train argument `amp`.
        device_type: "cpu" or "cuda".
        recorded: whether the training is resumed; on a CPU without the instructions it goes on, slowly.

    Raises:
        UsageError: a new training asks for bfloat16 on a CPU without the instructions.
    """
    if not on_cpu(amp, device_type) or has_bfloat16():
        return
    problem = "amp=bf16: this CPU has neither AVX512-BF16 nor AMX, so bfloat16 is slower than float32 here"
    if not recorded:
        raise UsageError(f"{problem}: leave amp out")
    LOGGER.warning(f"{colorstr('FGD:')} {problem}; the run was started with it and goes on")


class Bfloat16Forward(Attachment):
    """Runs the forward pass of a live model under autocast to bfloat16 while it trains, until detached.

    Weights, neck maps, outputs of the head, and so the loss and all distillation terms, stay float32. The replacement
    of `predict` is an instance attribute, as the loss hook's is of `loss`: it must be detached whenever the live model
    is deep-copied.

    Source:
        Departs from mixed precision on CUDA in Ultralytics, which has the arithmetic of its loss under autocast: in
        bfloat16, whose numbers have 8 significant bits, edges of boxes would be rounded to whole cells on fine levels.

    Args:
        model: the live model.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._handles: list[Any] = []

    @property
    def attached(self) -> bool:
        """Whether it is attached."""
        return bool(self._handles)

    def attach(self) -> None:
        """Replace the forward pass; a second call does nothing."""
        if self._handles:
            return
        head = self.model.model[-1]
        # First of all hooks, so that those that store maps and outputs see float32.
        self._handles = [head.register_forward_pre_hook(_to_float32_inputs, prepend=True)]
        # A loss may be computed from what RT-DETR's encoder predicts too.
        parts = [head, head.enc_output] if isinstance(head, RTDETRDecoder) else [head]
        self._handles += [part.register_forward_hook(_to_float32_output, prepend=True) for part in parts]
        self.model.predict = self._predict

    def detach(self) -> None:
        """Leave the model as Ultralytics built it; a second call does nothing."""
        if self._handles:
            for handle in self._handles:
                handle.remove()
            self._handles = []
            del self.model.predict

    def _predict(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.model.training):
            return type(self.model).predict(self.model, *args, **kwargs)


def _to_float32_inputs(head: nn.Module, inputs: tuple[Any, ...]) -> Any:
    return to_float32(inputs)


def _to_float32_output(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    return to_float32(output)
