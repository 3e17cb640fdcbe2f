"""What a distillation can be expected to gain, by the committed comparisons.

`expected_gain.csv` has their pairs of runs, by method, kind of student and number of optimizer steps. It is written by
`docs/generators/results_tables.py`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fgd_yolo.config import FGDConfig, part_of_default
from fgd_yolo.text import counted

FILE = Path(__file__).with_name("expected_gain.csv")
FIRST_STEPS = (0, 400, 1000)
"""Optimizer steps from which runs are pooled, up to the next of these numbers."""
FEWEST_PAIRS = 3
"""Pairs from which a gain is expected of them, or none; the interval of two is too wide to say anything."""
KINDS = {"yolov8": "YOLOv8 and YOLO11", "yolo11": "YOLOv8 and YOLO11", "yolo26": "YOLO26"}
"""The students that were compared, by the beginning of their names: those with one head are pooled."""
_OTHER_OPTIONS = {"checks", "map", "pictures_every", "teacher_precision"}  # they do not change what a comparison says


@dataclass(frozen=True)
class PooledPairs:
    """Pairs of a plain and a distilled run, in points of mAP50-95.

    Args:
        method: the distillation method, with its default options.
        student: kind of the student, of `KINDS`.
        students: names of the students that were trained.
        first_step: lowest number of optimizer steps of these runs, of `FIRST_STEPS`.
        pairs: number of pairs.
        data_sets: number of data sets.
        mean: mean difference, distilled minus plain.
        low: lower end of its 95 % interval; None for one pair.
        high: upper end.
        lowest_teacher: mAP50-95 of the weakest teacher.
        smallest_px: smallest size of the images.
        largest_px: largest size of the images.
    """

    method: str
    student: str
    students: str
    first_step: int
    pairs: int
    data_sets: int
    mean: float
    low: float | None
    high: float | None
    lowest_teacher: float
    smallest_px: int
    largest_px: int

    @property
    def steps(self) -> str:
        """The numbers of optimizer steps, in words."""
        following = [step for step in FIRST_STEPS if step > self.first_step]
        if not following:
            return f"at least {self.first_step}"
        return f"{self.first_step} to {following[0] - 1}" if self.first_step else f"fewer than {following[0]}"

    @property
    def px(self) -> str:
        """The sizes of the images, in words."""
        return " to ".join(dict.fromkeys((str(self.smallest_px), str(self.largest_px))))

    @property
    def figures(self) -> str:
        """The students, the method, the difference, its interval and the number of pairs, in words."""
        side = "above" if self.mean >= 0 else "below"
        interval = "" if self.low is None else f"95 % interval {self.low:+.1f} to {self.high:+.1f}, "
        pairs = f"{counted(self.pairs, 'pair')} on {counted(self.data_sets, 'data set')}"
        difference = f"{abs(self.mean):.1f} mAP50-95 points {side} plain training ({interval}{pairs})"
        return f"{self.students} with {self.method} ended {difference} in runs of {self.steps} optimizer steps"


@cache
def pooled_pairs() -> tuple[PooledPairs, ...]:
    """Return what was measured, one entry for each kind of student and number of steps."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_read(row) for row in csv.DictReader(file))


def _read(row: dict[str, str]) -> PooledPairs:
    names = ("first_step", "pairs", "data_sets", "smallest_px", "largest_px")
    numbers = {name: float(row[name]) if row[name] else None for name in ("mean", "low", "high", "lowest_teacher")}
    texts = (row[name] for name in ("method", "student", "students"))
    return PooledPairs(*texts, **{name: int(row[name]) for name in names}, **numbers)


def expected_gain(
    teacher_map: float,
    steps: int,
    imgsz: int,
    *,
    method: str,
    student: str,
    pretrained: bool,
    measured: Sequence[PooledPairs] | None = None,
) -> str:
    """Return what a method can be expected to gain over plain training, with the figures behind it.

    Args:
        teacher_map: the best teacher's mAP50-95 on the val images.
        steps: optimizer steps of the run.
        imgsz: side of the student's images, in pixels.
        method: the method, with its default options.
        student: name of the student's model YAML.
        pretrained: whether the student starts from weights.
        measured: what is known; None for the committed comparisons.
    """
    known = pooled_pairs() if measured is None else measured
    first_step = max(step for step in FIRST_STEPS if step <= steps)
    kind = kind_of(student)
    match = [entry for entry in known if (entry.method, entry.student, entry.first_step) == (method, kind, first_step)]
    if not match:
        runs = "students of this family" if kind is None else f"{kind} with {method} and about {steps} optimizer steps"
        return f"it is not known what to expect: there is no comparison of {runs}"
    [entry] = match
    weakest = min(other.lowest_teacher for other in known)
    if teacher_map < weakest:
        return (
            f"expect little: the teacher is weak on this data, mAP50-95 {teacher_map:.3f}, in the comparisons at least "
            f"{weakest:.3f} on theirs; what counts is that it is better than the student trained without it"
        )
    unlike = [] if entry.smallest_px <= imgsz <= entry.largest_px else [f"{imgsz} px"]
    unlike += ["a student that starts from weights"] * pretrained
    unlike += [f"a teacher with mAP50-95 {teacher_map:.3f}"] * (teacher_map < entry.lowest_teacher)
    if unlike:
        return (
            f"nothing was measured for a run like this ({', '.join(unlike)}): at {entry.px} px, from random weights "
            f"and with teachers of at least {entry.lowest_teacher:.3f}, {entry.figures}"
        )
    if entry.pairs < FEWEST_PAIRS:
        return f"it is hardly known what to expect: {entry.figures}"
    return f"expect {_verdict(entry)}: {entry.figures}"


def is_compared(config: FGDConfig) -> bool:
    """Return whether a run has the options of a comparison, or those by default, in all that changes its result."""
    compared = {part_of_default(), part_of_default(dfl=False), *(entry.method for entry in pooled_pairs())}
    own, default = config.flat(), FGDConfig(method=config.method).flat()
    same = all(own[name] == default[name] for name in default if name.partition(".")[0] not in _OTHER_OPTIONS)
    return same and config.method in compared


def kind_of(student: str) -> str | None:
    """Return the kind of a student, one of `KINDS`, by the name of its model YAML; None for another family."""
    return next((kind for start, kind in KINDS.items() if student.startswith(start)), None)


def _verdict(entry: PooledPairs) -> str:
    if entry.low > 0:
        return "a gain"
    return "little" if entry.mean >= 0 else "little, or a loss"
