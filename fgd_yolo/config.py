"""Options of a distillation, and recipes that combine them with models, data and train arguments in a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from fgd_yolo.cfg import recipe_names, recipe_text
from fgd_yolo.checked_options import Options, unknown_choice, unknown_option
from fgd_yolo.errors import UsageError, one_line

if TYPE_CHECKING:
    from fgd_yolo.methods import MethodOptions

Weight = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(gt=0)]
DEFAULT_METHOD = "fgd"
NameOrPath = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]


class FGDConfig(Options):
    """Options of a distillation: the method, its weights, and its strength relative to the detection loss.

    The options below are common to all methods. Those of the chosen method are given in the same way and are attributes
    too, such as `FGDConfig(method="fgd", fg_weight=1.0)`; they are declared with the method in `fgd_yolo.methods`. A
    weight of 0 switches its term off; with every weight 0 the training is Ultralytics' own, bit for bit.

    Args:
        method: how the neck maps are compared; a key of `fgd_yolo.methods.METHODS`.
        heads: whether the student's head imitates the teacher's too; the default depends on the method.
        head_cls_weight: weight of the heads' class term.
        head_box_weight: weight of the heads' box term.
        gradient_ratio: target for the gradient norm of the method's terms over that of the detection loss, at the
            student's neck maps; the terms are scaled to it. None keeps the weights fixed, as in the paper.
        head_gradient_ratio: the same for the sum of the heads' terms.
        ratio_every: training batches between two measurements of these ratios.
        warmup_epochs: epochs over which the distillation rises linearly from 0 to full strength; for the method's terms
            at most until `decay_start`.
        decay_start: fraction of the run after which the method's terms decay along half a cosine; those of the heads
            do not decay.
        decay_end: fraction of the run after which the method's terms are 0. With `decay_start` 1 they never decay.
        max_gradient_ratio: the run stops with advice if the measured ratio stays above this for a whole epoch.
        min_teacher_map: mAP50-95 on the validation set below which a teacher is refused.
        plot_every: epochs between two attention figures in the run folder; 0 draws none.

    Raises:
        UsageError: an unknown option (the message names the closest one), an option of another method, or a wrong
            value.
    """

    model_config = ConfigDict(extra="allow")  # the method's options, which its own model checks
    kind = "fgd option"

    method: str = DEFAULT_METHOD
    heads: bool = Field(default_factory=lambda options: _methods()[options["method"]].imitates_heads)
    head_cls_weight: Weight = 1.0
    head_box_weight: Weight = 1.0
    gradient_ratio: Ratio | None = 0.1
    head_gradient_ratio: Ratio | None = 0.5
    ratio_every: Annotated[int, Field(ge=1)] = 50
    warmup_epochs: Annotated[float, Field(ge=0)] = 3.0
    decay_start: Annotated[float, Field(ge=0)] = 0.3
    decay_end: Annotated[float, Field(gt=0, le=1)] = 0.6
    max_gradient_ratio: Ratio = 10.0
    min_teacher_map: Annotated[float, Field(ge=0)] = 0.05
    plot_every: Annotated[int, Field(ge=0)] = 10
    _method_options: Any = PrivateAttr()

    @field_validator("method")
    @classmethod
    def _check_method(cls, name: str) -> str:
        if name not in _methods():
            raise UsageError(unknown_choice("method", name, _methods()))
        return name

    @model_validator(mode="after")
    def _check_decay(self) -> FGDConfig:
        if self.decay_start > self.decay_end:
            raise UsageError(f"decay_start must be at most decay_end, got {self.decay_start:g} and {self.decay_end:g}")
        return self

    def model_post_init(self, _: Any) -> None:
        """Check the method's options, and complete them with their defaults."""
        model = _methods()[self.method]
        for name in self.model_extra:
            if name not in model.model_fields:
                raise UsageError(self._not_an_option(name))
        self._method_options = model(**self.model_extra)
        self.model_extra.update(self._method_options)

    def _not_an_option(self, name: str) -> str:
        others = [method for method, model in _methods().items() if name in model.model_fields]
        if others:
            return (
                f"{name} is an option of method {' and '.join(others)}, not of {self.method}: "
                f"leave it out, or choose method {others[0]}"
            )
        known = [*type(self).model_fields, *_methods()[self.method].model_fields]
        return unknown_option(name, known, self.kind)

    @property
    def method_options(self) -> MethodOptions:
        """Options of the chosen method."""
        return self._method_options

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every term, by the name of its loss item."""
        return {**self.feature_weights, **self.head_weights}

    @property
    def head_weights(self) -> dict[str, float]:
        """Weight of each term of the heads, by the name of its loss item."""
        return {"head_cls": self.head_cls_weight, "head_box": self.head_box_weight} if self.heads else {}

    @property
    def feature_weights(self) -> dict[str, float]:
        """Weight of each term of the chosen method, by the name of its loss item."""
        return self.method_options.weights

    @property
    def active(self) -> bool:
        """Whether any term is switched on; if not, the run is plain training and needs no teacher."""
        return any(self.weights.values())

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> FGDConfig:
        """Build from plain values.

        Raises:
            UsageError: as for the constructor.
        """
        return cls(**{str(key): value for key, value in options.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back to an equal configuration: the method's options first."""
        return {"method": self.method, **dict(self.method_options), **dict(self)}


class Recipe(Options):
    """One experiment as a file: teacher, student, data, Ultralytics train arguments, and the distillation.

    Args:
        teacher: model name or file of the teacher.
        student: model name or file of the student.
        data: Ultralytics dataset YAML; None for the built-in demo data.
        teacher_epochs: epochs of the teacher's fine-tuning if it does not know the data; None for as many as the
            student's, 0 to forbid fine-tuning.
        train: Ultralytics train arguments, passed on unchanged.
        teacher_train: train arguments of the teacher's fine-tuning; None for the student's, with `teacher_epochs`.
        fgd: options of the distillation.

    Raises:
        UsageError: an unknown option (the message names the closest one) or a wrong value.
    """

    kind = "recipe option"

    teacher: NameOrPath | None = None
    student: NameOrPath | None = None
    data: NameOrPath | None = None
    teacher_epochs: Annotated[int, Field(ge=0)] | None = None
    train: dict[str, Any] = Field(default_factory=dict)
    teacher_train: dict[str, Any] | None = None
    fgd: FGDConfig = Field(default_factory=FGDConfig)

    def override(self, train: dict[str, Any] | None = None, **options: Any) -> Recipe:
        """Return a copy in which every option that is not None, and every train argument, replaces this one's."""
        given = {key: value for key, value in options.items() if value is not None}
        return self.replace(**given, train={**self.train, **(train or {})})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back to an equal recipe."""
        return {**dict(self), "fgd": self.fgd.to_dict()}

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> Recipe:
        """Build from plain values.

        Raises:
            UsageError: as for the constructor.
        """
        return cls(**{str(key): value for key, value in options.items()})


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe: a shipped one by name (`plain`, `fitnet`, ...) or a YAML file by path.

    Raises:
        UsageError: the recipe or file does not exist, the file is not a YAML mapping, or an option is unknown or wrong.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UsageError(f"config file {path} does not exist")
        text = path.read_text(encoding="utf-8")
    elif str(name_or_path) in recipe_names():
        text = recipe_text(str(name_or_path))
    else:
        raise UsageError(unknown_choice("config", name_or_path, recipe_names()))
    try:
        options = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"config {name_or_path} is not YAML: {one_line(error)}") from error
    if not isinstance(options, dict):
        raise UsageError(f"config {name_or_path} must be a mapping of options, not a {type(options).__name__}")
    return Recipe.from_dict(options)


def _methods() -> dict[str, type[MethodOptions]]:
    # Imported on use, because it imports torch, which would delay errors about mistyped options of a command.
    from fgd_yolo.methods import METHODS

    return METHODS
