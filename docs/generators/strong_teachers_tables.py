"""The tables of students with strong teachers, from the rows that are committed so far.

The folders of `docs/results/strong-teachers` are comparisons, whose commands are in its README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from committed_rows import RESULTS, accuracy_cells, gain, markdown, rows_so_far

from fgd_yolo.compare.paired_differences import verdict_line
from fgd_yolo.compare.results import Run, read_context
from fgd_yolo.compare.tables import number

SEARCH = {"search-bccd": "BCCD", "search-raccoon": "raccoons"}
"""Name of the data by the folder of a search on held-out train images."""
_FEATURES, _MAPS = "FGD's features beside the heads", "other maps beside the heads"
_TERMS, _OWN, _HEADS = "other terms, or features at the start", "Ultralytics' own", "the heads alone"
TRIALS = {
    "fgd+heads": (_FEATURES, "`features.ratio` 0.1 until 0.6 of the run (the default)"),
    "fgd+heads:features.ratio=0.3": (_FEATURES, "0.3 until 0.6"),
    "fgd+heads:features.ratio=0.3,schedule.decay_start=0.6,schedule.decay_end=1": (_FEATURES, "0.3 until the end"),
    "score_l2+heads": (_MAPS, "score-weighted L2, throughout"),
    "score_l2+heads:schedule.decay_start=0.3,schedule.decay_end=0.6": (_MAPS, "score-weighted L2, until 0.6"),
    "heads+crosshead": (_MAPS, "cross-head imitation, throughout"),
    "heads+bckd_box:heads.box_weight=0": (_TERMS, "BCKD's boxes for those of the heads, no features"),
    "heads+dfine": (_TERMS, "D-FINE's decoupled DFL beside the heads, no features"),
    "fgd+heads:schedule.decay_start=0,schedule.decay_end=0.2": (_TERMS, "the default's features until 0.2"),
    "ultralytics:dis=0.35": (_OWN, "`dis` 0.35"),
    "ultralytics:dis=0.7": (_OWN, "`dis` 0.7"),
    "ultralytics:dis=1.5": (_OWN, "`dis` 1.5"),
    "heads": (_HEADS, "`heads.ratio` 0.5"),
    "heads:heads.ratio=0.25": (_HEADS, "0.25"),
    "heads:heads.ratio=1": (_HEADS, "1"),
}
"""Family of each method of the search, and its name in it."""

VERDICT = {
    "BCCD": ("verdict-bccd",),
    "DeepPCB windows": ("verdict-pcb", "verdict-pcb-3-to-5"),
    "raccoons": ("verdict-raccoon",),
    "demo scenes": ("verdict-scenes", "verdict-scenes-1-and-2"),
    "DeepPCB, 320 px": ("verdict-deeppcb-320",),
}
"""Folders of the comparisons on val splits that chose nothing, by data: one for each teacher."""
RUNS_OF_VERDICT = 78
OWN, HEADS, FEATURES = "ultralytics:dis=0.35", "heads+dfine", "fgd+heads+dfine"
WAYS = {
    "plain": "plain",
    OWN: "Ultralytics `distill_model=`",
    HEADS: "`heads+dfine`",
    FEATURES: "`fgd+heads+dfine`",
}
_AS_DEFAULT = {"plain": (3.0, 0.0), OWN: (1.5, 0.0)}
TARGETS = {
    (FEATURES, HEADS): (0.3, -0.3),
    **{(method, other): target for method in (HEADS, FEATURES) for other, target in _AS_DEFAULT.items()},
}
"""The least mean gain of a method over another, and what the lower bound of its interval must exceed, in points."""


def search() -> str:
    """The accuracy of all trials on held-out train images; what was not run is empty."""
    found = [{run.method: run.map50_95 for run in rows_so_far(f"strong-teachers/{folder}")} for folder in SEARCH]
    assert all(own.keys() <= TRIALS.keys() for own in found), "name all methods"
    best = [max(own.values()) if len(own) == len(TRIALS) else None for own in found]  # not before all are there
    columns = [
        accuracy_cells([own.get(method) for method in TRIALS], highest)
        for own, highest in zip(found, best, strict=True)
    ]
    rows = [[*trial, *cells] for trial, *cells in zip(TRIALS.values(), *columns, strict=True)]
    return markdown(["family", "trial", *SEARCH.values()], rows, labels=2)


def _runs_of_verdict() -> dict[str, list[Run]]:
    """Return the rows so far by data set, of those that have begun."""
    every = {
        name: [run for folder in folders for run in rows_so_far(f"strong-teachers/{folder}")]
        for name, folders in VERDICT.items()
    }
    return {name: runs for name, runs in every.items() if runs}


def _teacher_maps(name: str) -> str:
    """Return the mAP50-95 of the teachers of a data set, with commas."""
    folders = [folder for folder in VERDICT[name] if rows_so_far(f"strong-teachers/{folder}")]
    contexts = [read_context(RESULTS / "strong-teachers" / folder)["teachers"] for folder in folders]
    return ", ".join(number(teachers[0]["map50_95"], 3) for context in contexts for teachers in context.values())


def verdict() -> str:
    """Mean accuracy by data set and method, over the seeds that have a row of each method."""
    rows = []
    for name, runs in _runs_of_verdict().items():
        seeds = _complete_seeds(runs)
        if seeds:
            means = [mean(run.map50_95 for run in runs if run.method == way and run.seed in seeds) for way in WAYS]
            rows.append([name, str(len(seeds)), _teacher_maps(name), *accuracy_cells(means, max(means))])
    return markdown(["mAP50-95 of the last epoch", "seeds", "teacher yolov8s", *WAYS.values()], rows)


def _complete_seeds(runs: Sequence[Run]) -> set[int]:
    """Return the seeds of one data set with a row of every method."""
    return set.intersection(*({run.seed for run in runs if run.method == way} for way in WAYS))


def verdict_gains() -> str:
    """What the pairs so far say: in total, by data set, and about each target once all runs have been made."""
    by_data = _runs_of_verdict()
    every = [run for runs in by_data.values() for run in runs]
    complete = len(every) == RUNS_OF_VERDICT
    lines = []
    for methods, (least_mean, bound) in TARGETS.items():
        total = gain(every, *methods)
        if total is None:
            continue
        parts = {name: gain(runs, *methods) for name, runs in by_data.items()}
        means = ", ".join(f"{name} {part.mean:+.2f} (n={part.n})" for name, part in parts.items() if part)
        target = f"mean at least {least_mean:+.1f}, lower bound above {bound:g}"
        met = complete and total.mean >= least_mean and total.low > bound
        outcome = f", {'met' if met else 'missed'}" if complete else ""
        names = (WAYS[method] for method in methods)
        lines.append(f"- {verdict_line(*names, total)}. {means}. Target: {target}{outcome}.")
    return "\n".join([*lines, f"- {len(every)} of {RUNS_OF_VERDICT} runs have been made."])
