"""The tables of students that learnt from few labels and from none, from the rows that are committed so far.

The folders of `docs/results/few-labels` are comparisons, whose commands are in its README.md.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from committed_rows import RESULTS, gain, rows_so_far

from fgd_yolo.compare.paired_differences import share_closed, verdict_line
from fgd_yolo.compare.results import Run, read_context
from fgd_yolo.compare.tables import number

ROWS = RESULTS / "few-labels"
PLAIN, PSEUDO, LABELLED, FRAMES, ALL = WAYS = (
    "plain",
    "pseudo-labels",
    "fgd+heads",
    "fgd+heads:frames=true",
    "plain:labels=all",
)
HEAD = ("labelled images, seed", "teacher", "plain", "pseudo labels", "distilled", "with frames", "all labels")
HEAD_WITHOUT_LABELS = ("seed", "teacher", "plain, true labels", "frames alone", "points")


class Part(NamedTuple):
    """The comparison of one data set with a part of its labels.

    Args:
        folder: its name in `docs/results/few-labels`.
        name: the data set.
        fraction: the fraction of the labels, in percent.
    """

    folder: str
    name: str
    fraction: int


TENTHS = (Part("bccd-tenth", "BCCD", 10), Part("scenes-tenth", "demo scenes", 10))
QUARTERS = (Part("bccd-quarter", "BCCD", 25), Part("scenes-quarter", "demo scenes", 25))
CHOOSING = (Part("choosing-bccd", "BCCD", 10), Part("choosing-scenes", "demo scenes", 10))
CHOICES = {
    FRAMES: "half of the images of an epoch are frames (the default)",
    f"{FRAMES},unlabeled_ratio=0.75": "`unlabeled_ratio=0.75`",
    f"{FRAMES},unlabeled_ratio=0.9": "`unlabeled_ratio=0.9`",
    f"{FRAMES},pseudo=false": "`pseudo=false`",
}
"""What was tried on held-out train images, in words, by method."""
WITHOUT_LABELS = "none"
STUDENTS = 3 * len(TENTHS) * len(WAYS) + len(QUARTERS) * (len(WAYS) - 1)
STUDENTS_WITHOUT_LABELS = 3 * 2


def few_labels() -> list[Sequence[str]]:
    """Return the rows of the table: mAP50-95 of each way by data set, fraction and seed; ways not run are empty."""
    return [_row(part, seed) for part in (*TENTHS, *QUARTERS) for seed in _seeds(_runs(part.folder))]


def few_labels_verdicts() -> Iterator[str]:
    """Yield what the pairs with a tenth of the labels say about each target, and the number of students."""
    runs = [run for part in TENTHS for run in _runs(part.folder)]
    if share := share_closed(runs, FRAMES, ALL, PLAIN):
        yield (
            f"the student with frames closes {100 * share.closed:.0f} % of the gap between plain training on a tenth "
            f"of the labels and on all of them ({share.n} pairs; target: at least 50 %)"
        )
    names = {LABELLED: "the distillation on the labelled part", PSEUDO: "pseudo labels alone"}
    targets = {LABELLED: "at least +3", PSEUDO: "pseudo labels not shown to be better"}
    for other, name in names.items():
        if result := gain(runs, FRAMES, other):
            own = {part.name: gain(_runs(part.folder), FRAMES, other) for part in TENTHS}
            means = ", ".join(f"{data} {one.mean:+.2f}" for data, one in own.items() if one)
            yield f"{verdict_line('distilled with frames', name, result)} ({means}; target: {targets[other]})"
    rows = sum(len(_runs(part.folder)) for part in (*TENTHS, *QUARTERS))
    yield f"{rows} of {STUDENTS} students have been trained"


HEAD_OF_CHOICES = ("distilled with frames", *(part.name for part in CHOOSING))


def choices() -> list[Sequence[str]]:
    """Return the rows of the table: mAP50-95 on held-out train images of what was tried; not run is empty."""
    found = [{run.method: run for run in _runs(part.folder)} for part in CHOOSING]
    assert {*found[0], *found[1]} <= {*CHOICES}, "name all methods"
    return [[name, *(_map(own.get(method)) for own in found)] for method, name in CHOICES.items()]


SCORE_RANGES = ((0.05, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
HEAD_OF_SCORES = ("score of the teacher", *(f"{part.name}, {count}" for part in TENTHS for count in ("boxes", "right")))


def teacher_scores() -> list[Sequence[str]]:
    """Return the rows of the table: how many boxes of the teachers of a tenth are right on the frames, by score."""
    counts = [_counts(part.folder) for part in TENTHS]
    rows = []
    for low, high in SCORE_RANGES:
        cells = []
        for own in counts:
            inside = [row for row in own if low <= float(row["from"]) < high]
            boxes, right = (sum(int(row[name]) for row in inside) for name in ("boxes", "right"))
            cells += [str(boxes), f"{100 * right / boxes:.0f} %" if boxes else ""]
        rows.append([f"{low:g} to {high:g}", *cells])
    return rows


def _counts(folder: str) -> list[dict[str, str]]:
    """Return the rows that `docs/results/few_labels_scores.py` has written."""
    with (ROWS / folder / "teacher-scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def no_labels() -> list[Sequence[str]]:
    """Return the rows of the table: the student from frames alone beside plain training on their true labels."""
    by_key = {(run.method, run.seed): run for run in _runs(WITHOUT_LABELS)}
    rows = []
    for seed in _seeds(list(by_key.values())):
        plain, frames = by_key.get((ALL, seed)), by_key.get((FRAMES, seed))
        points = "" if None in (plain, frames) else f"{100 * (frames.map50_95 - plain.map50_95):+.1f}"
        rows.append([str(seed), _teacher(WITHOUT_LABELS, seed), _map(plain), _map(frames), points])
    return rows


def no_labels_verdict() -> str:
    """Return what the pairs of runs without labels say about the target."""
    runs = _runs(WITHOUT_LABELS)
    result = gain(runs, FRAMES, ALL)
    made = f"{len(runs)} of {STUDENTS_WITHOUT_LABELS} students have been trained"
    if result is None:
        return made
    return f"{verdict_line('frames alone', 'true labels', result)} (target: at least -3); {made}"


def _runs(folder: str) -> list[Run]:
    return rows_so_far(f"few-labels/{folder}")


def _seeds(runs: Sequence[Run]) -> list[int]:
    return sorted({run.seed for run in runs})


def _row(part: Part, seed: int) -> Sequence[str]:
    own = {run.method: run for run in _runs(part.folder) if run.seed == seed}
    labelled = next(iter(own.values())).labelled_images
    name = f"{part.name}: {labelled} ({part.fraction} %), {seed}"
    return [name, _teacher(part.folder, seed), *(_map(own.get(way)) for way in WAYS)]


def _map(run: Run | None) -> str:
    return "" if run is None else number(run.map50_95, 3)


def _teacher(folder: str, seed: int) -> str:
    """Return the accuracy of the teacher of a seed on the same val images."""
    (teachers,) = read_context(ROWS / folder)["teachers"].values()
    own = [teacher for teacher in teachers if teacher["name"].endswith(f" of seed {seed}")] or teachers
    return number(own[0]["map50_95"], 3)
