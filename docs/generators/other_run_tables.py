"""The tables of runs with other budgets, students, tasks, image sizes and detectors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[2]))  # the benchmarks are not part of the package

from committed_rows import (
    FORMER,
    PLAIN,
    RESULTS,
    by_seed,
    markdown,
    mean_and_interval,
    point_differences,
    rows_of,
)

from benchmarks import train_table
from fgd_yolo.compare.results import read_context
from fgd_yolo.compare.tables import number, select_runs

TASK_RUNS = ("demo-segment", "demo-pose", "demo-obb")


def other_tasks() -> str:
    """Plain and distilled students for segment, pose and obb: every seed, and the paired gains."""
    rows = []
    for folder in TASK_RUNS:
        runs, (teacher,) = rows_of(folder), read_context(RESULTS / folder)["teachers"]["demo"]
        seeds = {method: by_seed([run for run in runs if run.method == method]) for method in (PLAIN, FORMER)}
        prefixes = {"": runs[0].measured, "box_": "boxes"}
        if runs[0].map50_95 == runs[0].box_map50_95:
            del prefixes["box_"]  # the task predicts boxes alone
        for prefix, measured in prefixes.items():
            strict, loose = f"{prefix}map50_95", f"{prefix}map50"
            values = [", ".join(number(getattr(run, strict), 3) for run in group) for group in seeds.values()]
            gains = [mean_and_interval(seeds[FORMER], seeds[PLAIN], column) for column in (strict, loose)]
            rows.append([runs[0].student, measured, number(teacher[strict], 3), *values, *gains])
    head = ["student", "mAP50-95 of", "teacher", "plain, seeds 0, 1, 2", "`fgd+heads`", "points", "points of mAP50"]
    return markdown(head, rows, labels=2)


TEACHER_SIZES = {
    "plain": "no teacher",
    "fgd+heads": "160 px",
    "fgd+heads:teacher_imgsz=320": "320 px",
    "fgd-grid:teacher_imgsz=320": "320 px, levels paired by grid (not kept)",
}


def teacher_sizes() -> str:
    """Students at 160 px, plain and with a teacher that sees the same images or larger ones."""
    folder = "teacher-imgsz"
    runs, teachers = rows_of(folder), read_context(RESULTS / folder)["teachers"]
    rows = []
    for data, name in {"bccd": "BCCD", "deeppcb": "DeepPCB"}.items():
        maps = {teacher["name"]: teacher["map50_95"] for teacher in teachers[data]}
        plain = {run.seed: run for run in select_runs(runs, data, "plain")}
        for method, sees in TEACHER_SIZES.items():
            if not (own := by_seed(select_runs(runs, data, method))):
                continue
            same = [plain[run.seed] for run in own]
            distilled = method != "plain"
            teacher = number(maps[own[0].teacher], 3) if distilled else ""
            values = ", ".join(number(run.map50_95, 3) for run in own)
            points = [point_differences(own, same, value) if distilled else "" for value in ("map50_95", "map50")]
            rows.append([name, sees, teacher, ", ".join(str(run.seed) for run in own), values, *points])
    head = ["data", "the teacher sees", "teacher", "seeds", "student", "over plain, points", "points of mAP50"]
    return markdown(head, rows, labels=2)


DETECTORS = {"retinanet": "RetinaNet (one-stage)", "faster-rcnn": "Faster R-CNN (two-stage)"}
DETECTOR_METHODS = {
    ("plain", None): "plain",
    ("fgd", "paper"): "FGD, the paper's weights",
    ("fgd", "free"): "FGD, scale-free at ratio 0.1",
}


class DetectorRun(NamedTuple):
    """A row of examples/torchvision_detectors.py."""

    detector: str
    method: str
    scale: str | None
    seed: int
    ap: float
    ap50: float


def other_detectors() -> str:
    """Plain and distilled students of torchvision's detectors: every seed, and the paired gains."""
    lines = (RESULTS / "torchvision-detectors/results.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [DetectorRun(*(json.loads(line)[name] for name in DetectorRun._fields)) for line in lines]
    rows = []
    for detector, name in DETECTORS.items():
        own = [run for run in runs if run.detector == detector]
        (teacher,) = (run for run in own if run.method == "teacher")
        rows.append([name, "teacher", number(teacher.ap, 3), "", number(teacher.ap50, 3), ""])
        plain = by_seed([run for run in own if run.method == "plain"])
        for (method, scale), label in DETECTOR_METHODS.items():
            seeds = by_seed([run for run in own if (run.method, run.scale) == (method, scale)])
            gains = {value: mean_and_interval(seeds, plain, value) for value in ("ap", "ap50")}
            cells = [
                (", ".join(number(getattr(run, value), 3) for run in seeds), "" if method == "plain" else gain)
                for value, gain in gains.items()
            ]
            rows.append([name, label, *(cell for pair in cells for cell in pair)])
    head = ["detector", "ResNet-18 student", "AP, seeds 0, 1, 2", "over plain, points", "AP50", "over plain, points"]
    return markdown(head, rows, labels=2)


def train_step() -> str:
    """The training step as `benchmarks/train.py --json` has recorded it, on each machine."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((RESULTS / "train-step").glob("*.json"))]
    return "\n\n".join(train_table.markdown(record) for record in records)
