"""The precision in which a teacher runs."""

from __future__ import annotations

import torch

from fgd_yolo.errors import UsageError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def teacher_dtype(precision: str, device: torch.device, amp: torch.dtype | None) -> torch.dtype:
    """Return the precision of the teachers' weights and arithmetic.

    Args:
        precision: `fp32`, `bf16` or `fp16`; `auto` is the half precision of AMP where AMP is on, and fp32 elsewhere.
        device: device of the training.
        amp: half precision of AMP; None if AMP is off.

    Raises:
        UsageError: the device has no arithmetic of this precision.
    """
    if precision == "auto":
        return amp or torch.float32
    dtype = DTYPES[precision]
    if dtype == torch.float16 and device.type == "cpu":
        raise UsageError("teacher_precision=fp16 needs a GPU: use bf16 on a CPU")
    if dtype == torch.bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise UsageError(f"teacher_precision=bf16 is not available on {device}: use fp16")
    return dtype
