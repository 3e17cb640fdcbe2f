"""The tables of the other settings with strong teachers: shorter runs, fewer images, other students."""

from __future__ import annotations

from typing import NamedTuple

from committed_rows import (
    DATA,
    HEADS,
    PLAIN,
    RESULTS,
    bold,
    by_seed,
    interval,
    markdown,
    pair_cells,
    rows_so_far,
    with_progress,
)

from fgd_yolo.compare.paired_differences import estimate, pairs
from fgd_yolo.compare.results import read_context
from fgd_yolo.compare.tables import number, select_runs

DATA_SETS = ("bccd", "pcb")


class Setting(NamedTuple):
    """A setting: its name in the tables, and the method that is compared with plain training there."""

    name: str
    method: str


SETTINGS = {
    "epochs-25": Setting("yolov8n, 25 epochs", HEADS),
    "images-50": Setting("yolov8n, 50 images", HEADS),
    "images-100": Setting("yolov8n, 100 images", HEADS),
    "yolo26n-25": Setting("yolo26n, 25 epochs", "heads"),
    "yolo26n-100": Setting("yolo26n, 100 epochs", "heads"),
}
"""Settings of students from random weights, by the beginning of the names of their folders in `strong-teachers`."""
FROM_PRETRAINED = {
    "pretrained-yolov8n": Setting("yolov8n", HEADS),
    "pretrained-yolo26n": Setting("yolo26n", "heads"),
}
"""Settings of students that have imitated the pretrained teacher on images without labels."""
QUESTIONS = {
    "25 epochs": ("epochs-25",),
    "50 and 100 images": ("images-50", "images-100"),
    "yolo26n, 25 and 100 epochs": ("yolo26n-25", "yolo26n-100"),
}
"""The settings that are judged together on each data set."""
RUNS_PLANNED = 40


def folder_of(setting: str, data: str) -> str:
    """Return the folder of a setting on a data set."""
    return f"strong-teachers/{setting}-{data}"


def other_settings() -> str:
    """Plain and distilled students of every setting so far: each seed, and the differences."""
    return _table("student and run", SETTINGS)


def from_pretrained() -> str:
    """Plain and distilled students that have seen images before."""
    return _table("student", FROM_PRETRAINED)


def _table(first: str, settings: dict[str, Setting]) -> str:
    rows = [
        [name, DATA[data], *_cells(folder_of(setting, data), method)]
        for setting, (name, method) in settings.items()
        for data in DATA_SETS
        if rows_so_far(folder_of(setting, data))
    ]
    head = [first, "data", "teacher", "plain", "distilled", "points", "points of mAP50"]
    return markdown(head, rows, labels=2) if rows else "No run has been made yet."


def _cells(folder: str, method: str) -> list[str]:
    runs, [teachers] = rows_so_far(folder), read_context(RESULTS / folder)["teachers"].values()
    groups = [by_seed(select_runs(runs, runs[0].data, label)) for label in (PLAIN, method)]
    seeds = set.intersection(*({run.seed for run in group} for group in groups))
    plain, distilled = ([run for run in group if run.seed in seeds] for group in groups)
    return [number(teachers[0]["map50_95"], 3), *pair_cells(plain, distilled)]


def targets() -> str:
    """What these settings were asked before their first run, and what each data set says so far."""
    folders = [folder_of(setting, data) for setting in (*SETTINGS, *FROM_PRETRAINED) for data in DATA_SETS]
    made = sum(len(rows_so_far(folder)) for folder in folders)
    rows = [_target(question, data, made == RUNS_PLANNED) for question in QUESTIONS for data in DATA_SETS]
    head = ["question", "data", "asked: upper bound", "mean, points", "95 % interval", "pairs", "outcome"]
    return with_progress(markdown(head, rows, labels=3), made, RUNS_PLANNED)


def _target(question: str, data: str, all_made: bool) -> list[str]:
    found = estimate([point for setting in QUESTIONS[question] for point in _points(setting, data)])
    label = [question, DATA[data], "above 0"]
    if found is None or found.high is None:
        return [*label, "" if found is None else bold(f"{found.mean:+.2f}"), "", str(found.n if found else 0), "open"]
    outcome = ("met" if found.high > 0 else "missed") if all_made else "open"
    return [*label, bold(f"{found.mean:+.2f}"), interval(found), str(found.n), outcome]


def _points(setting: str, data: str) -> list[float]:
    """Return the differences of a setting on a data set, in points."""
    method = SETTINGS[setting].method
    return [pair.points for pair in pairs(rows_so_far(folder_of(setting, data)), method, PLAIN)]
