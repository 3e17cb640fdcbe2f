"""The strength of a distillation: its gradient ratio at the student's neck, and the gain that keeps it on target."""

from __future__ import annotations

from math import cos, isnan, nan, pi

import torch
from torch import Tensor

from fgd_yolo.errors import FGDError
from fgd_yolo.training.speed.later_value import LaterValue

SMOOTHING = 0.5


def gradient_square(loss: Tensor, maps: list[Tensor], amp_scale: float | Tensor = 1.0) -> Tensor:
    """Return the squared L2 norm of a loss's gradient over all neck maps together; the graph stays usable.

    Args:
        loss: scalar.
        maps: student neck maps in the loss's graph.
        amp_scale: the loss is multiplied by this and the norm divided again, so that float16 gradients do not vanish.
    """
    gradients = torch.autograd.grad(loss * amp_scale, maps, retain_graph=True, allow_unused=True)
    squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
    if not squares:
        return loss.new_zeros((), dtype=torch.float32)
    return torch.stack(squares).sum() / amp_scale**2


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
        # On the GPU of the measurements, or on the CPU; NaN before the first.
        self._factor = torch.ones((), dtype=torch.float64)
        self._smoothed = self._latest = torch.full((), nan, dtype=torch.float64)
        self._measured: list[LaterValue] = []
        self.epoch_ratios: list[float] = []

    @property
    def factor(self) -> float:
        """The gain without the schedule."""
        return self._factor.item()

    @property
    def gain(self) -> float:
        """Factor that the unscaled terms of the current batch are multiplied by; waits for the device."""
        return self.factor * self.schedule

    def scale(self, terms: Tensor) -> Tensor:
        """Return terms of the current batch times the gain, without waiting for the device."""
        factor = self._factor if self._factor.device == terms.device else self._factor.item()
        gain = factor * self.schedule
        return terms * (gain.to(terms.dtype) if isinstance(gain, Tensor) else gain)

    @property
    def current(self) -> float:
        """The current gradient ratio: latest raw ratio times gain; 0 before the first measurement."""
        latest = self._latest.item()
        return 0.0 if isnan(latest) else latest * self.gain

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
        none_yet = not self.epoch_ratios and not self._measured
        return self.batches % self.every == 0 or none_yet or (self.epoch_ratios or [0.0])[-1] > self.maximum

    def update(self, distillation_norm: float | Tensor, detection_norm: float | Tensor) -> None:
        """Update the factor from the gradient norms of a batch; a raw ratio that is not positive is ignored.

        Args:
            distillation_norm: of the unscaled terms; a tensor stays on its device.
            detection_norm: of the detection loss.
        """
        norms = [torch.as_tensor(norm) for norm in (distillation_norm, detection_norm)]
        norms = [(norm if norm.is_cuda else norm.cpu()).double() for norm in norms]
        raw_ratio = norms[0] / norms[1]
        usable = raw_ratio.isfinite() & (raw_ratio > 0)
        latest, factor, smoothed = (
            state.to(raw_ratio.device) for state in (self._latest, self._factor, self._smoothed)
        )
        if self.target is not None:
            new_factor, new_smoothed = self._follow(raw_ratio, factor, smoothed)
            self._factor = torch.where(usable, new_factor, factor)
            self._smoothed = torch.where(usable, new_smoothed, smoothed)
        self._latest = torch.where(usable, raw_ratio, latest)
        ratio = torch.where(usable, raw_ratio * self._factor * self.schedule, nan)
        self._measured.append(LaterValue(ratio, self.batches))
        self.read(self.batches)

    def _follow(self, raw_ratio: Tensor, factor: Tensor, smoothed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factor and the smoothed raw ratio after a measurement."""
        mean = ((1 - SMOOTHING) * smoothed.log() + SMOOTHING * raw_ratio.log()).exp()
        first = smoothed.isnan()
        smoothed = torch.where(first, raw_ratio, mean)
        on_target = self.target / smoothed
        return torch.where(first, on_target, on_target.clamp(factor / 2, factor * 2)), smoothed

    def read(self, batch: int | None = None) -> None:
        """Read the measured ratios that have reached the CPU by a batch; None waits for all."""
        while self._measured and (batch is None or self._measured[0].is_due(batch)):
            ratio = self._measured.pop(0).read()
            if not isnan(ratio):
                self.epoch_ratios.append(ratio)

    def end_epoch(self) -> None:
        """Check the epoch's measurements and discard them.

        Raises:
            FGDError: every gradient ratio of this epoch was above `maximum`.
        """
        self.read()
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
        measured = f"{self.current:.3g}"
        if isnan(self._latest.item()):  # there is no detection loss
            measured = "not measured"
        return f"{self.group} {measured} (gain {self.gain:.3g}{schedule})"

    def columns(self) -> dict[str, float]:
        """Return the gradient ratio and the gain by the names of their columns in results.csv."""
        return {f"{self.group}/ratio": self.current, f"{self.group}/gain": self.gain}

    def state_dict(self) -> dict:
        """Return the state that a resumed run needs, as plain numbers; None before the first measurement."""
        state = {"factor": self._factor, "smoothed_raw_ratio": self._smoothed, "latest_raw_ratio": self._latest}
        numbers = {name: value.item() for name, value in state.items()}
        return {"batches": self.batches, **{name: None if isnan(value) else value for name, value in numbers.items()}}

    def load_state_dict(self, state: dict) -> None:
        """Restore the state that `state_dict` returned."""
        names = ("factor", "smoothed_raw_ratio", "latest_raw_ratio")
        numbers = [nan if state[name] is None else float(state[name]) for name in names]
        self._factor, self._smoothed, self._latest = (torch.tensor(value, dtype=torch.float64) for value in numbers)
        self.batches = state["batches"]
        self._measured, self.epoch_ratios = [], []
