"""The strength of a distillation: its gradient ratio at the student's neck, and the gain that keeps it on target."""

from __future__ import annotations

from math import cos, exp, isfinite, log, pi

import torch
from torch import Tensor

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


class GradientRatio:
    """Measures the gradient ratio of a group of terms and computes the gain that the terms are multiplied by.

    Convention:
        The raw ratio is the gradient norm of the unscaled terms over that of the detection loss, both at the
        student's neck maps and both of one batch. The gradient ratio is the raw ratio times the gain.
        gain = factor * schedule. The factor is the target over the raw ratio, which is smoothed in its logarithm: the
        first measurement sets the factor, each later one at most doubles or halves it. Without a target the factor
        stays 1 and the ratio is only monitored. The schedule rises linearly from 0 to 1 over the warm-up, which ends
        at `decay_start` at the latest, and falls from 1 to 0 along half a cosine from `decay_start` to `decay_end`.

    Args:
        group: name of the group of terms, `features` or `heads`, which also names its options and columns.
        target: target of the gradient ratio; None for fixed weights.
        every: batches between two measurements.
        maximum: the run stops if every ratio measured in an epoch is above this.
        decay_start: fraction of the run after which the schedule begins to fall.
        decay_end: fraction of the run after which the schedule is 0; if both are 1 there is no decay.
    """

    def __init__(
        self,
        group: str,
        target: float | None,
        *,
        every: int,
        maximum: float,
        decay_start: float = 1.0,
        decay_end: float = 1.0,
    ):
        self.group = group
        self.target = target
        self.every = every
        self.maximum = maximum
        self.decay_start = decay_start
        self.decay_end = decay_end
        self.warmup_batches = 0.0  # both are set at the start of each epoch, since a loader may change its length
        self.run_batches = 0.0
        self.batches = 0
        self.factor = 1.0
        self.smoothed_raw_ratio: float | None = None
        self.latest_raw_ratio: float | None = None
        self.epoch_ratios: list[float] = []

    @property
    def gain(self) -> float:
        """Factor that the unscaled terms of the current batch are multiplied by."""
        return self.factor * self.schedule

    @property
    def current(self) -> float:
        """The current gradient ratio: latest raw ratio times gain; 0 before the first measurement."""
        return (self.latest_raw_ratio or 0.0) * self.gain

    @property
    def schedule(self) -> float:
        """Multiplier in [0, 1] of the current batch: warm-up times decay."""
        return 0.0 if self.ended else self._warmup * self._decay

    @property
    def ended(self) -> bool:
        """Whether the schedule stays 0 for the rest of the run."""
        return self.decay_end < 1 and 0 < self.run_batches * self.decay_end <= self.batches

    @property
    def _warmup(self) -> float:
        length = self.warmup_batches
        if self.run_batches:
            length = min(length, self.run_batches * self.decay_start)
        return min(1.0, self.batches / length) if length else 1.0

    @property
    def _decay(self) -> float:
        start, end = (self.run_batches * fraction for fraction in (self.decay_start, self.decay_end))
        if self.batches <= start or start == end:
            return 1.0
        return 0.5 + 0.5 * cos(pi * (self.batches - start) / (end - start))

    @property
    def due(self) -> bool:
        """Whether the ratio is to be measured on the current batch.

        This is so every `every` batches, at least once per epoch, and again after a ratio above `maximum`.
        """
        return self.batches % self.every == 0 or not self.epoch_ratios or self.epoch_ratios[-1] > self.maximum

    def update(self, distillation_norm: float, detection_norm: float) -> None:
        """Update the factor from the gradient norms of a batch; a raw ratio that is not positive is ignored."""
        raw_ratio = distillation_norm / detection_norm if detection_norm else 0.0
        if not (isfinite(raw_ratio) and raw_ratio > 0):
            return
        if self.target is not None:
            self._update_factor(raw_ratio)
        self.latest_raw_ratio = raw_ratio
        self.epoch_ratios.append(raw_ratio * self.gain)

    def _update_factor(self, raw_ratio: float) -> None:
        if self.smoothed_raw_ratio is None:
            self.smoothed_raw_ratio = raw_ratio
            self.factor = self.target / raw_ratio
            return
        self.smoothed_raw_ratio = exp((1 - SMOOTHING) * log(self.smoothed_raw_ratio) + SMOOTHING * log(raw_ratio))
        on_target = self.target / self.smoothed_raw_ratio
        self.factor = min(max(on_target, self.factor / 2), self.factor * 2)

    def end_epoch(self) -> None:
        """Check the epoch's measurements and discard them.

        Raises:
            FGDError: every gradient ratio of this epoch was above `maximum`.
        """
        ratios, self.epoch_ratios = self.epoch_ratios, []
        if ratios and min(ratios) > self.maximum:
            raise FGDError(
                f"the distillation's gradient at the neck stayed above {self.maximum:g} times the detection "
                f"loss's for a whole epoch (latest {ratios[-1]:.3g}): set {self.group}.ratio=0.1 instead of "
                "fixed weights, or divide all weights by the same number"
            )

    def summary(self) -> str:
        """Return gradient ratio, gain and schedule as a phrase for the log."""
        if self.ended:
            return f"{self.group} ended"
        schedule = f", schedule at {self.schedule:.0%}" if self.schedule < 1 else ""
        return f"{self.group} {self.current:.3g} (gain {self.gain:.3g}{schedule})"

    def columns(self) -> dict[str, float]:
        """Return the gradient ratio and the gain by the names of their columns in results.csv."""
        return {f"{self.group}/ratio": self.current, f"{self.group}/gain": self.gain}

    def state_dict(self) -> dict:
        """Return the state that a resumed run needs, as plain numbers."""
        return {
            "batches": self.batches,
            "factor": self.factor,
            "smoothed_raw_ratio": self.smoothed_raw_ratio,
            "latest_raw_ratio": self.latest_raw_ratio,
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore the state that `state_dict` returned."""
        for name in self.state_dict():
            setattr(self, name, state[name])
        self.epoch_ratios = []
