"""Rewrite the tables of results in README.md and docs/ from the committed rows, and draw the figures beside them.

The table of the tasks is among them: what works for each is the result of tests, which `task_features` names. Those of
the families are made from what `make matrix` records.

    python docs/generators/results_tables.py          # rewrites the tables and draws the figures
    python docs/generators/results_tables.py --check  # fails if a table is not what the rows say

A table stands between the lines `<!-- table: NAME -->` and `<!-- end -->`; NAME is a key of `TABLES`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[2]))  # the benchmarks are not part of the package

import families_table
import few_labels_tables
import task_features
from matplotlib.figure import Figure

from benchmarks import train_table
from fgd_yolo.compare.paired_differences import Estimate, estimate, pairs, verdict
from fgd_yolo.compare.plots import new_figure, plan_plots, save_png
from fgd_yolo.compare.results import MAP50_95, RUNS, Run, curve_file, read_context, read_curve, read_runs
from fgd_yolo.compare.tables import classes_table, mean_and_range, number, select_runs

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
PICTURES = ROOT / "docs/pictures"
PLACE = re.compile(r"(?<=<!-- table: )(?P<name>[\w-]+)(?P<start> -->\n).*?(?=<!-- end -->)", re.DOTALL)

FGD = "fgd"  # label of these rows; the method is fgd+heads
METHODS = {
    "plain": "plain",
    "ultralytics:dis=0.7": "Ultralytics `distill_model=`",
    "fitnet:features.ratio=0.1": "`fitnet`",
    FGD: "fgd_yolo",
}
DATA = {"bccd": "BCCD", "pcb": "DeepPCB windows", "demo": "demo scenes"}
MAP50 = "metrics/mAP50(B)"

CHOOSING_BCCD = {
    "plain": "plain",
    "heads:schedule.decay_start=1,heads.ratio=0.5": "heads at 0.5, no decay (trial 1)",
    "fgd-heads:schedule.decay_start=1,features.ratio=0.1,heads.ratio=0.5": "scale-free features at 0.1 and heads at "
    "0.5, no decay (trial 2)",
    "fgd:schedule.decay_start=0.3,schedule.decay_end=0.6": "the same, features decaying from 30 % to 60 % of the run "
    "(trial 3, **the default**)",
    "ultralytics": "Ultralytics `distill_model=`, `dis=6`, its default",
    "ultralytics:dis=2": "the same, `dis=2`",
    "ultralytics:dis=0.7": "the same, `dis=0.7`",
    "fitnet": "`fitnet`, ratio 0.25",
    "fitnet:features.ratio=0.1": "`fitnet`, ratio 0.1",
    "fitnet:features.ratio=0.1,schedule.decay_start=0.3,schedule.decay_end=0.6": "`fitnet`, ratio 0.1, decaying from "
    "30 % to 60 % of the run",
}
CHOOSING_DEMO = {
    "plain": "plain",
    "heads:schedule.decay_start=1": "heads at 0.25, no decay",
    "heads:schedule.decay_start=0.3": "heads at 0.25, decaying from 30 % of the run",
    "fgd-heads:schedule.decay_start=0.3": "scale-free features and heads, 0.25 each, decaying from 30 %",
    "fgd-heads:schedule.decay_start=1": "scale-free features and heads, 0.25 each, no decay",
    "scale-free:schedule.decay_start=0.3": "scale-free features alone, 0.25, decaying from 30 %",
    "ultralytics": "Ultralytics `distill_model=`, `dis=6`, its default",
    "fitnet": "`fitnet`, ratio 0.25",
    FGD: "paper scale, ratio 0.25, no decay (the former default)",
}
CHOOSING_YOLO26N = {
    "plain": "plain",
    FGD: "the default",
    "heads": "heads alone",
    "fgd:heads.cls_weight=0": "without the class term (`heads.cls_weight=0`)",
    "scale-free": "features alone (`fgd`)",
    "fgd:heads.box_weight=0": "without the box term (`heads.box_weight=0`)",
}
STEPS = {
    "plain": "plain",
    "heads:schedule.decay_start=1,heads.ratio=0.5": "heads at 0.5, no decay",
    "fgd-heads": "scale-free features and heads, 0.25 each, decaying from 30 %",
}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], labels: int = 1) -> str:
    """Return a Markdown table whose columns after the first `labels` are aligned to the right."""
    rule = ["---" if column < labels else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def rows_of(folder: str) -> list[Run]:
    """Return the committed rows of a comparison."""
    return read_runs(RESULTS / folder / RUNS)


def bold(text: str) -> str:
    return f"**{text}**"


def interval(result: Estimate) -> str:
    return f"{result.low:+.2f} to {result.high:+.2f}"


def gain(runs: Sequence[Run], method: str, other: str, data: str | None = None) -> Estimate:
    """Return the mean difference of two methods over all pairs, or over those of one data set."""
    return estimate([pair.points for pair in pairs(runs, method, other) if data in (None, pair.data)])


def comparison() -> str:
    """Mean accuracy by data set and method, and the paired gains of fgd_yolo."""
    runs, teachers = rows_of("comparison"), read_context(RESULTS / "comparison")["teachers"]
    rows = []
    for data, name in DATA.items():
        means = {method: mean(run.map50_95 for run in select_runs(runs, data, method)) for method in METHODS}
        best = max(means.values())
        cells = [bold(number(value, 3)) if value == best else number(value, 3) for value in means.values()]
        seeds = len(select_runs(runs, data, FGD))
        rows.append([name, str(seeds), number(teachers[data][0]["map50_95"], 3), *cells])
    gains = [gain(runs, FGD, other) for other in METHODS if other != FGD]
    rows.append(["gain of fgd_yolo, points", f"{gains[0].n} pairs", "", *(bold(f"{g.mean:+.2f}") for g in gains), ""])
    rows.append(["its 95 % interval", "", "", *map(interval, gains), ""])
    return markdown(["mAP50-95 after 100 epochs", "seeds", "teacher yolov8s", *METHODS.values()], rows)


def gains() -> str:
    """The gain of fgd_yolo over each other method, in total and by data set."""
    runs, rows = rows_of("comparison"), []
    for other, name in METHODS.items():
        if other != FGD:
            total = gain(runs, FGD, other)
            parts = [gain(runs, FGD, other, data) for data in DATA]
            cells = [f"{part.mean:+.2f} (n={part.n})" for part in parts]
            rows.append([name, bold(f"{total.mean:+.2f}"), interval(total), str(total.n), *cells])
    return markdown(["fgd_yolo over", "mean, points", "95 % interval", "pairs", *DATA.values()], rows)


def each_pair() -> str:
    """The accuracy of every run, and the gain of fgd_yolo over the others of the same data and seed."""
    runs = rows_of("comparison")
    by_key = {run.key: run for run in runs}
    rows = []
    for data, name in DATA.items():
        for run in _by_seed(select_runs(runs, data, FGD)):
            others = [by_key[data, method, run.seed] for method in METHODS if method != FGD]
            points = [f"{100 * (run.map50_95 - other.map50_95):+.1f}" for other in others]
            rows.append([name, str(run.seed), *(number(r.map50_95, 3) for r in (*others, run)), *points])
    over = [f"over {name.split()[0]}" for method, name in METHODS.items() if method != FGD]
    return markdown(["data", "seed", *METHODS.values(), *over], rows)


def accuracy() -> str:
    """Mean and range over the seeds, and the mean of mAP50."""
    runs, rows = rows_of("comparison"), []
    for data, name in DATA.items():
        for method in METHODS:
            seeds = select_runs(runs, data, method)
            values = mean_and_range([run.map50_95 for run in seeds], 3), number(mean(run.map50 for run in seeds), 3)
            rows.append([name, f"`{method}`", str(len(seeds)), *values])
    return markdown(["data", "method", "seeds", "mAP50-95, mean (range)", "mAP50"], rows, labels=2)


def classes(data: str) -> str:
    """Mean average precision by class and by object size on a data set."""
    table = classes_table(rows_of("comparison"), data, list(METHODS))
    return markdown([DATA[data], *METHODS.values()], [row[1:] for row in table.rows])


def verdicts() -> str:
    """The conclusion over each other method, one line each."""
    runs = rows_of("comparison")
    return "\n".join(
        f"- over {name}: {_conclusion(gain(runs, FGD, other))}" for other, name in METHODS.items() if other != FGD
    )


def _conclusion(result: Estimate) -> str:
    return f"**{result.mean:+.2f} points**, 95 % interval {interval(result)}, n={result.n}: {verdict(result)}"


OTHER_RUNS = ("comparison-short", "comparison-yolo11n", "comparison-yolo26n", "comparison-yolo26n-100-epochs")


def other_budgets() -> str:
    """Plain and distilled students in the shorter runs, and with other students."""
    rows = []
    for folder in OTHER_RUNS:
        runs = rows_of(folder)
        for data, name in DATA.items():
            plain, distilled = (_by_seed(select_runs(runs, data, method)) for method in ("plain", FGD))
            if distilled:
                run = distilled[0]
                values = [", ".join(number(run.map50_95, 3) for run in seeds) for seeds in (plain, distilled)]
                points = [_points(distilled, plain, value) for value in ("map50_95", "map50")]
                seeds = ", ".join(str(run.seed) for run in distilled)
                rows.append([name, run.student, str(run.epochs), seeds, *values, *points])
    head = ["data", "student", "epochs", "seeds", "plain", "fgd_yolo", "points", "points of mAP50"]
    return markdown(head, rows, labels=4)


def _by_seed(runs: Sequence[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.seed)


def _points(runs: Sequence[Run], others: Sequence[Run], value: str) -> str:
    """Return the differences of runs of the same seeds, in points."""
    matched = zip(runs, others, strict=True)
    return ", ".join(f"{100 * (getattr(run, value) - getattr(other, value)):+.1f}" for run, other in matched)


TASK_RUNS = ("demo-segment", "demo-pose", "demo-obb")


def other_tasks() -> str:
    """Plain and distilled students for segment, pose and obb: every seed, and the paired gains."""
    rows = []
    for folder in TASK_RUNS:
        runs, (teacher,) = rows_of(folder), read_context(RESULTS / folder)["teachers"]["demo"]
        seeds = {method: _by_seed([run for run in runs if run.method == method]) for method in ("plain", FGD)}
        prefixes = {"": runs[0].measured, "box_": "boxes"}
        if runs[0].map50_95 == runs[0].box_map50_95:
            del prefixes["box_"]  # the task predicts boxes alone
        for prefix, measured in prefixes.items():
            strict, loose = f"{prefix}map50_95", f"{prefix}map50"
            values = [", ".join(number(getattr(run, strict), 3) for run in group) for group in seeds.values()]
            gains = [_mean_and_interval(seeds[FGD], seeds["plain"], column) for column in (strict, loose)]
            rows.append([runs[0].student, measured, number(teacher[strict], 3), *values, *gains])
    head = ["student", "mAP50-95 of", "teacher", "plain, seeds 0, 1, 2", "fgd_yolo", "points", "points of mAP50"]
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
            if not (own := _by_seed(select_runs(runs, data, method))):
                continue
            same = [plain[run.seed] for run in own]
            distilled = method != "plain"
            teacher = number(maps[own[0].teacher], 3) if distilled else ""
            values = ", ".join(number(run.map50_95, 3) for run in own)
            points = [_points(own, same, value) if distilled else "" for value in ("map50_95", "map50")]
            rows.append([name, sees, teacher, ", ".join(str(run.seed) for run in own), values, *points])
    head = ["data", "the teacher sees", "teacher", "seeds", "student", "over plain, points", "points of mAP50"]
    return markdown(head, rows, labels=2)


def _mean_and_interval(runs: Sequence[Run], others: Sequence[Run], value: str) -> str:
    """Return the mean difference of runs of the same seeds and its 95 % interval, in points."""
    both = zip(runs, others, strict=True)
    result = estimate([100 * (getattr(run, value) - getattr(other, value)) for run, other in both])
    return f"{result.mean:+.1f} ({result.low:+.1f} to {result.high:+.1f})"


def other_verdicts() -> str:
    """The conclusions from the shorter runs over seeds."""
    return "\n".join(
        f"- {student}, 25 epochs: {_conclusion(gain(rows_of(folder), FGD, 'plain'))}"
        for student, folder in (("yolov8n", "comparison-short"), ("yolo26n", "comparison-yolo26n"))
    )


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
        plain = _by_seed([run for run in own if run.method == "plain"])
        for (method, scale), label in DETECTOR_METHODS.items():
            seeds = _by_seed([run for run in own if (run.method, run.scale) == (method, scale)])
            gains = {value: _mean_and_interval(seeds, plain, value) for value in ("ap", "ap50")}
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


def terms() -> str:
    """The terms, ratios and gains of BCCD, seed 0, at four epochs as results.csv has them."""
    curve = {row["epoch"]: row for row in read_curve(RESULTS / "comparison/curves/bccd-fgd-0.csv")}
    losses = ("fg_loss", "bg_loss", "attn_loss", "rel_loss", "head_cls", "head_box")
    digits = {**{f"train/{name}": 3 for name in losses}, "features/ratio": 2, "features/gain": 2}
    digits |= {"heads/ratio": 2, "heads/gain": 2}
    rows = [
        [f"`{name}`", *(_digits(curve[epoch][name], n) for epoch in (1, 10, 50, 100))] for name, n in digits.items()
    ]
    return markdown(["column", "epoch 1 (warm-up)", "10", "50 (features falling)", "100"], rows)


def _digits(value: float, digits: int) -> str:
    return "0" if value == 0 else number(value, digits)


def bccd_30_epochs() -> str:
    """The first runs on BCCD: the best and the last epoch."""
    names = {
        "plain": "plain",
        "ultralytics": "Ultralytics `distill_model=`",
        "fgd": "fgd_yolo, the default then (paper scale, ratio 0.25, warm-up 3 epochs)",
    }
    rows = []
    for file, name in names.items():
        curve = read_curve(RESULTS / f"bccd/{file}.csv")
        best, last = max(curve, key=lambda row: row[MAP50_95]), curve[-1]
        values = f"{best[MAP50_95]:.3f} ({best['epoch']:.0f})", number(last[MAP50_95], 3), number(last[MAP50], 3)
        rows.append([name, *values])
    return markdown(["run", "mAP50-95 best (epoch)", "mAP50-95 last", "mAP50 last"], rows)


def bccd_100_epochs() -> str:
    """The runs on a GPU: mean and range over the seeds at epochs that all have reached."""
    names = {
        "plain-seed[0-2]": "plain",
        "ultralytics-seed[0-2]": "Ultralytics `distill_model=`",
        "fgd-seed[0-2]": "fgd_yolo, the default then (paper scale, ratio 0.25)",
        "fgd-features.ratio-0.1-seed0": "the same, ratio 0.1, seed 0 alone",
    }
    epochs = (30, 60, 90, 100)
    rows = []
    for pattern, name in names.items():
        curves = [read_curve(file) for file in sorted((RESULTS / "bccd-100-epochs").glob(f"{pattern}.csv"))]
        at = [[row[MAP50_95] for curve in curves for row in curve if row["epoch"] == epoch] for epoch in epochs]
        rows.append([name, *(mean_and_range(values, 3) if len(values) == len(curves) else "not run" for values in at)])
    return markdown(["mAP50-95, mean (range)", *(f"epoch {epoch}" for epoch in epochs)], rows)


def steps() -> str:
    """Plain and distilled runs of the same length with few and with many optimizer steps."""
    few, many = ({run.method: run.map50_95 for run in rows_of(f"choosing-bccd-{steps}-steps")} for steps in (225, 900))
    rows = [[name, number(few[method], 3), _if_run(many.get(method))] for method, name in STEPS.items()]
    return markdown(["mAP50-95 of the last of 60 epochs", "225 steps (`nbs=64`)", "900 steps (`nbs=16`)"], rows)


def _if_run(value: float | None) -> str:
    return "not run" if value is None else number(value, 3)


def tasks() -> str:
    """What works for each task, by the tests that are named for it."""
    return markdown(["", *(f"`{task}`" for task in task_features.TASKS)], list(task_features.rows()))


def families() -> str:
    """What was distilled with each model YAML of Ultralytics."""
    head = ["model", "scale", "task", "parameters", "as student: strides", "as teacher: strides", "terms"]
    return markdown(head, list(families_table.families()), labels=len(head))


def family_pairs() -> str:
    """What was distilled between models of different families."""
    head = ["student", "teacher", "strides", "student alone", "teacher unused", "terms"]
    return markdown(head, list(families_table.family_pairs()), labels=len(head))


def families_refused() -> str:
    """The models that can be neither student nor teacher."""
    return markdown(["model", "head", "reason"], list(families_table.refused()), labels=3)


def few_labels() -> str:
    """Students that learnt from a part of the labels, with and without frames."""
    return markdown(few_labels_tables.HEAD, few_labels_tables.few_labels())


def few_labels_verdicts() -> str:
    """What the pairs with a tenth of the labels say, one line each."""
    return "\n".join(f"- {line}" for line in few_labels_tables.few_labels_verdicts())


def few_labels_choices() -> str:
    """What was tried on held-out train images before the students with frames were trained."""
    return markdown(few_labels_tables.HEAD_OF_CHOICES, few_labels_tables.choices())


def teacher_scores() -> str:
    """How often the teachers of a tenth of the labels are right on frames, by their score."""
    return markdown(few_labels_tables.HEAD_OF_SCORES, few_labels_tables.teacher_scores())


def no_labels() -> str:
    """Students that learnt from frames alone, beside plain training on the true labels of the frames."""
    rows = few_labels_tables.no_labels()
    return markdown(few_labels_tables.HEAD_WITHOUT_LABELS, rows) if rows else "No student has been trained yet."


def trials(folder: str, names: dict[str, str]) -> str:
    """The trials of one choice, beside plain training."""
    runs = {run.method: run for run in rows_of(folder)}
    assert runs.keys() == names.keys(), f"{folder}: name the methods {runs.keys() ^ names.keys()}"
    plain, best = runs["plain"].map50_95, max(run.map50_95 for run in runs.values())
    rows = []
    for method, name in names.items():
        run = runs[method]
        value = number(run.map50_95, 3)
        over = "" if method == "plain" else f"{100 * (run.map50_95 - plain):+.1f}"
        rows.append([name, bold(value) if run.map50_95 == best else value, over, number(run.map50, 3)])
    return markdown(["method", "mAP50-95, last epoch", "over plain, points", "mAP50"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "comparison": comparison,
    "gains": gains,
    "verdicts": verdicts,
    "pairs": each_pair,
    "accuracy": accuracy,
    **{f"classes-{data}": partial(classes, data) for data in DATA},
    "other-budgets": other_budgets,
    "other-verdicts": other_verdicts,
    "other-tasks": other_tasks,
    "teacher-imgsz": teacher_sizes,
    "other-detectors": other_detectors,
    "train-step": train_step,
    "terms": terms,
    "bccd-30-epochs": bccd_30_epochs,
    "bccd-100-epochs": bccd_100_epochs,
    "steps": steps,
    "choosing-bccd": partial(trials, "choosing-bccd-900-steps", CHOOSING_BCCD),
    "choosing-demo": partial(trials, "choosing-demo-40-epochs", CHOOSING_DEMO),
    "choosing-yolo26n": partial(trials, "choosing-bccd-yolo26n", CHOOSING_YOLO26N),
    "few-labels": few_labels,
    "few-labels-verdicts": few_labels_verdicts,
    "few-labels-choices": few_labels_choices,
    "teacher-scores": teacher_scores,
    "no-labels": no_labels,
    "no-labels-verdict": few_labels_tables.no_labels_verdict,
    "tasks": tasks,
    "families": families,
    "family-pairs": family_pairs,
    "families-refused": families_refused,
    "families-versions": families_table.versions,
}


def pages() -> Iterator[Path]:
    """Return the pages that may hold tables."""
    yield ROOT / "README.md"
    yield from (page for page in sorted((ROOT / "docs").rglob("*.md")) if RESULTS not in page.parents)


def with_tables(text: str) -> str:
    """Return a page with every table replaced by what the rows say.

    Raises:
        KeyError: a table is not in `TABLES`.
    """
    return PLACE.sub(lambda place: f"{place['name']}{place['start']}\n{TABLES[place['name']]()}\n\n", text)


def stale_pages() -> list[Path]:
    """Return the pages that differ from the committed rows."""
    return [page for page in pages() if (text := page.read_text(encoding="utf-8")) != with_tables(text)]


def draw_gradient_ratio() -> Figure:
    """Draw ratio and gain of both groups over the epochs of one run."""
    curve = read_curve(RESULTS / "comparison/curves/bccd-fgd-0.csv")
    figure, (ratio, gain) = new_figure(6.4, 4.6, panels=2)
    for group, colour, target in (("features", "#009E73", 0.1), ("heads", "#7A6FD0", 0.5)):
        epochs = [row["epoch"] for row in curve]
        ratio.plot(epochs, [row[f"{group}/ratio"] for row in curve], color=colour, label=f"{group}/ratio")
        ratio.axhline(target, color=colour, linestyle=":", linewidth=1)
        gain.plot(epochs, [row[f"{group}/gain"] or None for row in curve], color=colour, label=f"{group}/gain")
    ratio.set(title="BCCD, yolov8s to yolov8n, seed 0", ylabel="gradient ratio", ylim=(0, None))
    gain.set(xlabel="epoch", ylabel="gain", yscale="log")
    for axes in (ratio, gain):
        axes.axvspan(30, 60, color="#888888", alpha=0.12, linewidth=0)
        axes.legend(fontsize=8)
    ratio.text(0.45, 0.9, "features decay", fontsize=8, ha="center", transform=ratio.transAxes)
    return figure


def draw_figures() -> None:
    """Draw the figures of the pages."""
    folder = RESULTS / "comparison"
    runs = read_runs(folder / RUNS)
    plots = plan_plots(runs, {run.key: read_curve(curve_file(folder, run)) for run in runs})
    PICTURES.mkdir(exist_ok=True)
    for name in ("differences", *(f"curves-{data}" for data in DATA)):
        save_png(plots[name].draw, PICTURES / f"{name}.png")
    save_png(draw_gradient_ratio, PICTURES / "gradient-ratio.png")


def main(arguments: Sequence[str]) -> int:
    """Check the tables, or rewrite them and draw the figures; return the exit code."""
    stale = stale_pages()
    if "--check" in arguments:
        for page in stale:
            print(f"{page.relative_to(ROOT)} is stale: run python docs/generators/results_tables.py", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{page.relative_to(ROOT)} rewritten")
    draw_figures()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
