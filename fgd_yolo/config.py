"""Options of a distillation, as frozen dataclasses read from YAML: the one place where a default is decided."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.errors import UsageError, close_match, one_line

METHODS = ("fgd", "fitnet")
# What alpha, beta, gamma and lambda are where nothing is said: the terms of the two scales differ in size.
SCALE_WEIGHTS = {"paper": (2e-4, 1e-4, 2e-4, 1e-6), "free": (0.5, 0.25, 0.25, 1.0)}
FGD_WEIGHTS = ("fg_weight", "bg_weight", "attn_weight", "rel_weight")


@dataclass(frozen=True)
class FGDConfig:
    """What is added to the detection loss, and how strongly.

    The four weights are the paper's alpha, beta, gamma and lambda; None takes what fits the scale. A weight of 0
    switches its term off; with every weight 0 the training is the host's own, bit for bit.

    Args:
        method: "fgd" (focal and global terms) or "fitnet" (mean square of the aligned maps, which FGD starts from).
        scale: arithmetic of the FGD terms; "paper" is the authors' (sums over C, H, W, divided by images), "free"
            compares standardised maps by weighted means, which are of order 1 for every width, image and teacher.
        temperature: T of both attentions, above 0.
        fg_weight: alpha, feature term inside boxes.
        bg_weight: beta, feature term outside boxes.
        attn_weight: gamma, L1 between the attentions of teacher and student.
        rel_weight: lambda, global relation term.
        imitation_weight: weight of the `fitnet` term; the other four are then unused.
        heads: whether the student's head imitates the teacher's too, beside the method; None is yes for `fgd`.
        head_cls_weight: class term of the heads.
        head_box_weight: box term of the heads.
        gradient_ratio: ratio of gradient norms, distillation over detection, at the student's neck maps, that the
            sum of the method's terms is scaled to. None keeps the fixed weights, as the paper does.
        head_gradient_ratio: the same for the sum of the heads' terms.
        ratio_every: training batches between two measurements of that ratio.
        warmup_epochs: epochs over which the distillation rises linearly from 0 to its full strength, at the latest
            at `decay_start`.
        decay_start: fraction of the run after which the method's terms begin to fall, along half a cosine; those of the
            heads never do.
        decay_end: fraction of the run after which the method's terms are over; with `decay_start` 1 they never fall.
        max_gradient_ratio: the run stops with advice when the share stays above this for a whole epoch.
        min_teacher_map: mAP50-95 on the validation set below which a teacher is refused.
        plot_every: epochs from one picture of the attentions in the run folder to the next; 0 draws none.
    """

    method: str = "fgd"
    scale: str = "free"
    temperature: float = 0.5
    fg_weight: float | None = None
    bg_weight: float | None = None
    attn_weight: float | None = None
    rel_weight: float | None = None
    imitation_weight: float = 1.0
    heads: bool | None = None
    head_cls_weight: float = 1.0
    head_box_weight: float = 1.0
    gradient_ratio: float | None = 0.1
    head_gradient_ratio: float | None = 0.5
    ratio_every: int = 50
    warmup_epochs: float = 3.0
    decay_start: float = 0.3
    decay_end: float = 0.6
    max_gradient_ratio: float = 10.0
    min_teacher_map: float = 0.05
    plot_every: int = 10

    def __post_init__(self):
        _check_choice("method", self.method, METHODS)
        _check_choice("scale", self.scale, SCALE_WEIGHTS)
        for name, weight in zip(FGD_WEIGHTS, SCALE_WEIGHTS[self.scale], strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, weight)
        for name in (entry.name for entry in fields(self) if entry.name.endswith("_weight")):
            _check_number(name, getattr(self, name), minimum=0)
        for name in ("warmup_epochs", "min_teacher_map", "decay_start"):
            _check_number(name, getattr(self, name), minimum=0)
        ratios = [name for name in ("gradient_ratio", "head_gradient_ratio") if getattr(self, name) is not None]
        for name in ("temperature", "max_gradient_ratio", "decay_end", *ratios):
            _check_number(name, getattr(self, name), minimum=0, exclusive=True)
        if not self.decay_start <= self.decay_end <= 1:
            raise UsageError(
                "decay_start must be at most decay_end, and decay_end at most 1, "
                f"got {self.decay_start:g} and {self.decay_end:g}"
            )
        if self.heads is None:
            object.__setattr__(self, "heads", self.method == "fgd")
        if not isinstance(self.heads, bool):
            raise UsageError(f"heads must be true or false, not {self.heads!r}")
        for name, least, unit in (("ratio_every", 1, "batches"), ("plot_every", 0, "epochs")):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"{name} must be a whole number of {unit}, at least {least}, not {value!r}")

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
        if self.method == "fitnet":
            return {"imitation_loss": self.imitation_weight}
        return {name.replace("weight", "loss"): getattr(self, name) for name in FGD_WEIGHTS}

    @property
    def active(self) -> bool:
        """Whether any term is switched on; if not, the run is plain training and needs no teacher."""
        return any(self.weights.values())

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> FGDConfig:
        """Build from plain values.

        Raises:
            UsageError: an unknown key (the message names the closest one) or a value out of range.
        """
        return _build(cls, options, "fgd")


@dataclass(frozen=True)
class Recipe:
    """One experiment as a file: who teaches whom on what, the host's train arguments, and the distillation.

    Args:
        teacher: model name or file of the teacher.
        student: model name or file of the student.
        data: Ultralytics dataset YAML; None is the built-in demo data.
        teacher_epochs: epochs of the teacher's fine-tuning where it does not know the data; None is as many as the
            student's, 0 forbids it.
        train: Ultralytics train arguments, passed on untouched.
        teacher_train: those of the teacher's own stage; None is the student's, with `teacher_epochs`.
        fgd: the distillation.
    """

    teacher: str | None = None
    student: str | None = None
    data: str | None = None
    teacher_epochs: int | None = None
    train: dict[str, Any] = field(default_factory=dict)
    teacher_train: dict[str, Any] | None = None
    fgd: FGDConfig = field(default_factory=FGDConfig)

    def override(self, train: dict[str, Any] | None = None, **options: Any) -> Recipe:
        """Return a copy in which every option that is not None, and every train argument, replaces this one's."""
        said = {key: value for key, value in options.items() if value is not None}
        return replace(self, **said, train={**self.train, **(train or {})})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back to an equal recipe."""
        return asdict(self)

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> Recipe:
        """Build from plain values.

        Raises:
            UsageError: an unknown key (the message names the closest one) or a value out of range.
        """
        recipe = _build(cls, options, "recipe")
        given = {
            "train": recipe.train,
            "teacher_train": recipe.teacher_train or {},
            "fgd": options.get("fgd", {}),
        }
        for key, value in given.items():
            if not isinstance(value, dict):
                raise UsageError(f"{key} must be a mapping of options, not {value!r}")
        return replace(recipe, fgd=FGDConfig.from_dict(options["fgd"])) if "fgd" in options else recipe


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package, sorted."""
    return sorted(Path(entry.name).stem for entry in files("fgd_yolo.cfg").iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe: a shipped one by name (`plain`, `fitnet`, ...) or a YAML file by path.

    Raises:
        UsageError: no such recipe or file, a file that is not a YAML mapping, an unknown key, a bad value.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UsageError(f"config file {path} does not exist")
        text = path.read_text(encoding="utf-8")
    else:
        _check_choice("config", str(name_or_path), recipe_names())
        text = files("fgd_yolo.cfg").joinpath(f"{name_or_path}.yaml").read_text(encoding="utf-8")
    try:
        options = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"config {name_or_path} is not YAML: {one_line(error)}") from error
    if not isinstance(options, dict):
        raise UsageError(f"config {name_or_path} must be a mapping of options, not a {type(options).__name__}")
    return Recipe.from_dict(options)


def _build(cls, options: dict[str, Any], where: str):
    known = [entry.name for entry in fields(cls)]
    for key in options:
        if key not in known:
            raise UsageError(f"unknown {where} option '{key}'{close_match(str(key), known) or f'; known: {known}'}")
    return cls(**options)


def _check_choice(name: str, value: str, choices) -> None:
    if value not in choices:
        raise UsageError(f"{name} '{value}' is unknown{close_match(str(value), choices)} (known: {', '.join(choices)})")


def _check_number(name: str, value, minimum: float, exclusive: bool = False) -> None:
    """Reject what YAML turns into a surprise: `1e-4` without a dot is a string there, `yes` is a bool."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    if not number or value < minimum or (exclusive and value == minimum):
        bound = f"above {minimum}" if exclusive else f"at least {minimum}"
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if isinstance(value, str) else ""
        raise UsageError(f"{name} must be a number {bound}, not {value!r}{hint}")
