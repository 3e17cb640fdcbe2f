"""What a comparison was asked to do, and what it cannot do, known before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fgd_yolo.compare.method_specs import Method, folder_name
from fgd_yolo.errors import UsageError
from fgd_yolo.text import printable
from fgd_yolo.workflow.train_arguments import check_train_args

DEMO = "demo"
_OWN = {
    "seed": "seeds are said with --seeds",
    "project": "the folder is said with --output",
    "name": "the folder is said with --output",
    "time": "methods of different speed would get different epochs",
    "dis": "it belongs to one method: ultralytics:dis=3",
    "fraction": "make a smaller data set instead, so that its numbers have a name",
}


@dataclass(frozen=True)
class Options:
    """A comparison as it was asked for.

    Args:
        output: folder of all results.
        data: dataset YAMLs, or "demo".
        teachers: one for all data sets, or one for each; empty where no method needs one.
        student: model name or file.
        methods: to compare.
        seeds: of each method on each data set.
        train: Ultralytics train arguments of all methods.
        jobs: runs side by side.
        hold_out: part of the train images to measure on instead of the val split; 0 is the val split.
        runs: folders of finished runs to take in.
        allow_download: run download scripts of data YAMLs, or fetch data from addresses, where that is needed.
    """

    output: Path
    data: Sequence[str] = (DEMO,)
    teachers: Sequence[str] = ()
    student: str | None = None
    methods: Sequence[Method] = ()
    seeds: Sequence[int] = ()
    train: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 1
    hold_out: float = 0.0
    runs: Sequence[Path] = ()
    allow_download: bool = False

    def __post_init__(self):
        check_train_args(self.train)
        for key, reason in _OWN.items():
            if key in self.train:
                raise UsageError(f"{key}={self.train[key]} is not taken: {reason}")
        batch = self.train.get("batch", 16)
        if not isinstance(batch, int) or batch < 1:
            raise UsageError(f"batch={batch}: name the batch size, since what fits differs between the methods")
        if not 0 <= self.hold_out < 1:
            raise UsageError(f"--hold-out must be a part of the train images, 0 to below 1, not {self.hold_out:g}")
        if self.methods and self.student is None:
            raise UsageError("which student? name one with --student, such as --student yolov8n")
        if not self.methods and not self.runs:
            raise UsageError("which methods? name some, such as --methods plain ultralytics fitnet fgd")
        if any(method.needs_teacher for method in self.methods) and len(self.teachers) not in {1, len(self.data)}:
            raise UsageError(
                f"{len(self.data)} data sets and {len(self.teachers)} teachers: give one --teacher for all data sets, "
                "or one after each --data"
            )
        if self.runs and self.hold_out:
            raise UsageError("--runs takes runs that were measured on their val split: leave out --hold-out")
        names = [folder_name(data_name(data)) for data in self.data]
        if len(set(names)) < len(names):
            raise UsageError(f"two data sets are called {max(names, key=names.count)}: rename one of the files")

    def teacher_of(self, data: str) -> str | None:
        """Return the teacher of a data set, or None where no method needs one."""
        if not any(method.needs_teacher for method in self.methods):
            return None
        return self.teachers[list(self.data).index(data) if len(self.teachers) > 1 else 0]


def data_name(data: str) -> str:
    """Return how a data set is called in tables."""
    return printable(Path(data).stem)
