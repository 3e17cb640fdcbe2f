"""Gradients and values of parameters that are trained on several processes without DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace the gradient of each parameter by its mean over all processes, in one exchange.

    Convention:
        A gradient that is missing here counts as 0 if another process has one; without any it stays None, so that the
        optimizer leaves the parameter alone on every process. A value that is not finite reaches all processes.

    Args:
        parameters: the same, of one dtype and on one device, on all processes.
    """
    if not parameters:
        return
    missing = [parameter.grad is None for parameter in parameters]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    have = torch.tensor([0.0 if absent else 1.0 for absent in missing])
    exchanged = torch.cat([have.to(gradients[0]), *(gradient.flatten() for gradient in gradients)])
    dist.all_reduce(exchanged)
    counts, *means = (exchanged / dist.get_world_size()).split([len(parameters), *(p.numel() for p in parameters)])
    # Read only if needed: on a GPU it waits for the device.
    elsewhere = counts.tolist() if any(missing) else missing
    for parameter, absent, other, mean in zip(parameters, missing, elsewhere, means, strict=True):
        if not absent or other:
            parameter.grad = mean.view_as(parameter)


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Copy the values of rank 0 into tensors of the same shapes on all processes."""
    with torch.no_grad():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
