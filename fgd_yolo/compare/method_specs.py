"""What is compared: a method is one word, such as `plain`, `fgd:head_gradient_ratio=1` or `ultralytics:dis=3`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fgd_yolo.config import FGD_WEIGHTS, SCALE_WEIGHTS, FGDConfig, load_recipe, recipe_names
from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.workflow.train_arguments import parse_assignments

HOST = "ultralytics"
FGD = "fgd"
GAINS = ("box", "cls", "dfl")  # weights of the detection losses: no budget, so a method may have its own
HOST_GAINS = ("dis", *GAINS)


@dataclass(frozen=True)
class Method:
    """One way to train the student.

    Args:
        label: as it was spelled; the name in every table.
        config: what our trainer adds; None is the host's own `distill_model=`.
        gains: Ultralytics loss gains of this method alone.
    """

    label: str
    config: FGDConfig | None
    gains: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_teacher(self) -> bool:
        """Whether it learns from a teacher."""
        return self.config is None or self.config.active

    @property
    def options(self) -> dict[str, Any]:
        """All that makes the method what it is, as plain values."""
        if self.config is None:
            return {"trainer": HOST, **self.gains}
        return {**(asdict(self.config) if self.config.active else {}), **self.gains}


def folder_name(label: str) -> str:
    """Return a label as the name of a folder."""
    return re.sub(r"[^\w.+-]+", "-", label)


def work_folder(output: Path, *labels: str) -> Path:
    """Return where below its output a comparison keeps what it trains, under these labels."""
    return output.joinpath("work", *map(folder_name, labels))


def parse_methods(words: Sequence[str]) -> list[Method]:
    """Read methods as they are spelled.

    Raises:
        UsageError: one is unknown, is spelled twice, or changes what all methods must have in common.
    """
    methods = [parse_method(word) for word in words]
    folders = [folder_name(method.label) for method in methods]
    for place, folder in enumerate(folders):
        if folder in folders[:place]:
            raise UsageError(f"method {methods[place].label} given more than once")
    return methods


def parse_method(word: str) -> Method:
    """Read one method: `ultralytics`, a shipped recipe or a recipe file, with changes after a colon.

    Args:
        word: such as `fgd:head_gradient_ratio=1,rel_weight=0`; `fgd` is the shipped default.

    Raises:
        UsageError: an unknown name or option, a bad value, or a recipe that sets more than the distillation.
    """
    name, _, text = word.partition(":")
    changes = parse_assignments(text.split(",")) if text else {}
    label = ":".join([Path(name).name, text] if text else [Path(name).name])
    if name == HOST:
        for key in changes:
            if key not in HOST_GAINS:
                raise UsageError(f"{word}: {HOST} takes {', '.join(HOST_GAINS)}, not {key}")
        return Method(label, None, changes)
    gains = {key: changes.pop(key) for key in GAINS if key in changes}
    return Method(label, FGDConfig.from_dict({**_base(_recipe(name), changes), **changes}), gains)


def _base(config: FGDConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options before the changes; weights that are those of a scale become those of another with it."""
    options = asdict(config)
    if changes.get("scale", config.scale) != config.scale:
        own = dict(zip(FGD_WEIGHTS, SCALE_WEIGHTS[config.scale], strict=True))
        options.update({name: None for name, weight in own.items() if options[name] == weight})
    return options


def _recipe(name: str) -> FGDConfig:
    """The distillation of a recipe; everything else is the same for all methods, so no recipe may set it."""
    known = [FGD, HOST, *recipe_names()]
    if name not in known and Path(name).suffix not in {".yaml", ".yml"}:
        raise UsageError(f"unknown method '{name}'{close_match(name, known)} (known: {', '.join(known)}, YAML files)")
    recipe = load_recipe("default" if name == FGD else name)
    parts = ("train", "teacher_train", "teacher", "student", "data", "teacher_epochs")
    said = [part for part in parts if getattr(recipe, part)]
    if said:
        raise UsageError(f"recipe {name} sets {', '.join(said)}: say that on the command line, for all methods")
    return recipe.fgd
