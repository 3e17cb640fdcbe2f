"""What the report says, part by part; how it looks is the templates' business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fgd_yolo.compare import tables
from fgd_yolo.compare.paired import estimate, ordered, pairs, subject, verdict, verdict_line
from fgd_yolo.compare.results_csv import Run
from fgd_yolo.compare.tables import Table, data_names

PLAIN = "plain"
_METHODS = {
    "plain": "the student alone, without a teacher",
    "ultralytics": "Ultralytics' own distillation (distill_model=): squares between neck maps, weighted by the "
    "teacher's scores",
    "fitnet": "plain imitation: squares between neck maps, everywhere alike",
    "fgd": "Focal and Global Distillation and the heads, with the defaults of this version",
    "scale-free": "Focal and Global Distillation alone, on standardised maps, by weighted means",
    "heads": "what the teacher's head says alone: class scores and box distributions",
}


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Args:
        title: heading.
        text: paragraphs.
        tables: below them.
        figures: names of plots, with what each shows in words.
        folded: whether a page shows it only when asked to.
    """

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """The whole report: a title, what it is about, the answers, and what they rest on."""

    title: str
    lead: str
    verdicts: list[tuple[str, str]]
    notes: list[str]
    sections: list[Section]


def build(runs: Sequence[Run], context: dict[str, Any], figures: Callable[[str], dict[str, str]]) -> Report:
    """Return the report of finished runs.

    Args:
        runs: at least one.
        context: of `read_context`.
        figures: the plots of a kind that could be drawn, by name.
    """
    methods = ordered([run.method for run in runs])
    about = subject(methods)
    others = [method for method in methods if method != about]
    held = runs[0].hold_out
    title = f"{about} against {', '.join(others)}" if others else f"{about} alone"
    ways = f"{len(methods)} way{'s' * (len(methods) != 1)}"
    return Report(
        title=f"Choosing figures, on held-out train images: {title}" if held else title,
        lead=f"The same small detector, trained in {ways} from the same seeds; what differs is the method alone. "
        "Accuracy is mAP50-95 on images it has not seen, of the last epoch; a point is 0.01.",
        verdicts=_verdicts(runs, about, others),
        notes=_notes(runs, held),
        sections=[
            section
            for section in (
                _differences(runs, about, others, figures),
                _accuracy(runs, methods, context, figures),
                Section("What was compared", [], [_compared(runs, context), _methods(methods)]),
                _classes(runs, methods, figures),
                _cost(runs, methods, figures),
                _share(figures),
                _proof(runs),
                Section("Every run", [], [tables.every_run(runs)], folded=True),
            )
            if section
        ],
    )


def comparisons(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Return which method is compared with which: the subject with all, then all others with plain training."""
    about = subject(methods)
    others = [method for method in methods if method != about]
    rest = [(method, PLAIN) for method in others if method != PLAIN and PLAIN in others]
    return [(about, other) for other in others] + rest


def _verdicts(runs: Sequence[Run], about: str, others: Sequence[str]) -> list[tuple[str, str]]:
    lines = []
    for other in others:
        found = estimate([pair.points for pair in pairs(runs, about, other)])
        if found is None:
            lines.append((f"{about} over {other}: no pair of runs with the same data and seed yet", "nothing"))
        else:
            lines.append((verdict_line(about, other, found), verdict(found)))
    return lines


def _notes(runs: Sequence[Run], held: float | None) -> list[str]:
    notes = [
        "n counts pairs of runs with the same data and seed. Pairs within a data set share its images and its teacher, "
        "so the interval speaks for these data sets and seeds, less for others."
    ]
    if held:
        notes.append(
            f"These figures are for choosing settings: {held:.0%} of the train images were held out and measured on "
            "instead of the val split, which was not read. A teacher may have learnt from them. Not a result."
        )
    stopped = [run for run in runs if run.continued]
    if stopped:
        notes.append(
            f"{len(stopped)} of {len(runs)} runs were stopped and continued; from there on they see the images in an "
            "order of their own."
        )
    return notes


def _differences(runs, about: str, others: Sequence[str], figures) -> Section | None:
    if not others:
        return None
    compared = comparisons([about, *others])
    text = [
        "Each dot is a pair of runs that differ in the method alone; the diamond is the mean of all pairs, the bar its "
        "95 % interval (Student's t). Means of single data sets are shown without a verdict."
    ]
    return Section("Paired differences", text, [tables.differences(runs, compared)], figures("differences"))


def _accuracy(runs, methods, context, figures) -> Section:
    text = ["Curves: mean over the seeds after each epoch, with a band from the lowest to the highest."]
    return Section("Accuracy", text, [tables.accuracy(runs, methods, context["teachers"])], figures("curves"))


def _compared(runs: Sequence[Run], context: dict[str, Any]) -> Table:
    rows = [["student", ", ".join(sorted({run.student for run in runs if run.student}))]]
    for data in data_names(runs):
        run = next(run for run in runs if run.data == data)
        names = run.class_ap or {}
        seen = f"{run.train_images} images learnt from, {run.val_images} measured on, {len(names)} classes"
        rows.append([f"data: {data}", f"{seen} ({', '.join(map(str, names))})"])
        teacher = context["teachers"].get(data)
        if teacher:
            reached = f"mAP50-95 {teacher['map50_95']:.4f}, mAP50 {teacher['map50']:.4f} on the same images"
            rows.append([f"teacher for {data}", f"{teacher['name']}: {reached}"])
        extra = "".join(f", {key}={value}" for key, value in (run.arguments or {}).items())
        rate = f"{run.optimizer} at {run.lr0:g}" if run.optimizer and run.lr0 is not None else "as the host chose"
        budget = f"{run.epochs} epochs, batch {run.batch}, {run.imgsz} px, optimizer {rate}"
        rows.append([f"training on {data}", budget + extra])
    rows.append(["seeds", ", ".join(map(str, sorted({run.seed for run in runs})))])
    devices = sorted({run.device for run in runs if run.device})
    rows.append(["machine", "; ".join([*context["machines"], *(f"trained on {device}" for device in devices)])])
    rows.append(["versions", "; ".join(sorted({run.versions for run in runs if run.versions}))])
    rows += [["command", command] for command in context["commands"]]
    return Table(["what", "which"], rows, numeric=False)


def _methods(methods: Sequence[str]) -> Table:
    rows = []
    for method in methods:
        base, _, changes = method.partition(":")
        text = _METHODS.get(base, f"recipe {base}")
        rows.append([method, f"{text}; here with {changes.replace(',', ', ')}" if changes else text])
    return Table(["method", "what it adds to the student's own loss"], rows, numeric=False)


def _classes(runs, methods, figures) -> Section:
    text = [
        "Mean over the seeds. Classes: mAP50-95 of Ultralytics' validation. Sizes: COCO's own evaluation (at most 100 "
        "detections an image), by the area of the box in pixels of the original image: small up to 32 x 32, medium "
        "up to 96 x 96, large above."
    ]
    found = [tables.classes(runs, data, methods) for data in data_names(runs)]
    return Section("Classes and sizes of objects", text, found, figures("classes"))


def _cost(runs, methods, figures) -> Section | None:
    base = PLAIN if PLAIN in methods else methods[0]
    if not any(run.epoch_s for run in runs):
        return None
    text = [
        "Seconds of training, without validation: the median epoch of each run, then mean and range over the seeds. "
        "Runs that shared the machine with others are slower, so compare the ratios of neighbours."
    ]
    return Section("Cost", text, [tables.cost(runs, methods, base)], figures("cost"))


def _share(figures) -> Section | None:
    drawn = figures("share")
    text = [
        "How large the distillation's gradient is at the student's neck, as a multiple of the detection loss's, after "
        "each epoch, features and heads together: mean over the seeds, band from the lowest to the highest. "
        "Ultralytics does not report its own."
    ]
    return Section("Share of distillation in the gradient", text, [], drawn) if drawn else None


def _proof(runs: Sequence[Run]) -> Section:
    proved = sum(1 for run in runs if run.order and run.init)
    text = [
        "Runs on one data set must agree in data, student, teacher, epochs, batch, image size, optimizer, learning "
        "rate and every other train argument; otherwise they are refused.",
        f"{proved} of {len(runs)} runs carry digests of their initial weights and of the images and classes in every "
        "batch of the first epochs, after augmentation; those of one seed are equal, or they would have been refused.",
        "No checkpoint was chosen by its score: the number is that of the last epoch's averaged (EMA) weights.",
    ]
    return Section("What makes the runs comparable", text)
