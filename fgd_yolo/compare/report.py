"""The report of a comparison, as Markdown with image files and as one self-contained HTML page.

This module holds the content, section by section; `templates/` the layout.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from markupsafe import Markup

from fgd_yolo.cfg import recipe_names, recipe_summary
from fgd_yolo.compare import tables
from fgd_yolo.compare.comparability import CHANGED_BY_OPTION
from fgd_yolo.compare.options import PSEUDO_LABELS, ULTRALYTICS
from fgd_yolo.compare.paired_differences import (
    NO_PAIR,
    comparisons,
    estimate,
    main_method,
    pairs,
    share_closed,
    sort_methods,
    verdict,
    verdict_line,
)
from fgd_yolo.compare.plots import Plot, plan_plots, render_svg, save_png
from fgd_yolo.compare.results import RUNS, Run, curve_file, percent, read_context, read_curve, read_runs
from fgd_yolo.compare.tables import Table, data_names
from fgd_yolo.config import METHOD_OPTIONS, PLAIN
from fgd_yolo.files import atomic_path
from fgd_yolo.page_template import fill_template
from fgd_yolo.task_table import YoloTask
from fgd_yolo.text import counted

PAGE = "report.html"
MARKDOWN = "report.md"
PLOTS = "plots"
_PACKAGE = "fgd_yolo.compare"
_SUMMARIES = {
    ULTRALYTICS: "Ultralytics' distill_model=: squared differences of neck maps, weighted by the teacher's scores",
    PSEUDO_LABELS: "plain training, on images without labels with objects of the teacher above a score as labels",
}


def write_report(output: Path) -> list[tuple[str, str]]:
    """Write the report of the finished runs in a folder, if there are any, and return its verdicts.

    A verdict is a line with the numbers, and the conclusion alone.

    Args:
        output: folder with `runs.csv`, `curves/` and `compare.json`.

    Raises:
        FGDError: `runs.csv` cannot be read, or the report cannot be written.
    """
    runs = read_runs(output / RUNS)
    if not runs:
        return []
    curves = {run.key: read_curve(curve_file(output, run)) for run in runs}
    plots = plan_plots(runs, curves)

    def of_kind(kind: str) -> dict[str, str]:
        return {name: plot.alt for name, plot in plots.items() if plot.kind == kind}

    report = build_report(runs, read_context(output), of_kind)
    _save_plots(plots, output / PLOTS)
    with atomic_path(output / MARKDOWN) as path:
        path.write_text(fill_template(_PACKAGE, MARKDOWN, report=report, plots=PLOTS), encoding="utf-8")
    inline = {name: Markup(render_svg(plot.draw, name, plot.alt)) for name, plot in plots.items()}
    with atomic_path(output / PAGE) as path:
        path.write_text(fill_template(_PACKAGE, PAGE, report=report, inline=inline), encoding="utf-8")
    return report.verdicts


def _save_plots(plots: dict[str, Plot], folder: Path) -> None:
    """Replace all image files in the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, plot in plots.items():
        save_png(plot.draw, folder / f"{name}.png")


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Args:
        title: heading.
        text: paragraphs.
        tables: tables below the paragraphs.
        figures: text alternatives of plots, by name.
        folded: whether the HTML page shows the section collapsed.
    """

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """The content of the report: title, introduction, verdicts with notes, and sections."""

    title: str
    lead: str
    verdicts: list[tuple[str, str]]
    notes: list[str]
    sections: list[Section]


def build_report(runs: Sequence[Run], context: dict[str, Any], figures: Callable[[str], dict[str, str]]) -> Report:
    """Return the report of finished runs.

    Args:
        runs: at least one finished run.
        context: content of `compare.json`, from `read_context`.
        figures: function that returns the text alternatives of the plots of a kind, by name.
    """
    methods = sort_methods([run.method for run in runs])
    main = main_method(methods)
    others = [method for method in methods if method != main]
    val_fraction, task = runs[0].val_fraction, runs[0].task
    title = f"{main} compared with {', '.join(others)}" if others else f"{main} alone"
    count = counted(len(methods), "method")
    few = runs[0].label_fraction < 1
    if few:
        title = f"{title}, {_labels_kept(runs[0])}"
    return Report(
        title=f"Tuning on held-out train images: {title}" if val_fraction else title,
        lead=f"The same student, trained with {count} from the same seeds; the runs differ in nothing but the method"
        f"{' and what it makes of the images without labels' * few}. "
        f"Accuracy is {_accuracy_words(task)} of the last epoch on images that were not used for training; one point "
        "is 0.01.",
        verdicts=_verdicts(runs, main, others, task.map_name),
        notes=_notes(runs, val_fraction),
        sections=[
            section
            for section in (
                _differences(runs, main, others, figures),
                _accuracy(runs, methods, context, figures),
                Section("Setup", [], [_setup(runs, context), _methods(methods)]),
                _classes(runs, methods, figures),
                _cost(runs, methods, figures),
                _gradient_ratio(figures),
                _comparability(runs),
                Section("All runs", [], [tables.runs_table(runs)], folded=True),
            )
            if section
        ],
    )


def _accuracy_words(task: YoloTask) -> str:
    """Return the name of the accuracy that methods are compared by."""
    return task.map_name if task.metric == "box" else f"{task.map_name}, with that of the boxes beside it,"


def _verdicts(runs: Sequence[Run], main: str, others: Sequence[str], map_name: str) -> list[tuple[str, str]]:
    lines = []
    for other in others:
        result = estimate([pair.points for pair in pairs(runs, main, other)])
        if result is None:
            lines.append((f"{main} over {other}: no pair of runs with the same data and seed yet", NO_PAIR))
        else:
            lines.append((verdict_line(main, other, result, map_name), verdict(result)))
    return lines


def _notes(runs: Sequence[Run], val_fraction: float | None) -> list[str]:
    notes = [
        "n is the number of pairs of runs with the same data and seed. Pairs on one data set share its images and "
        "its teacher, so the interval holds for these data sets and seeds and less for others."
    ]
    if val_fraction:
        notes.append(
            f"For choosing settings, not a result: {val_fraction:.0%} of the train images were held out and measured "
            "on instead of the val split, which was not read. The teacher may have been trained on them."
        )
    if runs[0].label_fraction < 1:
        notes += _label_notes(runs)
    resumed = [run for run in runs if run.resumed]
    if resumed:
        notes.append(
            f"{len(resumed)} of {len(runs)} runs {'was' if len(resumed) == 1 else 'were'} stopped and resumed; after "
            "that, the order of images differs from the other runs of the seed."
        )
    return notes


def _label_notes(runs: Sequence[Run]) -> list[str]:
    """Return which labels the runs were given, and how much of the labels' worth each method recovers."""
    kept = (
        f"{percent(runs[0].label_fraction)} of the train images keep their labels: the first by the SHA-256 of "
        "SEED:NAME, so each seed has others."
        if runs[0].label_fraction
        else "No train image keeps its labels."
    )
    notes = [f"{kept} An epoch has as many images as the whole train split in every run."]
    full = f"{PLAIN}:labels=all"
    gap = [pair.points for pair in pairs(runs, full, PLAIN)]
    if gap and mean(gap) > 0:
        notes.append(
            f"{full} is plain training with the labels of all train images, {mean(gap):+.2f} points over plain (n="
            f"{len(gap)}). " + ". ".join(_recovered(runs, method, full) for method in _between(runs, full))
        )
    return notes


def _labels_kept(run: Run) -> str:
    return f"with {percent(run.label_fraction)} of the labels" if run.label_fraction else "without labels"


def _between(runs: Sequence[Run], full: str) -> list[str]:
    return [method for method in sort_methods([run.method for run in runs]) if method not in (PLAIN, full)]


def _recovered(runs: Sequence[Run], method: str, full: str) -> str:
    """Return the share of the gap between few and all labels that a method closes, on the seeds that all three have."""
    share = share_closed(runs, method, full, PLAIN)
    if share is None:
        return f"{method} has no runs on seeds where this is a gain"
    return f"{method} closes {share.closed:.0%} of this (n={share.n})"


def _differences(runs, main: str, others: Sequence[str], figures) -> Section | None:
    if not others:
        return None
    compared = comparisons([main, *others])
    text = [
        "A dot is a pair of runs that differ in nothing but the method; a diamond is the mean of all pairs, its bar "
        "the 95 % interval (Student's t). Means on a single data set have no verdict."
    ]
    return Section("Paired differences", text, [tables.differences_table(runs, compared)], figures("differences"))


def _accuracy(runs, methods, context, figures) -> Section:
    text = ["Curves: mean over the seeds after each epoch, with a band from minimum to maximum."]
    return Section("Accuracy", text, [tables.accuracy_table(runs, methods, context["teachers"])], figures("curves"))


def _teacher_accuracy(teacher: dict[str, Any], run: Run) -> str:
    """Return the accuracy of a teacher, and over which classes if these are not those of a run on its data."""
    columns = tables.accuracy_columns(run.task)
    known = [f"{name} {teacher[key]:.4f}" for name, key in columns.items() if teacher.get(key) is not None]
    if not known:
        return "its accuracy cannot be measured here"
    classes, own = run.class_ap or {}, teacher.get("class_ap") or {}
    over = f", over {', '.join(map(str, own))}" if own and set(own) < set(classes) else ""
    return f"{', '.join(known)} on the val images{over}"


def _setup(runs: Sequence[Run], context: dict[str, Any]) -> Table:
    rows = [["student", ", ".join(sorted({run.student for run in runs if run.student}))]]
    for data in data_names(runs):
        run = next(run for run in runs if run.data == data)
        names = run.class_ap or {}
        given = f" ({_labelled_counts(runs, data)} with labels)" if run.label_fraction < 1 else ""
        counts = f"{run.train_images} train images{given}, {run.val_images} val images, {len(names)} classes"
        rows.append([f"data: {data}", f"{counts} ({', '.join(map(str, names))})"])
        for teacher in context["teachers"].get(data, []):
            rows.append([f"teacher for {data}", f"{teacher['name']}: {_teacher_accuracy(teacher, run)}"])
        extra = "".join(f", {key}={value}" for key, value in (run.arguments or {}).items())
        rate = f"{run.optimizer} at {run.lr0:g}" if run.optimizer and run.lr0 is not None else "chosen by Ultralytics"
        budget = f"{counted(run.epochs, 'epoch')}, batch {run.batch}, {run.imgsz} px, optimizer {rate}"
        rows.append([f"training on {data}", budget + extra])
    rows.append(["seeds", ", ".join(map(str, sorted({run.seed for run in runs})))])
    devices = sorted({run.device for run in runs if run.device})
    rows.append(["machine", "; ".join([*context["machines"], *(f"trained on {device}" for device in devices)])])
    rows.append(["versions", "; ".join(sorted({run.versions for run in runs if run.versions}))])
    rows += [["command", command] for command in context["commands"]]
    return Table(["setting", "value"], rows, numeric=False)


def _labelled_counts(runs: Sequence[Run], data: str) -> str:
    counts = {run.labelled_images for run in runs if run.data == data and not (run.options or {}).get("labels")}
    return " or ".join(str(count) for count in sorted(counts - {None}))


def _methods(methods: Sequence[str]) -> Table:
    rows = []
    for method in methods:
        base, _, changes = method.partition(":")
        text = _summary(base)
        rows.append([method, f"{text}; with {changes.replace(',', ', ')}" if changes else text])
    return Table(["method", "description"], rows, numeric=False)


def _summary(base: str) -> str:
    """Return a one-line description of a method without its options."""
    if base in _SUMMARIES:
        return _SUMMARIES[base]
    if base in recipe_names():
        return recipe_summary(base)
    parts = base.split("+")
    if not set(parts) <= set(METHOD_OPTIONS):
        return f"recipe {base}"
    return "; ".join(METHOD_OPTIONS[name].description for name in parts)


def _classes(runs, methods, figures) -> Section:
    text = f"Mean over the seeds. Classes: {runs[0].task.map_name} of Ultralytics' validation."
    sizes = (
        " Sizes: COCO's evaluation of the boxes (at most 100 detections per image), by the area of the box in pixels "
        "of the original image: small up to 32 x 32, medium up to 96 x 96, large above."
    )
    known = bool(tables.known_sizes(runs))
    by_data = [tables.classes_table(runs, data, methods) for data in data_names(runs)]
    title = f"Classes{' and object sizes' * known}"
    return Section(title, [text + sizes * known], by_data, figures("classes"))


def _cost(runs, methods, figures) -> Section | None:
    base = PLAIN if PLAIN in methods else methods[0]
    if not any(run.epoch_s for run in runs):
        return None
    text = [
        "Training time without validation: the median epoch of each run, then mean and range over the seeds. Runs "
        "that shared the machine with others are slower; the ratios compare runs with the same data and seed."
    ]
    return Section("Cost", text, [tables.cost_table(runs, methods, base)], figures("cost"))


def _gradient_ratio(figures) -> Section | None:
    plots = figures("gradient-ratio")
    text = [
        "Norm of the distillation's gradient at the student's neck over that of the detection loss's, after each "
        "epoch, features and heads together: mean over the seeds, band from minimum to maximum. Ultralytics does not "
        "report it for its own distillation."
    ]
    return Section("Gradient ratio", text, [], plots) if plots else None


def _any_has(runs: Sequence[Run], option: str) -> bool:
    return any((run.options or {}).get(option) for run in runs)


def _seed_columns(runs: Sequence[Run]) -> list[str]:
    """Return what is compared within a seed alone, where the seed chooses the labels."""
    if runs[0].label_fraction == 1:
        return []
    return [
        "The seed chooses the images that keep their labels, so data and teacher are compared within a seed; val is "
        "the same in all runs. Runs with another fraction of the labels are refused."
    ]


def _comparability(runs: Sequence[Run]) -> Section:
    verified = sum(1 for run in runs if run.batches_digest and run.init_digest)
    text = [
        "Runs on one data set must have the same data, student, teacher, epochs, batch, image size, optimizer, "
        "learning rate and other train arguments; otherwise they are refused.",
        *_seed_columns(runs),
        f"{verified} of {len(runs)} runs have digests of their initial weights and of the images and classes in all "
        "batches of the first epochs, after augmentation. Runs of one seed with different digests are refused.",
        *(text for name, (_, text) in CHANGED_BY_OPTION.items() if text and _any_has(runs, name)),
        "No checkpoint is selected by its accuracy: all values are of the last epoch's EMA weights.",
    ]
    return Section("Comparability", text)
