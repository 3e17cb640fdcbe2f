"""Recipes: a distillation with models, data and train arguments, as a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from fgd_yolo.cfg import recipe_names, recipe_text
from fgd_yolo.checked_options import unknown_choice
from fgd_yolo.config.fgd_config import FGDConfig
from fgd_yolo.errors import UsageError, one_line


def model_names(models: str | Path | Sequence[str | Path] | None) -> tuple[str, ...]:
    """Return the models of a list, which may be written as text with commas; the name of an existing file is not split.

    Raises:
        UsageError: a name is empty, or given more than once.
    """
    if models is None:
        return ()
    if isinstance(models, (str, Path)):
        models = [models] if Path(models).is_file() else str(models).split(",")
    names = tuple(str(name).strip() for name in models)
    for index, name in enumerate(names):
        if name in ("", "."):
            raise UsageError(f"teacher '{','.join(names)}' has an empty name: write names or files, such as a.pt,b.pt")
        if name in names[:index]:
            raise UsageError(f"teacher {name} given more than once: leave out one")
    return names


def _plain(value: Any) -> Any:
    """Return paths as text, and lists as tuples."""
    if isinstance(value, Path):
        return str(value)
    return tuple(_plain(entry) for entry in value) if isinstance(value, (list, tuple)) else value


def _check_teacher(value: Any) -> Any:
    models = _plain(value)
    names = models if isinstance(models, tuple) else (models,)
    if models is not None and not (names and all(isinstance(name, str) for name in names)):
        raise ValueError(f"must be a model name or file, or a list of them, got {value!r}")
    model_names(models)
    return models


NameOrPath = Annotated[str, BeforeValidator(_plain)]


AUTO = "auto"
"""`teacher_epochs` if it is not given."""


def _read_epochs(value: Any) -> Any:
    if value is None:
        return AUTO
    if value != AUTO and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"must be a number of epochs, 0 to use the teacher as it is, or {AUTO}, got {value!r}")
    return value


def _texts(value: Any) -> Any:
    """Return a list that may be written as text with commas as a tuple of texts; an existing path is not split."""
    if value is None:
        return ()
    if isinstance(value, Path) or (isinstance(value, str) and "," in value and Path(value).exists()):
        return (str(value),)
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(str(entry) for entry in value) if isinstance(value, (list, tuple)) else value


class Recipe(FGDConfig):
    """One experiment as a file: a distillation, and models, data and Ultralytics train arguments.

    Raises:
        UsageError: an unknown option (the message names the closest one) or a wrong value.
    """

    teacher: Annotated[str | tuple[str, ...] | None, BeforeValidator(_check_teacher)] = None
    """Model name or file of the teacher; several as a list, or as text with commas."""
    student: NameOrPath | None = None
    """Model name or file of the student."""
    data: NameOrPath | None = None
    """Ultralytics dataset YAML; None for the built-in demo data."""
    unlabeled: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    """Unlabelled frames: folders, list files, images, videos, and recordings or collections of streams."""
    every: Annotated[str, BeforeValidator(str)] = "1s"
    """Time between two frames of a video among them: 1s, 500ms, 2min."""
    teacher_classes: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    """Without data: the classes of the teacher that the student learns, by name; empty for all."""
    teacher_epochs: Annotated[Annotated[int, Field(ge=0)] | Literal["auto"], BeforeValidator(_read_epochs)] = AUTO
    """Fine-tuning of a teacher that does not know all classes of the data: its epochs, or 0 to use it as it is; auto
    decides by the classes that it knows, and takes the epochs of the student."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Ultralytics train arguments, passed on unchanged."""
    teacher_train: dict[str, Any] | None = None
    """Train arguments of the teacher's fine-tuning; None for the student's, with the epochs of `teacher_epochs`."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """Model names or files of the teachers, in their order; empty without a teacher."""
        return model_names(self.teacher)

    @property
    def config(self) -> FGDConfig:
        """The options of the distillation alone."""
        return FGDConfig(**{name: value for name, value in self.given.items() if name in FGDConfig.model_fields})

    @classmethod
    def of(cls, config: FGDConfig, **options: Any) -> Recipe:
        """Return the recipe of a distillation, with models, data and train arguments."""
        return cls(**config.given, **options)

    def override(self, train: dict[str, Any] | None = None, **options: Any) -> Recipe:
        """Return a copy in which every option that is not None, and every train argument, replaces this one's."""
        given = {key: value for key, value in options.items() if value is not None}
        return self.replace(**given, train={**self.train, **(train or {})})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back to an equal recipe: models and data first."""
        values = super().to_dict()
        own = [name for name in values if name not in FGDConfig.model_fields]
        return {name: values[name] for name in [*own, *FGDConfig.model_fields]}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe: a shipped one by name (`plain`, `paper-yolo`, ...) or a YAML file by path.

    Raises:
        UsageError: the recipe or file does not exist, the file is not a YAML mapping, or an option is unknown or wrong.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UsageError(f"recipe {path} does not exist")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"recipe {path} cannot be read: {one_line(error)}") from error
    elif str(name_or_path) in recipe_names():
        text = recipe_text(str(name_or_path))
    else:
        raise UsageError(unknown_choice("recipe", name_or_path, recipe_names()))
    try:
        options = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"recipe {name_or_path} is not YAML: {one_line(error)}") from error
    if not isinstance(options, dict):
        raise UsageError(f"recipe {name_or_path} must be a mapping of options, not a {type(options).__name__}")
    if "names" in options:
        raise UsageError(f"recipe {name_or_path} is a data set, not a recipe: give it as data= (--data)")
    try:
        return Recipe.from_dict(options)
    except UsageError as error:
        raise UsageError(f"recipe {name_or_path}: {error}") from error
