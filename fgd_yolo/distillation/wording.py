"""What a run says: one line for each stage, one for each error, and how its commands are spelled."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAGES = 5
_SCRIPTS = {"distill": "tools/distill.py", "export": "deploy/export.py"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def say(text: str, stage: int | None = None) -> None:
    """Print one line at once, with the number of the stage that it opens."""
    print(f"[{stage}/{STAGES}] {text}" if stage else f"      {text}", flush=True)


def one_line(error: BaseException) -> str:
    """Return an error's text on a single line, without colours; its type where it has no text."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(_COLOUR.sub("", str(error)).split()) or type(error).__name__


def duration(seconds: float) -> str:
    """Return a length of time as people say it, to two units: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def command(name: str) -> str:
    """Return how a command is called here: by the scripts of a checkout if one is running, or `fgd-yolo`.

    Args:
        name: "distill" or "export".
    """
    running = Path(sys.argv[0])
    if running.name == "distill.py" and running.parent.name == "tools":
        return f"python {shlex.quote(str(running.parent.parent / _SCRIPTS[name]))}"
    return f"fgd-yolo {name}"


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
