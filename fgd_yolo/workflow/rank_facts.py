"""What all ranks of a run must have in common before it starts: versions of libraries, options and models."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from fgd_yolo import __version__
from fgd_yolo.config import Recipe
from fgd_yolo.distributed.exchange import Fact
from fgd_yolo.files import sha256_of_file
from fgd_yolo.train_arguments import ultralytics_defaults

# These may differ from host to host: where files are, and how images are loaded.
_OF_A_HOST = ("project", "name", "data", "workers", "cache")


def rank_facts(recipe: Recipe | None) -> dict[str, Fact]:
    """Return what must be the same on all ranks, by its name in a message.

    Convention:
        Models are compared by content where both hosts have a file, by name where both have none. A host may lack the
        file of a model, since rank 0 sends its own.

    Args:
        recipe: options that this rank was started with; None if it resumes a run.
    """
    return {name: Fact(text, text) for name, text in _texts(recipe)} | (_models(recipe) if recipe else {})


def _texts(recipe: Recipe | None) -> Iterator[tuple[str, str]]:
    yield "fgd_yolo", __version__
    for package in ("torch", "ultralytics"):
        yield package, version(package).partition("+")[0]  # builds for CPU and for CUDA train together
    yield "Python", ".".join(platform.python_version_tuple()[:2])
    yield "--resume", "a run to resume" if recipe is None else "a new run"
    if recipe is None:
        return
    frames = " and unlabelled frames" * bool(recipe.unlabeled)
    yield "--data", f"{'no data set' if recipe.data is None else 'a data set'}{frames}"
    options = {**recipe.config.flat(), "teacher_epochs": recipe.teacher_epochs, "teachers": len(recipe.teachers)}
    options |= {"every": recipe.every, "teacher_classes": ",".join(recipe.teacher_classes)}
    train = {**ultralytics_defaults(), **recipe.train}
    own = {f"teacher_train.{name}": value for name, value in (recipe.teacher_train or {}).items()}
    for name, value in {**options, **train, **own}.items():
        if name.rpartition(".")[2] not in _OF_A_HOST and not Path(str(value)).is_absolute():
            yield name, f"{name}={value}"


def _models(recipe: Recipe) -> dict[str, Fact]:
    roles = {"student": recipe.student, **{f"teacher {place}": name for place, name in enumerate(recipe.teachers, 1)}}
    facts = {}
    for role, name in roles.items():
        if name is not None and Path(name).is_file():
            facts[f"the file of the {role}"] = Fact(sha256_of_file(name), str(name))
        elif name is not None:
            facts[f"the {role}"] = Fact(Path(name).name, str(name))
    return facts
