"""Recipes: a distillation with models, data and train arguments, as a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field

from fgd_yolo.cfg import recipe_names, recipe_text
from fgd_yolo.checked_options import unknown_choice
from fgd_yolo.config.fgd_config import FGDConfig
from fgd_yolo.errors import UsageError, one_line

NameOrPath = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]


class Recipe(FGDConfig):
    """One experiment as a file: a distillation, and models, data and Ultralytics train arguments.

    Raises:
        UsageError: an unknown option (the message names the closest one) or a wrong value.
    """

    teacher: NameOrPath | None = None
    """Model name or file of the teacher."""
    student: NameOrPath | None = None
    """Model name or file of the student."""
    data: NameOrPath | None = None
    """Ultralytics dataset YAML; None for the built-in demo data."""
    teacher_epochs: Annotated[int, Field(ge=0)] | None = None
    """Epochs of the teacher's fine-tuning if it does not know the data; None for as many as the student's, 0 to forbid
    fine-tuning."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Ultralytics train arguments, passed on unchanged."""
    teacher_train: dict[str, Any] | None = None
    """Train arguments of the teacher's fine-tuning; None for the student's, with `teacher_epochs`."""

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
    """Read a recipe: a shipped one by name (`plain`, `fitnet`, ...) or a YAML file by path.

    Raises:
        UsageError: the recipe or file does not exist, the file is not a YAML mapping, or an option is unknown or wrong.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UsageError(f"recipe {path} does not exist")
        text = path.read_text(encoding="utf-8")
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
