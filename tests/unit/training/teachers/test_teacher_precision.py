"""Teachers run in the precision of the options, which must exist on the device."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.errors import UsageError
from fgd_yolo.training.teachers.teacher_precision import teacher_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("amp", [torch.float16, torch.bfloat16])
def test_auto_is_the_precision_of_amp(amp):
    assert teacher_dtype("auto", CUDA, amp) == amp


def test_auto_is_float32_without_amp():
    assert teacher_dtype("auto", CPU, None) == torch.float32


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_named_precision_is_taken_whatever_amp_has(precision, dtype):
    assert teacher_dtype(precision, CPU, None) == dtype
    assert teacher_dtype(precision, CPU, torch.float16) == dtype


def test_float16_is_refused_on_a_cpu():
    with pytest.raises(UsageError, match="fp16 needs a GPU: use bf16"):
        teacher_dtype("fp16", CPU, None)


def test_bfloat16_is_refused_on_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: False)
    with pytest.raises(UsageError, match="bf16 is not available on cuda: use fp16"):
        teacher_dtype("bf16", CUDA, None)
