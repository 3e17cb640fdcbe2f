"""The gradients of convolution weights, computed in a second thread of a CPU.

A backward pass needs the gradient of each layer's input before it can go on, but those of the weights only at its end.
They are half of its work, so a second core nearly halves its time. Threads within an operator (OpenMP) share the work
more finely, and wait for each other so often that a process on one of the cores makes both slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgd_yolo.training.attachment import Attachment

MAX_PENDING = 4
"""Gradients that wait for the second thread at most; each keeps the map and the gradient that it is computed from."""

_aten_backward = torch.ops.aten.convolution_backward


class WeightGradients(Attachment):
    """Computes the weight gradients of a live model's convolutions beside the rest of its backward pass.

    When `backward` returns, every gradient is complete and equal to the last bit to what it is without this. The
    replaced forward passes are instance attributes: they must be detached whenever the live model is deep-copied. It is
    not for a model whose gradients something else waits for, such as DistributedDataParallel, or that is compiled.

    Args:
        model: the live model, on a CPU.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._convolutions: list[nn.Conv2d] = []
        self._paused = False
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightGradients:
        """Return this object, since a copy of the live model, such as a callback may make, has no thread of its own."""
        return self

    @property
    def attached(self) -> bool:
        """Whether it is attached."""
        return bool(self._convolutions)

    def attach(self) -> None:
        """Replace the convolutions' forward pass; a second call does nothing."""
        if self._convolutions:
            return
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="weight-gradients")
        self._convolutions = [layer for layer in self.model.modules() if _can_wait(layer)]
        for layer in self._convolutions:
            layer._conv_forward = partial(_forward, self, layer)

    def detach(self) -> None:
        """Leave the model as it was; a second call does nothing."""
        for layer in self._convolutions:
            del layer._conv_forward
        self._convolutions = []
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._pending.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Compute no gradients of weights for a block, in which `torch.autograd.grad` asks for those of others."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def submit(self, weight: Tensor, *operands: Any) -> None:
        """Add the gradient of a weight to those that the end of this backward pass waits for.

        Args:
            weight: the parameter.
            operands: arguments of `convolution_backward`, without its mask.
        """
        if self._paused:
            return
        while len(self._pending) >= MAX_PENDING:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(_add_gradient, weight, *operands))
        torch.autograd.Variable._execution_engine.queue_callback(self.wait)

    def wait(self) -> None:
        """Wait for all gradients; an error in the second thread is raised here, such as out of memory."""
        while self._pending:
            self._pending.popleft().result()

    def drain(self) -> None:
        """Wait for what a failed backward pass has left behind."""
        while self._pending:
            with suppress(RuntimeError):
                self.wait()


def _can_wait(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and layer.bias is None
        and layer.weight.requires_grad
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
    )


def _forward(beside: WeightGradients, layer: nn.Conv2d, image: Tensor, weight: Tensor, bias: None) -> Tensor:
    if not torch.is_grad_enabled():
        return nn.Conv2d._conv_forward(layer, image, weight, bias)
    return _Convolution.apply(image, weight, beside, layer)


class _Convolution(torch.autograd.Function):
    """A convolution without bias, whose weight gets its gradient from another thread, in the same arithmetic."""

    @staticmethod
    def forward(ctx, image: Tensor, weight: Tensor, beside: WeightGradients, layer: nn.Conv2d) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else image.dtype
        image, cast = image.to(dtype), weight.detach().to(dtype)
        ctx.save_for_backward(image, cast)
        ctx.weight, ctx.beside = weight, beside
        ctx.options = layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups
        return functional.conv2d(image, cast, None, layer.stride, layer.padding, layer.dilation, layer.groups)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        image, cast = ctx.saved_tensors
        operands = gradient, image, cast, None, *ctx.options
        ctx.beside.submit(ctx.weight, *operands)
        needed = ctx.needs_input_grad[0]
        return _aten_backward(*operands, [True, False, False])[0] if needed else None, None, None, None


@torch.no_grad()
def _add_gradient(weight: Tensor, *operands: Any) -> None:
    gradient = _aten_backward(*operands, [False, True, False])[1].to(weight.dtype)
    weight.grad = gradient if weight.grad is None else weight.grad + gradient
