"""How strong the distillation is: its share of the gradient at the student's neck."""

from __future__ import annotations

from math import cos, exp, isfinite, log, pi

import torch
from torch import Tensor

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError

SMOOTHING = 0.5


def gradient_norm(loss: Tensor, maps: list[Tensor], amp_scale: float = 1.0) -> float:
    """Return the L2 norm of a loss's gradient over all neck maps together; the graph stays usable.

    Args:
        loss: scalar.
        maps: student neck maps in the loss's graph.
        amp_scale: the loss is multiplied by this and the norm divided again, so that float16 gradients do not vanish.
    """
    gradients = torch.autograd.grad(loss * amp_scale, maps, retain_graph=True, allow_unused=True)
    squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
    return float(torch.stack(squares).sum().sqrt()) / amp_scale if squares else 0.0


class ShareScale:
    """The factor that all terms are multiplied by, led by measured gradient norms.

    Convention:
        ratio is the gradient norm of the unscaled distillation over that of the detection loss, both at the
        student's neck maps and both per batch. The share is ratio times the factor in force. The factor follows the
        ratio smoothed in its logarithm, and one measurement at most doubles or halves it; the first sets it. The
        warm-up multiplies it by a ramp that rises linearly from 0 to 1, at the latest at `decay_start` of the run, and
        from there to `decay_end` it falls to 0 along half a cosine.
        With `gradient_ratio: null` in the configuration the factor stays 1 and the share is only watched.
    """

    def __init__(self, config: FGDConfig):
        self.config = config
        self.warmup_batches = 0.0  # these two are set at the start of each epoch: a loader may change its length
        self.run_batches = 0.0
        self.batches = 0
        self.factor = 1.0
        self.smoothed_ratio: float | None = None
        self.latest_ratio: float | None = None
        self.epoch_shares: list[float] = []

    @property
    def ramp(self) -> float:
        """Multiplier in [0, 1] of the batch at hand: warm-up times what is left towards the end."""
        return 0.0 if self.over else self._risen * self._left

    @property
    def over(self) -> bool:
        """Whether nothing is distilled any more in the rest of the run."""
        return self.config.decay_end < 1 and 0 < self.run_batches * self.config.decay_end <= self.batches

    @property
    def _risen(self) -> float:
        whole = self.warmup_batches
        if self.run_batches:
            whole = min(whole, self.run_batches * self.config.decay_start)
        return min(1.0, self.batches / whole) if whole else 1.0

    @property
    def _left(self) -> float:
        start, end = (self.run_batches * fraction for fraction in (self.config.decay_start, self.config.decay_end))
        return (
            1.0
            if self.batches <= start or start == end
            else 0.5 + 0.5 * cos(pi * (self.batches - start) / (end - start))
        )

    @property
    def strength(self) -> float:
        """What the unscaled terms are multiplied by in the batch at hand."""
        return self.factor * self.ramp

    @property
    def now(self) -> float:
        """Share in force: the latest measured ratio times the present strength; 0 before the first measurement."""
        return (self.latest_ratio or 0.0) * self.strength

    @property
    def due(self) -> bool:
        """Whether this batch is to be measured.

        Every `ratio_every` batches, at least once in an epoch, and again right after one above `max_gradient_ratio`.
        """
        shares = self.epoch_shares
        return self.batches % self.config.ratio_every == 0 or not shares or shares[-1] > self.config.max_gradient_ratio

    def measured(self, distillation_norm: float, detection_norm: float) -> None:
        """Take in one measurement; one that is not a positive finite number is ignored."""
        ratio = distillation_norm / detection_norm if detection_norm else 0.0
        if not (isfinite(ratio) and ratio > 0):
            return
        if self.config.gradient_ratio is not None:
            self._follow(ratio)
        self.latest_ratio = ratio
        self.epoch_shares.append(ratio * self.strength)

    def _follow(self, ratio: float) -> None:
        if self.smoothed_ratio is None:
            self.smoothed_ratio = ratio
            self.factor = self.config.gradient_ratio / ratio
            return
        self.smoothed_ratio = exp((1 - SMOOTHING) * log(self.smoothed_ratio) + SMOOTHING * log(ratio))
        wanted = self.config.gradient_ratio / self.smoothed_ratio
        self.factor = min(max(wanted, self.factor / 2), self.factor * 2)

    def described(self, prefix: str) -> str:
        """Return one phrase for the log: share, scale, and how much of it is in force."""
        if self.over:
            return "feature terms have ended"
        part = f", {self.ramp:.0%} of it in force" if self.ramp < 1 else ""
        return f"{prefix}share of the gradient at the neck {self.now:.3g}, scale {self.strength:.3g}{part}"

    def close_epoch(self, prefix: str = "") -> None:
        """End an epoch.

        Args:
            prefix: of the option that sets this share.

        Raises:
            FGDError: every share measured in this epoch was above `max_gradient_ratio`.
        """
        shares, self.epoch_shares = self.epoch_shares, []
        if shares and min(shares) > self.config.max_gradient_ratio:
            raise FGDError(
                f"the distillation's gradient at the neck stayed above {self.config.max_gradient_ratio:g} times the "
                f"detection loss's for a whole epoch (latest {shares[-1]:.3g}): set {prefix}gradient_ratio=0.1 instead "
                "of fixed weights, or divide all weights by one number"
            )

    def state_dict(self) -> dict:
        """Return what a resumed run needs, as plain numbers."""
        return {
            "batches": self.batches,
            "factor": self.factor,
            "smoothed_ratio": self.smoothed_ratio,
            "latest_ratio": self.latest_ratio,
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned."""
        for name in self.state_dict():
            setattr(self, name, state[name])
        self.epoch_shares = []
