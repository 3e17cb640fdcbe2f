"""The options of each distillation method, `features.*`: one class and one row of `METHOD_OPTIONS` for each method."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fgd_yolo.checked_options import Options

Scale = Literal["free", "paper"]
Weight = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(gt=0)]


class FeatureOptions(Options):
    """Options that all methods share: how the neck maps of student and teacher are compared, and how strongly.

    Convention:
        An option `x_weight` is the weight of the term `x` of the method's loss module, whose loss item is called
        `x_loss`; weights are declared in the order of the terms. A weight of 0 switches its term off.
    """

    group = "features"
    imitates_heads: ClassVar[bool] = False
    """Default of `heads.enabled`."""
    preset_ratio: ClassVar[float] = 0.1
    """The ratio that suits the method on its own."""
    decays: ClassVar[bool] = False
    """Whether the terms decay by default, as `schedule.decay_start` and `schedule.decay_end` say."""

    method: str
    """The method: how the neck maps are compared."""
    ratio: Ratio | None = 0.1
    """Target of the gradient norm of the features' terms over that of the detection loss, at the student's neck maps;
    the terms are scaled to it. None keeps the weights fixed, as in the paper."""
    teacher: Annotated[int, Field(ge=1)] = 1
    """Which of several teachers the features come from, by its place in `--teacher`."""

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term, by the name of its loss item."""
        return {f"{name.removesuffix('_weight')}_loss": value for name, value in self if name.endswith("_weight")}


# The terms of the two scales differ in size, so each scale has its own default weights.
_FGD_WEIGHTS = {
    "free": {"fg": 0.5, "bg": 0.25, "attn": 0.25, "rel": 1.0},
    "paper": {"fg": 2e-4, "bg": 1e-4, "attn": 2e-4, "rel": 1e-6},
}


def _fgd_weight(term: str):
    return Field(default_factory=lambda options: _FGD_WEIGHTS[options["scale"]][term])


class FGDOptions(FeatureOptions):
    """Focal and Global Distillation. The default of each weight depends on the scale."""

    imitates_heads = True
    decays = True

    method: Literal["fgd"] = "fgd"
    scale: Scale = "free"
    """Arithmetic of the terms: `paper` is the authors' (sums over C, H, W, divided by images), `free` compares
    standardised maps by weighted means, which are of order 1 for every width, image and teacher."""
    temperature: Annotated[float, Field(gt=0)] = 0.5
    """T of the spatial and the channel attention."""
    fg_weight: Weight = _fgd_weight("fg")
    """Alpha, the weight of the squared difference inside boxes."""
    bg_weight: Weight = _fgd_weight("bg")
    """Beta, the weight of the squared difference outside boxes."""
    attn_weight: Weight = _fgd_weight("attn")
    """Gamma, the weight of the absolute difference of the attentions."""
    rel_weight: Weight = _fgd_weight("rel")
    """Lambda, the weight of the global relation term."""


class FitNetOptions(FeatureOptions):
    """FitNet: plain imitation of the neck maps."""

    preset_ratio = 0.25

    method: Literal["fitnet"] = "fitnet"
    imitation_weight: Weight = 1.0
    """Weight of the mean squared difference."""


class CWDOptions(FeatureOptions):
    """CWD: channel-wise distillation."""

    method: Literal["cwd"] = "cwd"
    channel_temperature: Annotated[float, Field(gt=0)] = 4.0
    """T of the distributions over the cells, 4 as in the paper."""
    channel_weight: Weight = 1.0
    """Weight of the divergence of the distributions."""


class MGDOptions(FeatureOptions):
    """MGD: masked generative distillation."""

    method: Literal["mgd"] = "mgd"
    mask_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.65
    """Share of the student's cells that are masked, 0.65 as in the paper for one-stage detectors."""
    generation_weight: Weight = 1.0
    """Weight of the mean squared difference of the generated map."""


class PKDOptions(FeatureOptions):
    """PKD: Pearson correlation of the neck maps."""

    method: Literal["pkd"] = "pkd"
    correlation_weight: Weight = 1.0
    """Weight of 1 - r, with r the correlation."""


class ScoreL2Options(FeatureOptions):
    """Score-weighted L2: imitation of the neck maps where the teacher sees objects."""

    method: Literal["score_l2"] = "score_l2"
    score_weight: Weight = 1.0
    """Weight of the squared difference, whose mean is weighted by the teacher's scores."""


METHOD_OPTIONS: dict[str, type[FeatureOptions]] = {
    "fgd": FGDOptions,
    "fitnet": FitNetOptions,
    "cwd": CWDOptions,
    "mgd": MGDOptions,
    "pkd": PKDOptions,
    "score_l2": ScoreL2Options,
}
"""Options of each method by its name; `fgd_yolo.methods.METHODS` has their loss modules."""
DEFAULT_METHOD = "fgd"
