"""What a run says: one line for each stage, and how its commands are spelled."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgd_yolo.text import printable, shortened

STAGES = 5
_SCRIPTS = {
    "distill": "tools/distill.py",
    "export": "deploy/export.py",
    "predict": "deploy/predict.py",
    "stream": "deploy/stream.py",
    "visualize": "tools/visualize.py",
}


def say(text: str, stage: int | None = None) -> None:
    """Print one line of at most 300 characters at once, with the number of the stage that it opens."""
    text = shortened(printable(text))
    print(f"[{stage}/{STAGES}] {text}" if stage else f"      {text}", flush=True)


def duration(seconds: float) -> str:
    """Return a length of time as people say it, to two units: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def listed_classes(names: Mapping[int, str], most: int = 4) -> str:
    """Return how many classes there are and what the first are called: `2 classes (cat, dog)`.

    Args:
        names: classes by number.
        most: of them to name.
    """
    first = ", ".join(shortened(printable(name), 40) for name in list(names.values())[:most])
    return f"{len(names)} class{'es' * (len(names) != 1)} ({first}{', ...' if len(names) > most else ''})"


def command(name: str) -> str:
    """Return how a command is called here: by the scripts of a checkout if one is running, or `fgd-yolo`.

    Python and `fgd-yolo` are those that run now: an environment that is not activated has neither on the PATH.

    Args:
        name: "distill", "export", "predict", "stream" or "visualize".
    """
    running = Path(sys.argv[0])
    if f"{running.parent.name}/{running.name}" in _SCRIPTS.values():
        return f"{_program(Path(sys.executable))} {shlex.quote(str(running.parent.parent / _SCRIPTS[name]))}"
    installed = Path(sys.executable).with_name("fgd-yolo")
    found = shutil.which("fgd-yolo")
    if not installed.is_file() or (found and installed.samefile(found)):
        return f"fgd-yolo {name}"
    return f"{_program(installed)} {name}"


def _program(path: Path) -> str:
    """A program's path for a shell, which looks for a bare name elsewhere than here."""
    text = shown(path)
    return shlex.quote(text if "/" in text or "\\" in text else f"./{text}")


def distill_command(**options: Any) -> str:
    """Return a command line of distill that can be pasted into a shell.

    Args:
        options: long options with their values; None is left out; `train` holds further train arguments.
    """
    train: Mapping[str, Any] = options.pop("train", {})
    words = [command("distill")]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", shlex.quote(str(value))]
    return " ".join([*words, *(shlex.quote(f"{key}={_spelled(value)}") for key, value in train.items())])


def _spelled(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, (list, tuple)) else str(value)


def shown(path: Path) -> str:
    """Return a path as people would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
