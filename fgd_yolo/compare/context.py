"""What a report tells besides the runs: teachers, classes, machine, command. Kept as `compare.json`."""

from __future__ import annotations

import json
import platform
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fgd_yolo.compare.job import Job
from fgd_yolo.compare.object_sizes import accuracy
from fgd_yolo.errors import FGDError
from fgd_yolo.files import atomic_path
from fgd_yolo.runtime.threads import available_cores
from fgd_yolo.strict_json import to_json
from fgd_yolo.training.preflight import check_teacher_map

CONTEXT = "compare.json"


def read_context(output: Path) -> dict[str, Any]:
    """Return what was noted so far.

    Raises:
        FGDError: the file is damaged.
    """
    path = output / CONTEXT
    if not path.exists():
        return {"commands": [], "machines": [], "teachers": {}}
    try:
        context = json.loads(path.read_text(encoding="utf-8"))
        kinds = {"commands": list, "machines": list, "teachers": dict}
        if not all(isinstance(context[key], kind) for key, kind in kinds.items()):
            raise ValueError("another kind of file")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FGDError(f"{path} is damaged: remove it, and the same command writes it again") from error
    return context


def note(output: Path, jobs: Sequence[Job], command: str) -> None:
    """Note a start: its command, its machine, and what the teachers reach on the images that students are measured on.

    Args:
        output: folder of the comparison.
        jobs: runs that were asked for.
        command: the command line.

    Raises:
        FGDError: a teacher is below the bound of a method that was asked for. Its run would refuse it too, but only
            after the runs before it.
    """
    context = read_context(output)
    for key, value in (("commands", without_folders(command)), ("machines", machine())):
        if value not in context[key]:
            context[key].append(value)
    for job in jobs:
        key = f"{job.planned.teacher_key} {job.planned.data_key}"
        if job.teacher and context["teachers"].get(job.planned.data, {}).get("key") != key:
            found = {"key": key, "name": job.planned.teacher, **accuracy(Path(job.teacher), job.data, job.train)}
            context["teachers"][job.planned.data] = found
    with atomic_path(output / CONTEXT) as path:
        path.write_text(to_json(context, indent=2) + "\n", encoding="utf-8")
    for job in jobs:
        if job.teacher and job.method.config:
            check_teacher_map(context["teachers"][job.planned.data]["map50_95"], job.method.config.min_teacher_map)


def machine() -> str:
    """Return what kind of machine this is."""
    count = available_cores()
    cores = f"{count} CPU core{'s' * (count != 1)} ({_processor()})"
    return f"{cores}, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    name = re.search(r"model name\s*:\s*(.+)", text)
    return name[1].strip() if name else platform.machine()


def without_folders(command: str) -> str:
    """Return a command line with the folders of absolute paths left out, since a report is for others to read."""
    words = []
    for word in shlex.split(command):
        key, equals, value = word.rpartition("=")
        words.append(f"{key}{equals}{Path(value).name if value.startswith('/') else value}")
    return shlex.join(words)
