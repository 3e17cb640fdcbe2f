"""Leave out terms that are not finite, and their gradients, without asking the device whether they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class FiniteGate:
    """Lets gradients of the terms of a level or branch through if all of them are finite, and none otherwise.

    Leaving such terms out of the sum is not enough: a gradient of 0 times an infinite derivative is NaN. So what the
    terms are made of passes through the gate too, and its gradients are replaced by 0. The decision stays on the
    device.

    Args:
        parameters: weights that only these terms train.
    """

    def __init__(self, parameters: Iterable[Tensor] = ()):
        self.finite: Tensor | None = None
        for parameter in parameters:
            parameter.register_hook(self._pass)

    def guard(self, value: Tensor | None) -> Tensor | None:
        """Return a value whose gradient passes through the gate."""
        if value is None or not value.requires_grad:
            return value
        guarded = value.view_as(value)
        guarded.register_hook(self._pass)
        return guarded

    def close(self, terms: Sequence[Tensor]) -> Tensor:
        """Return the terms of a batch as one tensor, all 0 if any is not finite, and decide on their gradients."""
        stacked = torch.stack(list(terms))
        self.finite = stacked.detach().isfinite().all()
        return torch.where(self.finite, stacked, 0)

    def _pass(self, gradient: Tensor) -> Tensor:
        return torch.where(self.finite, gradient, 0)
