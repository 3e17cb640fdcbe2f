"""A teacher of another task or family than its student's: what it can teach, and how its accuracy is measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from torch import nn
from ultralytics.data.utils import get_split_fraction
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.rtdetr.val import RTDETRDataset, RTDETRValidator
from ultralytics.models.yolo.detect import DetectionValidator

from fgd_yolo.config import HeadOptions
from fgd_yolo.methods.head_loss import COMPARED_OUTPUT
from fgd_yolo.task_table import TASKS, Accuracy, YoloTask, accuracy, task_of_model

_WORDS = {
    "cls": "class scores",
    "box": "boxes",
    "mask": "masks",
    "keypoint": "keypoints",
    "visibility": "visibility of keypoints",
    "angle": "angles",
}
_FINE_TUNED_ON = {"detect": ("segment", "obb")}  # labels of other tasks that Ultralytics turns into boxes


class Labels(NamedTuple):
    """The labels that a model is measured on.

    Args:
        task: their task, which is the student's, as in `TASKS`.
        keypoints: number of keypoints and of values of each (2 or 3), for pose; None for other tasks.
    """

    task: YoloTask
    keypoints: tuple[int, ...] | None = None

    @classmethod
    def of_data(cls, task: YoloTask, info: Mapping[str, Any]) -> Labels:
        """Return the labels of a data set that are read for a task.

        Args:
            task: the task.
            info: content of the data YAML.
        """
        return cls(TASKS[task.name], tuple(info["kpt_shape"]) if task.name == "pose" else None)

    @classmethod
    def of_model(cls, model: nn.Module) -> Labels:
        """Return the labels that a model can be trained on."""
        task = task_of_model(model)
        return cls(TASKS[task.name], tuple(model.model[-1].kpt_shape) if task.name == "pose" else None)


def teachable_terms(student: nn.Module, teacher: nn.Module) -> tuple[tuple[str, ...], str | None]:
    """Return the terms by which a student can imitate the head of a teacher.

    A task teaches what both tasks predict. RT-DETR's decoder predicts queries, not cells: its head teaches nothing, and
    imitates nothing. Rotated and upright boxes are different boxes, so that only class scores are
    left between them. Keypoints are imitated if both models predict as many, and their visibility if both predict it.

    Args:
        student: Ultralytics model of a task of `TASKS`.
        teacher: model of the same task or another one.

    Returns:
        Names of head terms, in the order of the student's task, and a line to print: it says what is not imitated, and
        which teacher would teach that. It is None if the tasks are the same and nothing is left out.
    """
    own, other = task_of_model(student), task_of_model(teacher)
    if not (own.head_terms and other.head_terms):
        return (), family_note(own, other)
    if own is not other:
        terms = _shared_terms(own, other)
        return terms, _task_note(own, other, terms)
    if own.name != "pose":
        return own.head_terms, None
    return _pose_terms(own, tuple(student.model[-1].kpt_shape), tuple(teacher.model[-1].kpt_shape))


def unused_weights(student: nn.Module, heads: HeadOptions) -> list[str]:
    """Return a line for each weight that was given to a term of the heads that the student's task does not have.

    Args:
        student: Ultralytics model of a task of `TASKS`.
        heads: options of the heads; weights of 0, and those at their default, are no wish of the user.
    """
    task, default = task_of_model(student), type(heads)().weights
    if not task.head_terms:
        return []
    terms = (name.removeprefix("head_") for name, weight in heads.weights.items() if weight not in (0, default[name]))
    return [
        f"heads.{term}_weight has no effect: a student for {task.name} predicts no {_WORDS[term]}"
        for term in terms
        if COMPARED_OUTPUT.get(term, term) not in task.head_terms
    ]


def family_note(student: YoloTask, teacher: YoloTask) -> str:
    """Return why the outputs of two models cannot be compared, of which one is an RT-DETR."""
    side = "teacher" if student.head_terms else "student"
    family = teacher.family if student.head_terms else student.family
    return f"the {side} is an {family}, whose decoder predicts queries, not cells: outputs are not compared"


def _shared_terms(student: YoloTask, teacher: YoloTask) -> tuple[str, ...]:
    shared = tuple(term for term in student.head_terms if term in teacher.head_terms)
    return shared if _rotated(student) == _rotated(teacher) else ("cls",)


def _rotated(task: YoloTask) -> bool:
    return "angle" in task.head_terms


def _task_note(student: YoloTask, teacher: YoloTask, terms: tuple[str, ...]) -> str:
    taught = [_WORDS[term] for term in terms]
    missing = [_WORDS[term] for term in student.head_terms if term not in terms]
    note = (
        f"the teacher is a model for {teacher.name}, the student for {student.name}: its head teaches {_listed(taught)}"
    )
    if not missing:
        return note
    return f"{note}, not {_listed(missing)}; a teacher for {student.name} would teach those too"


def _pose_terms(
    task: YoloTask, student: tuple[int, ...], teacher: tuple[int, ...]
) -> tuple[tuple[str, ...], str | None]:
    """Return the terms and the line for two pose models of shapes (keypoints, values of each)."""
    remedy = "a teacher of the same keypoints would teach them"
    if student[0] != teacher[0]:
        note = f"the teacher predicts {teacher[0]} keypoints, the student {student[0]}: they are not imitated; {remedy}"
        return ("cls", "box"), note
    has_visibility = {"student": student[1] == 3, "teacher": teacher[1] == 3}
    if all(has_visibility.values()):
        return task.head_terms, None
    terms = tuple(term for term in task.head_terms if term != "visibility")
    if has_visibility["student"]:
        note = "the student predicts the visibility of keypoints, the teacher does not: it is not imitated; "
        return terms, f"{note}{remedy.replace('them', 'it')}"
    return terms, None


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shared_task(labels: Labels, teacher: nn.Module) -> YoloTask | None:
    """Return the task by which a teacher is measured on labels of a student's task.

    Returns:
        Their task if it is the same, and the keypoints are; `detect` if both have upright boxes, which are measured
        then; None if only one of them has rotated boxes, since nothing of both can be measured.
    """
    own = Labels.of_model(teacher)
    if own == labels:
        return labels.task
    return None if _rotated(own.task) or _rotated(labels.task) else TASKS["detect"]


def accuracy_in_table(
    run: BaseValidator | None, known: Collection[int] | None, labels: Labels, teacher: nn.Module
) -> dict[str, float | None]:
    """Return what a table of the student's task shows of a teacher: the fields of `Accuracy`, None if not measured.

    Args:
        run: validator of `teacher_validator` after its run; None if nothing could be measured.
        known: classes of the data that the teacher knows, over which the mean is taken; None for all.
        labels: labels that it was measured on.
        teacher: the model that was measured.
    """
    task = shared_task(labels, teacher)
    if run is None or task is None or (known is not None and not known):
        return dict.fromkeys(Accuracy._fields)
    measured = accuracy(run.metrics, task, known)._asdict()
    return measured if task is labels.task else {**measured, "map50_95": None, "map50": None}


def teacher_validator(labels: Labels, teacher: nn.Module) -> type[BaseValidator]:
    """Return the validator that measures a teacher by `shared_task` on labels of the student's task."""
    own = task_of_model(teacher)
    if Labels.of_model(teacher) == labels:
        return own.validator
    measures = QueryBoxValidator if issubclass(own.validator, RTDETRValidator) else BoxValidator
    return type(measures.__name__, (measures,), {"label_task": labels.task.name})


def can_be_fine_tuned(teacher: YoloTask, student: YoloTask) -> bool:
    """Return whether a teacher can be trained on labels of the student's task.

    Labels of masks and rotated boxes can be read as boxes. Those of keypoints cannot, though Ultralytics does not say
    so: it takes them for the corners of a mask.
    """
    return teacher.name == student.name or student.name in _FINE_TUNED_ON.get(teacher.name, ())


class LabelsOfTask(DetectionValidator):
    """Measures upright boxes on labels of any task with upright boxes."""

    label_task = "detect"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.args.task = self.label_task  # which format Ultralytics reads the labels in


class BoxValidator(LabelsOfTask):
    """Measures the upright boxes of a YOLO, whatever else it predicts."""

    def postprocess(self, preds: Any) -> list[dict[str, Any]]:
        """Suppress overlapping boxes as Ultralytics does, without masks or keypoints."""
        while isinstance(preds, (list, tuple)):  # a segmentation head returns its prototypes beside its boxes
            preds = preds[0]
        return super().postprocess(preds if self.end2end else preds[:, : 4 + self.nc])


class QueryBoxValidator(LabelsOfTask, RTDETRValidator):
    """Measures the boxes of an RT-DETR."""

    def build_dataset(self, img_path: str, mode: str = "val", batch: int | None = None) -> RTDETRDataset:
        """Build the dataset of stretched images as Ultralytics does, with the labels of the task."""
        return RTDETRDataset(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=False,
            hyp=self.args,
            rect=False,
            cache=self.args.cache or None,
            single_cls=self.args.single_cls or False,
            prefix=f"{mode}: ",
            classes=self.args.classes,
            data=self.data,
            task=self.label_task,
            fraction=1.0 if self.data.get("complete") else get_split_fraction(self.args.fraction, self.args.split),
        )
