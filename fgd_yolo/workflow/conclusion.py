"""What the numbers of a run mean, in one sentence, and the commands that help most next.

Both are functions of `result.json`. The first row of `CASES` that applies decides; if the student is unusable, the
first row of `CAUSES` that applies is the likeliest cause.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import Any, NamedTuple

from fgd_yolo.config import METHOD_OPTIONS, PLAIN, method_names
from fgd_yolo.console import command_name, display_path
from fgd_yolo.task_table import TASKS
from fgd_yolo.text import counted, printable
from fgd_yolo.workflow.plan import FEW_STEPS
from fgd_yolo.workflow.run_folder import PLAIN_RECIPE, RECIPE

USABLE = 0.1
"""Fraction of its teacher's mAP50-95 below which a student is unusable."""
WEAKER = {"features": 0.01, "heads": 0.05}
"""Gradient ratio of each group in a weaker distillation: a tenth of the default, below that of every recipe."""
FEW_EPOCHS = 10
_ENOUGH_EPOCHS = 100  # Ultralytics' default
_EQUAL = 0.0005  # differences below this are 0.000 in the table


@dataclass(frozen=True)
class Outcome:
    """The numbers of a run that its conclusion depends on.

    An accuracy is mAP50-95 of what the task predicts, None if it is not known.

    Args:
        result: content of `result.json`.
    """

    result: Mapping[str, Any]

    @property
    def student(self) -> float | None:
        """Accuracy of the student."""
        return _accuracy(self.result["student"])

    @property
    def teacher_row(self) -> Mapping[str, Any] | None:
        """The most accurate teacher over all classes, None if no such accuracy of a teacher is known."""
        known = [row for row in self.result["teachers"] if _accuracy(row) is not None and not row.get("unknown")]
        return max(known, key=_accuracy, default=None)

    @property
    def teacher(self) -> float | None:
        """Accuracy of that teacher."""
        return _accuracy(self.teacher_row)

    @property
    def twin(self) -> float | None:
        """Accuracy of the same student with the distillation, if this run has none, or without it."""
        return _accuracy((self.result.get("twin") or {}).get("student"))

    @property
    def map_name(self) -> str:
        """Name of the accuracy."""
        return TASKS[self.result["task"]].map_name

    @property
    def is_plain(self) -> bool:
        """Whether the run has no distillation."""
        return self.result["method"] == PLAIN

    @property
    def distilled_and_plain(self) -> tuple[float, float]:
        """Accuracies of the pair; both must be known."""
        return (self.twin, self.student) if self.is_plain else (self.student, self.twin)

    @property
    def gain(self) -> float | None:
        """Accuracy of the distilled student minus that of the plain one."""
        if self.student is None or self.twin is None:
            return None
        distilled, plain = self.distilled_and_plain
        return distilled - plain

    @property
    def is_agreement(self) -> bool:
        """Whether the numbers are agreement with the teacher, since there are no labels."""
        return self.result.get("labelled_by") is not None

    @property
    def is_imitation(self) -> bool:
        """Whether nothing but the imitation of a teacher taught the student."""
        return bool(self.result.get("imitation"))

    @property
    def is_unusable(self) -> bool:
        """Whether the student detects nothing, or next to nothing compared with its teacher."""
        return self.student < max(_EQUAL, USABLE * (self.teacher or 0))

    @property
    def is_teacher_no_better(self) -> bool:
        """Whether the teacher is not better than the student, so that there is nothing to learn from it."""
        return self.teacher is not None and self.teacher <= self.student

    @property
    def epochs(self) -> int:
        """Epochs that were trained, as far as is known: a run may stop early."""
        return self.result.get("epochs_trained") or self.result["epochs"]

    @property
    def data(self) -> str:
        """What was trained on, in words."""
        epochs, images = self.epochs, self.result["train_images"]
        if not self.is_agreement:  # otherwise the frames are the train images
            images += self.result.get("unlabeled_images") or 0
        return f"{counted(epochs, 'epoch')} of {counted(images, 'image')}"

    @property
    def is_comparable(self) -> bool:
        """Whether `compare` takes the run's train arguments: all of the data, and a fixed number of batches."""
        return self.result["batches"] is not None and self.result.get("fraction", 1) == 1

    @property
    def has_few_steps(self) -> bool:
        """Whether the training made few optimizer steps, as far as is known."""
        steps = self.result["optimizer_steps"]
        return steps is not None and steps < FEW_STEPS

    @property
    def accumulates(self) -> bool:
        """Whether one optimizer step takes several batches."""
        return self.result["optimizer_steps"] != self.result["batches"]


def _accuracy(row: Mapping[str, Any] | None) -> float | None:
    value = None if row is None else row["map50_95"]
    return value if value is not None and isfinite(value) else None


# The likeliest cause of an unusable student: which rows apply, and the cause in words. The most common stand first.
CAUSES: tuple[tuple[Callable[[Outcome], bool], Callable[[Outcome], str]], ...] = (
    (
        lambda run: not run.is_plain and run.twin is not None and run.twin >= max(_EQUAL, USABLE * (run.teacher or 0)),
        lambda run: f"the distillation, since the plain run reaches {run.twin:.3f}: try smaller gradient ratios",
    ),
    (
        lambda run: run.has_few_steps and run.accumulates,
        lambda run: (
            f"too few optimizer steps: about {run.result['optimizer_steps']} in {run.data}, since each takes "
            f"nbs={run.result['nbs']} images"
        ),
    ),
    (
        lambda run: run.has_few_steps,
        lambda run: f"too few optimizer steps: about {run.result['optimizer_steps']} in {run.data}",
    ),
    (lambda run: run.epochs < FEW_EPOCHS, lambda run: f"too few epochs: {run.data}"),
    (
        lambda run: True,
        lambda run: f"the learning rate, or labels that do not fit the images, since {run.data} should be enough",
    ),
)


def _cause(run: Outcome) -> str:
    return next(cause(run) for applies, cause in CAUSES if applies(run))


def _pair(run: Outcome) -> str:
    distilled, plain = run.distilled_and_plain
    return f"({distilled:.3f} against {plain:.3f})"


def _loss(run: Outcome) -> str:
    return "gained nothing over" if run.gain > -_EQUAL else f"lost {-run.gain:.3f} {run.map_name} against"


def _price(run: Outcome) -> str:
    """Return accuracy, size and time of the student as fractions of its teacher's."""
    teacher, student = run.teacher_row, run.result["student"]
    parts = [f"{student['parameters'] / teacher['parameters']:.0%} of its parameters"]
    if teacher["cpu_ms"] and student["cpu_ms"]:
        parts.append(f"{student['cpu_ms'] / teacher['cpu_ms']:.0%} of its time on a CPU")
    return f"{run.student / run.teacher:.0%} of its teacher's {run.map_name} with {' and '.join(parts)}"


def conclude(result: Mapping[str, Any]) -> str:
    """Return what the numbers of a run mean, in one sentence.

    Args:
        result: content of `result.json`.
    """
    run = Outcome(result)
    return printable(_case(run).sentence(run))


def next_commands(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return at most four commands that help next, each after what it is for.

    Args:
        result: content of `result.json`, with the present paths of its files.
    """
    run = Outcome(result)
    return [step for make in _case(run).steps for step in make(run)][:4]


def _run_dir(run: Outcome) -> Path:
    return Path(run.result["files"]["weights"]).parent


def _quoted(path: str | Path) -> str:
    return shlex.quote(display_path(Path(path)))


def _export_int8(run: Outcome) -> list[tuple[str, str]]:
    words = f"--model {_quoted(run.result['files']['weights'])} --precision int8 --output best.onnx"
    checked = "compared with float32" if run.is_agreement else "measured"
    return [
        (
            f"a faster file for the camera box, calibrated and {checked} on this data",
            f"{command_name('export')} {words}",
        )
    ]


def _disagree(run: Outcome) -> list[tuple[str, str]]:
    files = run.result["files"]
    models = f"--model {_quoted(files['weights'])} --teacher {_quoted(files['teachers'][0])}"
    words = f"{models} --source {_quoted(run.result['images'])}"
    return [
        ("the frames on which it differs most from its teacher, to label them", f"{command_name('disagree')} {words}")
    ]


def _train_on_data(run: Outcome) -> list[tuple[str, str]]:
    """Return the command that trains a student which has only imitated its teacher."""
    files = run.result["files"]
    models = f"--teacher {_quoted(files['teachers'][0])} --student {_quoted(files['weights'])}"
    return [("train it on labelled data", f"{command_name('distill')} {models} --data data.yaml")]


def _look(run: Outcome) -> list[tuple[str, str]]:
    model = f"--model {_quoted(run.result['files']['onnx'])}"
    if run.result["data"] is None and not run.is_agreement:
        live = "--source test:// --web 127.0.0.1:8080"
        return [("what it sees in a moving scene, on a web page", f"{command_name('stream')} {model} {live}")]
    source = f"--source {_quoted(run.result['images'])}"
    return [("what it sees on the images above", f"{command_name('predict')} {model} {source}")]


def _plain_run(run: Outcome) -> list[tuple[str, str]]:
    """Return the command for the twin of a distilled run."""
    if run.is_plain or run.twin is not None or run.result.get("unlabeled_images"):
        return []
    recipe = f"--recipe {_quoted(_run_dir(run) / PLAIN_RECIPE)}"
    return [("the same student without distillation, to see the gain", f"{command_name('distill')} {recipe}")]


def _repeat(run: Outcome) -> list[tuple[str, str]]:
    """Return the command that shows whether the gain holds; from a plain run, whose recipe has no teacher, one more."""
    return _other_seed(run) if run.is_plain else _pays_off(run)


def _pays_off(run: Outcome) -> list[tuple[str, str]]:
    """Return the command that makes pairs of plain and distilled runs with the models, data and options of this one."""
    if run.is_plain or run.result.get("unlabeled_images") or not run.is_comparable:
        return []
    words = f"--preset pays-off --recipe {_quoted(_run_dir(run) / RECIPE)}"
    teachers = run.result["files"].get("teachers", [])
    named = f" --teacher {shlex.quote(','.join(display_path(Path(file)) for file in teachers))}" * bool(teachers)
    return [("three pairs of such runs, to see whether it pays off", f"{command_name('compare')} {words}{named}")]


def _other_seed(run: Outcome) -> list[tuple[str, str]]:
    recipe = f"--recipe {_quoted(_run_dir(run) / RECIPE)} seed={run.result['seed'] + 1}"
    return [("the same run from another seed", f"{command_name('distill')} {recipe}")]


def _weaker(run: Outcome) -> list[tuple[str, str]]:
    """Return the command for a weaker distillation, if the plain run shows that this one does harm."""
    if run.is_plain or run.twin is None:
        return []
    recipe = f"--recipe {_quoted(_run_dir(run) / RECIPE)}"
    ratios = weaker_ratios(run.result["method"])
    return [("a weaker distillation", f"{command_name('distill')} {recipe} {ratios}")]


def weaker_ratios(method: str) -> str:
    """Return the options of a weaker distillation by the same methods."""
    groups = {METHOD_OPTIONS[name].group for name in method_names(method)}
    return " ".join(f"{group}.ratio={ratio}" for group, ratio in WEAKER.items() if group in groups)


def _longer(run: Outcome) -> list[tuple[str, str]]:
    """Return the command for the same run with more optimizer steps, if it had few."""
    epochs, batch, batches = (run.result[key] for key in ("epochs", "batch", "batches"))
    changes = [f"nbs={batch}"] if run.has_few_steps and run.accumulates else []
    if epochs < FEW_EPOCHS or (batches is not None and batches < FEW_STEPS):
        needed = ceil(FEW_STEPS * epochs / batches) if batches else 0
        changes.append(f"epochs={max(_ENOUGH_EPOCHS, 2 * epochs, needed)}")
    command = " ".join([command_name("distill"), f"--recipe {_quoted(_run_dir(run) / RECIPE)}", *changes])
    return [("the same run with more optimizer steps", command)] if changes else []


class Case(NamedTuple):
    """A kind of outcome.

    Args:
        applies: whether a run is of this kind, if no case before it applies.
        sentence: what its numbers mean.
        steps: functions that return commands for it, the most helpful ones first.
    """

    applies: Callable[[Outcome], bool]
    sentence: Callable[[Outcome], str]
    steps: tuple[Callable[[Outcome], list[tuple[str, str]]], ...]


CASES = (
    Case(
        lambda run: run.student is None,
        lambda run: (
            f"The student's {run.map_name} could not be measured, so these numbers say nothing about it: look for nan "
            "in student/results.csv."
        ),
        (_look,),
    ),
    Case(
        lambda run: run.is_imitation,
        lambda run: (
            f"The student has imitated its teacher for {run.data} without labels; what that is worth, only its "
            "training on labelled data shows."
        ),
        (_train_on_data, _look),
    ),
    Case(
        lambda run: run.is_unusable and run.student < _EQUAL,
        lambda run: f"The student detects nothing; the likeliest cause is {_cause(run)}.",
        (_weaker, _longer, _plain_run),
    ),
    Case(
        lambda run: run.is_unusable,
        lambda run: (
            f"The student has less than a tenth of its teacher's {run.map_name}; the likeliest cause is {_cause(run)}."
        ),
        (_weaker, _longer, _plain_run, _look),
    ),
    Case(
        lambda run: run.is_agreement,
        lambda run: (
            f"The student agrees with its teacher by {run.map_name} {run.student:.3f} on held-out frames; how accurate "
            "either of them is, only labels can show."
        ),
        (_disagree, _export_int8, _look),
    ),
    Case(
        lambda run: run.gain is not None and run.gain >= _EQUAL,
        lambda run: (
            f"Distillation gained {run.gain:.3f} {run.map_name} over plain training {_pair(run)} with this seed; one "
            "seed proves nothing, so repeat both runs with others."
        ),
        (_repeat, _export_int8, _look),
    ),
    Case(
        lambda run: run.gain is not None and run.is_teacher_no_better,
        lambda run: (
            f"Distillation {_loss(run)} plain training {_pair(run)}, and its teacher is no better than "
            f"the student ({run.teacher:.3f} against {run.student:.3f}): give a better teacher."
        ),
        (_export_int8, _look),
    ),
    Case(
        lambda run: run.gain is not None,
        lambda run: (
            f"Distillation {_loss(run)} plain training {_pair(run)} with this seed; one seed proves nothing, "
            "so repeat both runs with others."
        ),
        (_repeat, _export_int8, _look),
    ),
    Case(
        lambda run: run.is_teacher_no_better,
        lambda run: (
            f"The student has reached its teacher ({run.student:.3f} against {run.teacher:.3f}); whether it learnt "
            "anything from it, only the same run without distillation shows."
        ),
        (_plain_run, _pays_off, _export_int8, _look),
    ),
    Case(
        lambda run: run.teacher is not None,
        lambda run: f"The student reaches {_price(run)}; only the same run without distillation shows what it gained.",
        (_plain_run, _pays_off, _export_int8, _look),
    ),
    Case(
        lambda run: not run.is_plain,
        lambda run: (
            f"The student reaches {run.map_name} {run.student:.3f}; only the same run without distillation shows what "
            "it gained."
        ),
        (_plain_run, _pays_off, _export_int8, _look),
    ),
    Case(
        lambda run: True,
        lambda run: (
            f"The student reaches {run.map_name} {run.student:.3f} without distillation; a distilled run with the "
            "same options becomes a row of this table."
        ),
        (_export_int8, _look),
    ),
)


def _case(run: Outcome) -> Case:
    return next(case for case in CASES if case.applies(run))
