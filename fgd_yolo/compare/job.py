"""One run that is to be made: everything that the process that makes it must know."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from fgd_yolo.compare.method_specs import Method
from fgd_yolo.compare.results_csv import Run
from fgd_yolo.config import FGDConfig
from fgd_yolo.console import print_status
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.files import atomic_path
from fgd_yolo.strict_json import to_json

JOB = "job.json"
RESULT = "run.json"
LOG = "log.txt"


@dataclass(frozen=True)
class Job:
    """A run to make.

    Args:
        folder: the host's run folder; what a stopped process left in it is gone on with.
        data: dataset YAML.
        student: model to start from; None measures a training that is finished.
        teacher: its checkpoint; None where nothing is distilled.
        method: how to train.
        train: the train arguments of all methods, seed included.
        planned: the run as far as it is known beforehand.
        measured: folder for the job's own files where `folder` is somebody else's; None is `folder`.
    """

    folder: Path
    data: str
    student: str | None
    teacher: str | None
    method: Method
    train: dict[str, Any]
    planned: Run
    measured: Path | None = None

    @property
    def place(self) -> Path:
        """The folder of the job's own files."""
        return self.measured or self.folder


def write_job(job: Job) -> None:
    """Write a job into its folder, for the process that makes the run."""
    job.place.mkdir(parents=True, exist_ok=True)
    with atomic_path(job.place / JOB) as path:
        path.write_text(to_json(asdict(job), default=str), encoding="utf-8")


def read_job(place: Path) -> Job:
    """Read what `write_job` wrote.

    Raises:
        FGDError: the file is damaged.
    """
    try:
        plain = json.loads((place / JOB).read_text(encoding="utf-8"))
        config = plain["method"].pop("config")
        method = Method(**plain.pop("method"), config=config and FGDConfig.from_dict(config))
        measured = plain.pop("measured")
        return Job(
            **{key: plain[key] for key in ("data", "student", "teacher", "train")},
            folder=Path(plain["folder"]),
            method=method,
            planned=Run(**plain["planned"]),
            measured=measured and Path(measured),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
        raise FGDError(f"{place / JOB} is damaged: remove {place} to make this run again") from error


def write_result(job: Job, run: Run) -> None:
    """Write a finished run into its folder, whole."""
    with atomic_path(job.place / RESULT) as path:
        path.write_text(to_json(asdict(run)), encoding="utf-8")


def read_result(job: Job) -> Run | None:
    """Return the finished run, or None if it is not finished or its file is damaged: then it is measured again."""
    path = job.place / RESULT
    if not path.is_file():
        return None
    try:
        run = Run(**json.loads(path.read_text(encoding="utf-8")))
        whole = all(isinstance(value, float) and isfinite(value) for value in (run.map50_95, run.map50))
    except (OSError, ValueError, TypeError):
        whole = False
    if not whole:
        print_status(f"!! {path} is damaged: the run is measured again")
    return run if whole else None
