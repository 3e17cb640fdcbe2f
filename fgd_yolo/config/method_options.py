"""The distillation methods and their options: one class and one row of `METHOD_OPTIONS` for each method."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fgd_yolo.checked_options import Options, unknown_choice, unknown_option
from fgd_yolo.errors import UsageError

Scale = Literal["free", "paper"]
Weight = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(gt=0)]


class MethodOptions(Options):
    """Base class of the options of a method.

    Convention:
        An option `x_weight` is the weight of the term `x`; weights are declared in the order of the terms. A weight of
        0 switches its term off. Methods are composed by composing their options, so the name of an option belongs to
        one method of its group.
    """

    item: ClassVar[str]
    """Name of a term's loss item, with `{}` for the term."""
    label: ClassVar[str] = ""
    """Name of the method in titles."""
    description: ClassVar[str] = ""
    """What the method is, in one line without a full stop."""
    needs_boxes: ClassVar[bool] = False
    """Whether the method reads the labelled objects."""
    decays: ClassVar[bool] = False
    """Whether the terms decay to 0 by default."""
    needs_dfl: ClassVar[bool] = False
    """Whether the terms compare distributions of box edges (DFL), which both heads must predict."""

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term, by the name of its loss item."""
        terms = {name.removesuffix("_weight"): value for name, value in self if name.endswith("_weight")}
        return {self.item.format(term): value for term, value in terms.items()}


class FeatureOptions(MethodOptions):
    """Options that all methods share which compare neck maps."""

    group = "features"
    item = "{}_loss"

    ratio: Ratio | None = 0.1
    """Target of the gradient norm of the features' terms over that of the detection loss, at the student's neck maps;
    the terms are scaled to it. None keeps the weights fixed, as in the paper."""
    teacher: Annotated[int, Field(ge=1)] = 1
    """Which of several teachers the features come from, by its place in `--teacher`."""


class HeadOptions(MethodOptions):
    """Options that all methods share which compare the outputs of heads."""

    group = "heads"
    item = "head_{}"

    ratio: Ratio | None = 0.5
    """Target of the gradient norm of the heads' terms over that of the detection loss, at the student's neck maps.
    None keeps the weights fixed."""

    @property
    def temperatures(self) -> dict[str, float]:
        """Temperature of each term that has one."""
        end = "_temperature"
        return {name.removesuffix(end): value for name, value in self if name.endswith(end)}


# The terms of the two scales differ in size, so each scale has its own default weights.
_FGD_WEIGHTS = {
    "free": {"fg": 0.5, "bg": 0.25, "attn": 0.25, "rel": 1.0},
    "paper": {"fg": 2e-4, "bg": 1e-4, "attn": 2e-4, "rel": 1e-6},
}


def _fgd_weight(term: str):
    return Field(default_factory=lambda options: _FGD_WEIGHTS[options["scale"]][term])


class FGDOptions(FeatureOptions):
    """Focal and Global Distillation. The default of each weight depends on the scale."""

    label = "FGD"
    description = "Focal and Global Distillation: features weighted by attention, inside and outside objects"
    needs_boxes = True
    decays = True

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

    label = "FitNet"
    description = "Plain imitation of the neck maps, with all cells weighted equally"

    ratio: Ratio | None = 0.25
    imitation_weight: Weight = 1.0
    """Weight of the mean squared difference."""


class CWDOptions(FeatureOptions):
    """CWD: channel-wise distillation."""

    label = "CWD"
    description = "Channel-wise distillation: divergence of the distributions over the cells of each channel"

    channel_temperature: Annotated[float, Field(gt=0)] = 4.0
    """T of the distributions over the cells, 4 as in the paper."""
    channel_weight: Weight = 1.0
    """Weight of the divergence of the distributions."""


class MGDOptions(FeatureOptions):
    """MGD: masked generative distillation."""

    label = "MGD"
    description = "Masked generative distillation: the teacher's map is generated from a part of the student's cells"

    mask_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.65
    """Share of the student's cells that are masked, 0.65 as in the paper for one-stage detectors."""
    generation_weight: Weight = 1.0
    """Weight of the mean squared difference of the generated map."""


class PKDOptions(FeatureOptions):
    """PKD: Pearson correlation of the neck maps."""

    label = "PKD"
    description = "Pearson correlation of the neck maps: squared difference of standardised channels"

    correlation_weight: Weight = 1.0
    """Weight of 1 - r, with r the correlation."""


class ScoreL2Options(FeatureOptions):
    """Score-weighted L2: imitation of the neck maps where the teacher sees objects."""

    label = "score-weighted L2"
    description = "Imitation of the neck maps, with cells weighted by the teacher's scores"

    score_weight: Weight = 1.0
    """Weight of the squared difference, whose mean is weighted by the teacher's scores."""


class OutputOptions(HeadOptions):
    """Imitation of all outputs of the heads: class scores, boxes, and the masks, keypoints or angles of the task."""

    label = "heads"
    description = "Imitation of the heads' outputs at every anchor, weighted by the teacher's confidence"

    cls_weight: Weight = 1.0
    """Weight of the class term."""
    box_weight: Weight = 1.0
    """Weight of the box term."""
    mask_weight: Weight = 1.0
    """Weight of the mask term, of segmentation models alone."""
    keypoint_weight: Weight = 1.0
    """Weight of the term of the keypoints' places, of pose models alone."""
    visibility_weight: Weight = 1.0
    """Weight of the term of the keypoints' visibility, of pose models alone."""
    angle_weight: Weight = 1.0
    """Weight of the angle term, of models for rotated boxes alone."""


class BCKDClassOptions(HeadOptions):
    """BCKD's class term."""

    label = "BCKD classes"
    description = "BCKD's class scores: binary cross-entropy, weighted by how far student and teacher differ"
    needs_boxes = True

    bckd_cls_weight: Weight = 1.0
    """Weight of the class term, 1 as published."""


class BCKDBoxOptions(HeadOptions):
    """BCKD's box term."""

    label = "BCKD boxes"
    description = "BCKD's boxes: GIoU of both boxes, weighted by how far the class scores differ; needs no DFL"
    needs_boxes = True

    bckd_box_weight: Weight = 4.0
    """Weight of the box term, 4 as published."""


class LDOptions(HeadOptions):
    """LD, localization distillation."""

    label = "LD"
    description = "Localization distillation: divergence of the edges' distributions (DFL) inside labelled boxes"
    needs_boxes = True
    needs_dfl = True

    ld_temperature: Annotated[float, Field(gt=0)] = 10.0
    """T of the edges' distributions, 10 as published."""
    ld_weight: Weight = 0.25
    """Weight of the divergence, 0.25 as published, where it is a mean over the bins; here it is their sum."""


class DFineOptions(HeadOptions):
    """D-FINE's decoupled distillation of the edges' distributions."""

    label = "D-FINE"
    description = "D-FINE's decoupled DFL: divergence of the edges' distributions, apart with and without an object"
    needs_boxes = True
    needs_dfl = True

    dfine_temperature: Annotated[float, Field(gt=0)] = 5.0
    """T of the edges' distributions, 5 as published."""
    dfine_weight: Weight = 1.5
    """Weight of the divergence, 1.5 as published, for a mean over 300 queries; here it is over all anchors."""


class CrossHeadOptions(HeadOptions):
    """Cross-head imitation."""

    label = "cross-head"
    description = "Cross-head imitation: what the teacher's head makes of the student's maps and of its own"

    crosshead_weight: Weight = 1.0
    """Weight of the sum of class and box term."""


METHOD_OPTIONS: dict[str, type[MethodOptions]] = {
    "fgd": FGDOptions,
    "fitnet": FitNetOptions,
    "cwd": CWDOptions,
    "mgd": MGDOptions,
    "pkd": PKDOptions,
    "score_l2": ScoreL2Options,
    "heads": OutputOptions,
    "bckd_cls": BCKDClassOptions,
    "bckd_box": BCKDBoxOptions,
    "ld": LDOptions,
    "dfine": DFineOptions,
    "crosshead": CrossHeadOptions,
}
"""Options of each method by its name; `fgd_yolo.methods` has their loss modules and terms."""
DEFAULT_METHOD = "heads+dfine"
METHOD_WITHOUT_HEADS = "fgd"
"""Method of a run whose user names none, where no head can be imitated and the default compares no neck maps."""
PLAIN = "plain"
"""Name of training without distillation."""
GROUPS: tuple[type[MethodOptions], ...] = (FeatureOptions, HeadOptions)
"""What methods compare, by the options that all methods of a group share."""


def method_names(method: Any) -> tuple[str, ...]:
    """Return the methods that are joined with `+`, in the order of `METHOD_OPTIONS`; none for `plain`.

    Raises:
        UsageError: a method does not exist, has no name or is named twice, or `plain` is joined with others.
    """
    names = [name.strip() for name in str(method).split("+")]
    if names == [PLAIN]:
        return ()
    for name in names:
        if not name:
            raise UsageError(f"method '{method}' lacks a name: write one such as fgd, several such as fgd+heads")
        if name == PLAIN:
            raise UsageError(f"method {method} joins {PLAIN}, which is no distillation, with others: leave out {PLAIN}")
        if name not in METHOD_OPTIONS:
            raise UsageError(unknown_choice("method", name, [*METHOD_OPTIONS, PLAIN]))
        if names.count(name) > 1:
            raise UsageError(f"method {method} names {name} twice: leave out one")
    return tuple(name for name in METHOD_OPTIONS if name in names)


def part_of_default(heads: bool = True, dfl: bool = True, targets: bool = True) -> str:
    """Return the method of a run whose user names none: what of the default its models can teach.

    Args:
        heads: whether the student can imitate the head of a teacher.
        dfl: whether student and a teacher predict distributions of box edges (DFL) with as many bins.
        targets: whether the student's own loss has targets on every image.
    """
    names = method_names(DEFAULT_METHOD)
    if not heads:
        return "+".join(methods_of_group(names, FeatureOptions)) or METHOD_WITHOUT_HEADS
    left_out = {name for name in names if METHOD_OPTIONS[name].needs_dfl} if not dfl else set()
    if not targets:
        left_out |= {name for name in methods_of_group(names, HeadOptions) if METHOD_OPTIONS[name].needs_boxes}
    return "+".join(name for name in names if name not in left_out)


def methods_of_group(methods: tuple[str, ...], group: type[MethodOptions]) -> tuple[str, ...]:
    """Return those of some methods that belong to a group, such as `FeatureOptions`."""
    return tuple(name for name in methods if issubclass(METHOD_OPTIONS[name], group))


def build_options(group: type[MethodOptions], methods: tuple[str, ...], options: Mapping[str, Any]) -> MethodOptions:
    """Build the options of a group for some methods.

    Args:
        group: `FeatureOptions` or `HeadOptions`.
        methods: names of methods; those of other groups have no effect.
        options: options of the group and of these methods.

    Raises:
        UsageError: an option is unknown, wrong, one of a method that is not named, or a ratio without any method.
    """
    chosen, known = methods_of_group(methods, group), _known_options(group)
    for name in options:
        dotted = f"{group.group}.{name}"
        if dotted not in known:  # the closest may be an option of a method that is not named
            raise UsageError(unknown_option(dotted, known))
        owners = [method for method in methods_of_group(tuple(METHOD_OPTIONS), group) if _owns(method, name, group)]
        if owners and not set(owners) & set(chosen):
            used = "+".join(methods) or PLAIN
            more = "+".join(other for other in METHOD_OPTIONS if other in (*methods, owners[0]))
            raise UsageError(
                f"{group.group}.{name} is an option of method {owners[0]}, not of {used}: leave it out, or add the "
                f"method (method={more})"
            )
    usual = group.model_fields["ratio"].default
    if not chosen and options.get("ratio", usual) != usual:
        raise UsageError(
            f"{group.group}.ratio has no effect, since method {'+'.join(methods) or PLAIN} compares no {group.group}: "
            "leave it out, or add a method that does"
        )
    return composed(group, chosen)(**options)


def _known_options(group: type[MethodOptions]) -> list[str]:
    """Return the options of all methods of a group, as they are named in messages."""
    models = [group, *(METHOD_OPTIONS[method] for method in methods_of_group(tuple(METHOD_OPTIONS), group))]
    return list(dict.fromkeys(name for model in models for name in model.option_names()))


def _owns(method: str, option: Any, group: type[MethodOptions]) -> bool:
    return option in METHOD_OPTIONS[method].model_fields and option not in group.model_fields


@cache
def composed(group: type[MethodOptions], methods: tuple[str, ...]) -> type[MethodOptions]:
    """Return the class with the options of some methods of a group; what differs between them is as in the first."""
    if not methods:
        return group
    classes = [METHOD_OPTIONS[name] for name in methods]
    if len(classes) == 1:
        return classes[0]
    # Reversed, since pydantic collects fields from the last base to the first: the terms are in the methods' order.
    fields = {name: classes[0].model_fields[name] for name in group.model_fields}
    first = {"__annotations__": {name: field.annotation for name, field in fields.items()}, **fields}
    first["decays"] = classes[0].decays
    first["needs_boxes"] = any(cls.needs_boxes for cls in classes)
    first |= {"__module__": __name__, "__doc__": f"Options of {', '.join(methods)}."}
    first["__reduce__"] = lambda self: (build_options, (group, methods, self.given))  # pickle looks classes up by name
    return type("And".join(cls.__name__ for cls in classes), tuple(reversed(classes)), first)
