"""Recipes: YAML files that are shipped as the package `fgd_yolo.cfg` and read by `fgd_yolo.config.load_recipe`."""

from importlib.resources import files
from itertools import takewhile
from pathlib import Path


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package, sorted."""
    return sorted(Path(entry.name).stem for entry in files(__name__).iterdir() if entry.name.endswith(".yaml"))


def recipe_summary(name: str) -> str:
    """Return the first sentence of the comment at the top of a shipped recipe, without its full stop."""
    lines = takewhile(lambda line: line.startswith("#"), recipe_text(name).splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines).partition(". ")[0].removesuffix(".")


def recipe_text(name: str) -> str:
    """Return the YAML of a shipped recipe."""
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
