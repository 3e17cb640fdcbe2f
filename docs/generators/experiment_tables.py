"""The tables of the experiments by which the default was chosen, and of the first runs."""

from __future__ import annotations

from committed_rows import FORMER, RESULTS, accuracy_cells, markdown, rows_of

from fgd_yolo.compare.results import MAP50_95, read_curve
from fgd_yolo.compare.tables import mean_and_range, number

MAP50 = "metrics/mAP50(B)"

CHOOSING_BCCD = {
    "plain": "plain",
    "heads:schedule.decay_start=1,heads.ratio=0.5": "heads at 0.5, no decay (trial 1)",
    "fgd-heads:schedule.decay_start=1,features.ratio=0.1,heads.ratio=0.5": "scale-free features at 0.1 and heads at "
    "0.5, no decay (trial 2)",
    "fgd:schedule.decay_start=0.3,schedule.decay_end=0.6": "the same, features decaying from 30 % to 60 % of the run "
    "(trial 3, **the default then**)",
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
    FORMER: "paper scale, ratio 0.25, no decay (the default before that)",
}
CHOOSING_YOLO26N = {
    "plain": "plain",
    FORMER: "`fgd+heads`, the default then",
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


def trials(folder: str, names: dict[str, str]) -> str:
    """The trials of one choice, beside plain training."""
    runs = {run.method: run for run in rows_of(folder)}
    assert runs.keys() == names.keys(), f"{folder}: name the methods {runs.keys() ^ names.keys()}"
    plain, best = runs["plain"].map50_95, max(run.map50_95 for run in runs.values())
    rows = []
    for method, name in names.items():
        run = runs[method]
        (accuracy,) = accuracy_cells([run.map50_95], best)
        over = "" if method == "plain" else f"{100 * (run.map50_95 - plain):+.1f}"
        rows.append([name, accuracy, over, number(run.map50, 3)])
    return markdown(["method", "mAP50-95, last epoch", "over plain, points", "mAP50"], rows)
