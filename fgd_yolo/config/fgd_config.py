"""`FGDConfig`: all options of a distillation, in groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fgd_yolo.checked_options import Options
from fgd_yolo.config.method_options import (
    DEFAULT_METHOD,
    GROUPS,
    METHOD_OPTIONS,
    PLAIN,
    FeatureOptions,
    HeadOptions,
    Ratio,
    build_options,
    method_names,
    methods_of_group,
)
from fgd_yolo.errors import UsageError


class ScheduleOptions(Options):
    """When the distillation acts. The terms of the heads warm up too, but do not decay."""

    group = "schedule"

    warmup_epochs: Annotated[float, Field(ge=0)] = 3.0
    """Epochs over which the distillation rises linearly from 0 to full strength; for the features at most until
    `decay_start`."""
    decay_start: Annotated[float, Field(ge=0)] = 0.3
    """Fraction of the run after which the features' terms decay along half a cosine; methods without decay have 1."""
    decay_end: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Fraction of the run after which the features' terms are 0; with `decay_start` 1 they never decay."""
    measure_every: Annotated[int, Field(ge=1)] = 50
    """Training batches between two measurements of the gradient ratios."""

    @model_validator(mode="after")
    def _check_decay(self) -> ScheduleOptions:
        if self.decay_start > self.decay_end:
            raise UsageError(
                "schedule.decay_start must be at most schedule.decay_end, "
                f"got {self.decay_start:g} and {self.decay_end:g}"
            )
        return self


class CheckOptions(Options):
    """When a run stops because the distillation cannot help."""

    group = "checks"

    min_teacher_map: Annotated[float, Field(ge=0)] = 0.05
    """mAP50-95 on the validation set below which a teacher is refused."""
    max_ratio: Ratio = 10.0
    """The run stops with advice if a measured gradient ratio stays above this for a whole epoch."""


def _read_map(value: Any) -> Any:
    """Return a class map that was written as `truck=car,bus=car`, or given as a mapping, as a mapping of texts."""
    if isinstance(value, Mapping):
        return {str(source): str(target) for source, target in value.items()}
    if value is None:
        return {}
    pairs = [[name.strip() for name in entry.split("=")] for entry in str(value).split(",")]
    if not isinstance(value, str) or not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError(f"must have the form TEACHER=DATA, such as truck=car,bus=car, got {value!r}")
    if len({source for source, _ in pairs}) < len(pairs):
        raise ValueError(f"names a class of the teacher twice, got {value!r}")
    return dict(pairs)


class FGDConfig(Options):
    """Options of a distillation: the methods, their weights, their strength relative to the detection loss, and checks.

    With every weight 0 the training is Ultralytics' own, bit for bit.

    Convention:
        On the command line an option is named by its group and its name, with a dot: `features.fg_weight`. A group can
        be given as a mapping or as an object. It has the options of the named methods.

    Examples:
        >>> FGDConfig(method="fgd+heads+dfine", features={"fg_weight": 1.0}, heads={"ratio": 0.25}).heads.ratio
        0.25

    Raises:
        UsageError: an unknown option or method (the message names the closest one), an option of another method, or
            a wrong value.
    """

    method: Annotated[str, BeforeValidator(lambda method: "+".join(method_names(method)) or PLAIN)] = DEFAULT_METHOD
    """The methods, joined with `+`: how the neck maps are compared, and how the outputs of the heads; `plain` for
    neither. A run whose user names none leaves out of the default what no teacher can teach."""
    features: FeatureOptions = Field(default_factory=FeatureOptions)
    """Comparison of the neck maps. The options depend on the method."""
    heads: HeadOptions = Field(default_factory=HeadOptions)
    """Comparison of the heads' outputs. The options depend on the method."""
    schedule: ScheduleOptions = Field(default_factory=ScheduleOptions)
    """When the distillation acts."""
    checks: CheckOptions = Field(default_factory=CheckOptions)
    """When a run stops because the distillation cannot help."""
    map: Annotated[dict[str, str], BeforeValidator(_read_map)] = Field(default_factory=dict)
    """Classes of a teacher that stand for classes of the data with another name: `{truck: car, bus: car}`, on the
    command line `truck=car,bus=car`. By default a class stands for the one of the same name."""
    teacher_imgsz: Annotated[int, BeforeValidator(lambda size: size or 0), Field(ge=0)] = 0
    """Side of the images that the teachers see in the training, in pixels, such as 640 for a student at `imgsz=320`:
    the student gets the same images, shrunk. 0 is the student's size."""
    teacher_precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision in which the teachers run: `auto` is that of AMP where AMP is on (`amp=bf16` on a CPU), else fp32."""
    inherit: bool = False
    """Whether the student starts from the teacher's neck and head, where layers have the same shapes; useful only
    between models of one width, such as yolo11l and yolo11m."""
    unlabeled_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """With unlabelled frames beside labelled images: share of the frames in the images of an epoch, which has as many
    images as both together."""
    pseudo: bool = True
    """Whether objects that the teachers find on unlabelled frames are targets of the student's own loss; if not, only
    the distillation teaches there."""
    pseudo_high: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Score from which an object that the teachers find on a frame is a target."""
    pseudo_low: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Score below which such an object is background; between both it is neither, and is left out of the class term."""
    pictures_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between two attention figures in the run folder; 0 draws none."""

    @model_validator(mode="before")
    @classmethod
    def _build_groups(cls, options: Any) -> Any:
        methods, built = method_names(options.get("method", DEFAULT_METHOD)), dict(options)
        for group in GROUPS:
            given = options.get(group.group, {})
            if isinstance(given, Options):
                given = given.given
            if isinstance(given, Mapping):  # anything else is refused as such
                built[group.group] = build_options(group, methods, given)
        return built

    @model_validator(mode="after")
    def _complete(self) -> FGDConfig:
        # Both groups are built above, but what was not given is a default. Frozen; this is the construction.
        for group in GROUPS:
            if not getattr(self, group.group).model_fields_set:
                self.__pydantic_fields_set__.discard(group.group)
        decay = {"decay_start", "decay_end"}
        if self.feature_methods and not self.features.decays and not decay & self.schedule.model_fields_set:
            self.__dict__["schedule"] = self.schedule.model_copy(update=dict.fromkeys(decay, 1.0))
            self.schedule.__pydantic_fields_set__.difference_update(decay)
        return self

    @model_validator(mode="after")
    def _check_teacher_options(self) -> FGDConfig:
        for name in ("teacher_imgsz", "teacher_precision", "inherit"):
            if getattr(self, name) != type(self).model_fields[name].default and not self.active:
                raise UsageError(
                    f"{name}={getattr(self, name)} needs a teacher, and nothing is distilled: leave it out"
                )
        return self

    @model_validator(mode="after")
    def _check_pseudo(self) -> FGDConfig:
        if self.pseudo_low > self.pseudo_high:
            raise UsageError(
                f"pseudo_low must be at most pseudo_high, got {self.pseudo_low:g} and {self.pseudo_high:g}"
            )
        return self

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods; empty for plain training."""
        return method_names(self.method)

    @property
    def feature_methods(self) -> tuple[str, ...]:
        """Names of the methods that compare neck maps."""
        return methods_of_group(self.methods, FeatureOptions)

    @property
    def weighted_methods(self) -> tuple[str, ...]:
        """Names of the methods that have a term with a weight."""
        weights = self.weights
        own = {name: METHOD_OPTIONS[name]().weights for name in self.methods}
        return tuple(name for name, items in own.items() if any(weights[item] for item in items))

    @property
    def active_methods(self) -> str:
        """The methods that have a term with a weight, joined with `+`, or `plain`."""
        return "+".join(self.weighted_methods) or PLAIN

    def check_fixed_weights(self) -> None:
        """Check that no ratio has nothing to refer to: without labels and `pseudo` there is no detection loss.

        Raises:
            UsageError: `pseudo` is false and a group has a ratio.
        """
        groups = [group for group in (self.features, self.heads) if any(group.weights.values())]
        related = [f"{group.group}.ratio" for group in groups if group.ratio is not None]
        if related and not self.pseudo:
            raise UsageError(
                "pseudo=false leaves a run without labelled data no detection loss to keep a ratio to: set "
                f"{' and '.join(f'{name}=null' for name in related)}, as --recipe pretrain does, or give labelled data"
            )

    def without_heads(self) -> FGDConfig:
        """Return the options without the methods that compare heads."""
        given = {name: value for name, value in self.given.items() if name != HeadOptions.group}
        return type(self)(**{**given, "method": "+".join(self.feature_methods) or PLAIN})

    @classmethod
    def option_names(cls) -> list[str]:
        """Names of all options in messages and on the command line, with those of every method."""
        methods = [name for model in METHOD_OPTIONS.values() for name in model.option_names()]
        return list(dict.fromkeys(["method", *methods, *super().option_names()]))

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every term, by the name of its loss item."""
        return {**self.features.weights, **self.heads.weights}

    @property
    def active(self) -> bool:
        """Whether any term is switched on; if not, the run is plain training and needs no teacher."""
        return any(self.weights.values())

    def replace(self, **changes: Any):
        """Return a copy with changes, checked again; defaults that depend on a changed option follow it.

        Args:
            changes: options, groups as mappings that change single options, or options with a dot in their name.
        """
        given = self.given
        for name, value in nested(changes).items():
            group = getattr(self, name, None)
            if isinstance(group, Options) and isinstance(value, Mapping):
                value = {**group.given, **value}
            given[name] = value
        return type(self)(**given)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]):
        """Build from plain values, nested or with dots in their names.

        Raises:
            UsageError: as for the constructor.
        """
        return cls(**nested(options))

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values that `from_dict` reads back to an equal configuration."""
        return {name: dict(value) if isinstance(value, Options) else value for name, value in self}

    def flat(self) -> dict[str, Any]:
        """Return all options by their names on the command line, such as `features.fg_weight`."""
        return dict(_flat(self))


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with dots in their names as nested mappings.

    Raises:
        UsageError: an option and its group are given in two ways.
    """
    result: dict[str, Any] = {}
    for name, value in options.items():
        group, dot, option = str(name).partition(".")
        if not dot and isinstance(value, Mapping):
            # A key may be a number in YAML, which pydantic would not accept.
            result[group] = {**result.get(group, {}), **{str(key): entry for key, entry in value.items()}}
        elif not dot:
            result[group] = value
        elif isinstance(result.setdefault(group, {}), dict):
            result[group] = {**result[group], option: value}
        else:
            raise UsageError(f"{name} cannot be set, since {group} is {result[group]!r}: leave out one of them")
    return result


def _flat(config: FGDConfig) -> Iterator[tuple[str, Any]]:
    for name in FGDConfig.model_fields:
        value = getattr(config, name)
        if isinstance(value, Options):
            yield from ((f"{name}.{option}", entry) for option, entry in value)
        else:
            yield name, value
