"""The plan of a run: everything that can be checked and resolved before the run folder is created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg

from fgd_yolo.config import PLAIN, FGDConfig, Recipe, load_recipe
from fgd_yolo.console import print_status
from fgd_yolo.datasets import DATA_FOLDER, Dataset, demo_data, scan_dataset
from fgd_yolo.demo import training_settings as demo_settings
from fgd_yolo.errors import FGDError, UsageError, close_match, error_message
from fgd_yolo.task_table import YoloTask
from fgd_yolo.train_arguments import check_train_args, count_steps, refuse_unsupported, ultralytics_defaults
from fgd_yolo.training.distributed_trainer import check_batch, process_count
from fgd_yolo.training.speed.cpu_autocast import check_bfloat16, has_bfloat16
from fgd_yolo.training.teachers.class_selection import selected_classes
from fgd_yolo.training.teachers.image_sizes import check_teacher_imgsz
from fgd_yolo.training.trainer import check_feature_teacher
from fgd_yolo.ultralytics import find_device, largest_stride, load_model, read_architecture, round_imgsz
from fgd_yolo.workflow.method_choice import choose_method
from fgd_yolo.workflow.resolve import Model, built, resolve, teacher_names
from fgd_yolo.workflow.training_stages import choose_fine_tuning, known_classes_together, teacher_arguments
from fgd_yolo.workflow.unlabeled import (
    UnlabeledFrames,
    check_frame_options,
    frames_alone,
    frames_beside,
    is_imitation,
)

# With fewer steps than about this, on BCCD at 128 px, plain training gains 7 points from nbs=16, and distillation turns
# from a loss into a gain (docs/experiments.md).
FEW_STEPS = 1000
# Ultralytics has them inside a function, and checks the name only after loading the data.
OPTIMIZERS = ("Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD", "MuSGD", "auto")
_STRIDE = 32


@dataclass(frozen=True)
class Plan:
    """A validated run.

    Args:
        recipe: resolved recipe, with absolute paths and without the train arguments `project` and `name`.
        dataset: scanned data set.
        student: initial model of the student.
        teachers: models before fine-tuning; empty without distillation.
        fine_tuned: whether each teacher is trained on the data first.
        device_type: "cpu" or "cuda".
        device: device that replaces the recorded one of a resumed run.
        project: requested parent folder of the run folder.
        name: requested name of the run.
        unlabeled: unlabelled frames; None without.
        classes_taught: whether a teacher knows a class that is trained, or will after its fine-tuning.
    """

    recipe: Recipe
    dataset: Dataset
    student: Model
    teachers: tuple[Model, ...]
    fine_tuned: tuple[bool, ...]
    device_type: str
    device: Any = None
    project: str | None = None
    name: str | None = None
    unlabeled: UnlabeledFrames | None = None
    classes_taught: bool = True

    @property
    def epoch_images(self) -> int:
        """Number of images of an epoch of the student."""
        return self.dataset.scan.train_images + _added_images(self.unlabeled)

    @property
    def method(self) -> str:
        """Names of the methods that have a term with a weight, joined with `+`, or "plain" without distillation."""
        return self.recipe.active_methods

    @property
    def teacher_names(self) -> list[str]:
        """Names of the teachers in tables and messages."""
        return teacher_names(self.teachers)

    def with_data_copy(self, run_dir: Path) -> Plan:
        """Return the plan with a copy of its data YAML, written to a run folder."""
        return replace(self, dataset=self.dataset.copy_to(run_dir / DATA_FOLDER))

    def plain_twin(self, run_dir: Path) -> Recipe:
        """Return the recipe of the same training without distillation, with its run folder beside this one."""
        place = {"project": str(run_dir.parent), "name": f"{run_dir.name}-{PLAIN}"}
        same = {"student": self.recipe.student, "data": self.recipe.data}
        return Recipe(method=PLAIN).override(**same, train={**self.recipe.train, **place})


def as_recipe(recipe: FGDConfig | str | Path | None) -> Recipe:
    """Convert the name or file of a recipe, or an FGDConfig, to a recipe; None is the default recipe."""
    if isinstance(recipe, FGDConfig):
        return recipe if isinstance(recipe, Recipe) else Recipe.of(recipe)
    return Recipe() if recipe is None else load_recipe(recipe)


def make_plan(recipe: Recipe, device: Any = None, *, allow_download: bool = False, recorded: bool = False) -> Plan:
    """Check and resolve a recipe; nothing is written except caches and downloads.

    Args:
        recipe: recipe of the user, or of a run folder.
        device: device that replaces that of the recipe.
        allow_download: allow the download script or the address of the data set.
        recorded: whether the recipe comes from a run folder; nothing is run or downloaded for its data then.

    Raises:
        UsageError: an option is missing, unknown, contradictory or not supported.
        FGDError: models or data cannot be used.
    """
    check_train_args(recipe.train)
    check_train_args(recipe.teacher_train or {})
    refuse_unsupported({"data": recipe.data, "device": device})
    _check_options(recipe)
    train, place = _without_place(recipe.train)
    device_type = find_device(train.get("device") if device is None else device).type
    demo = is_demo(recipe)
    student = resolve(recipe.student, "student", demo)
    check_frame_options(recipe, student.task)
    train, teacher_train = _stage_arguments(recipe, train, device_type, student)
    for arguments in (train, teacher_train):
        check_bfloat16(arguments.get("amp"), device_type, recorded)
    _check_task(train.get("task"), student)
    train["task"] = student.task.name
    _check_frozen(train.get("freeze"), student)
    teachers = _resolve_teachers(recipe, demo)
    check_teacher_size(recipe, train, teachers)
    unlabeled, data = None, demo_data(student.task.name) if demo else recipe.data
    if recipe.unlabeled and data is None:
        unlabeled = frames_alone(recipe, teachers, train, train.get("device") if device is None else device)
        data = unlabeled.data
    dataset = scan_dataset(data, train, allow_download=allow_download, recorded=recorded)
    if recipe.unlabeled and unlabeled is None:
        unlabeled = frames_beside(recipe, dataset, {**ultralytics_defaults(), **train}["split"])
    _check_channels(teachers, student, dataset)
    selected = selected_classes(train.get("classes"), bool(train.get("single_cls")), len(dataset.names))
    fine_tuned = choose_fine_tuning(teachers, dataset, student.task.name, recipe, selected)
    _check_fine_tuning(teachers, fine_tuned, dataset)
    for name in () if recipe.active else recipe.teachers:
        print_status(f"teacher {name} is not used: all weights are 0")
    _advise_on_steps(train, dataset.scan.train_images + _added_images(unlabeled))
    taught = any(fine_tuned) or bool(known_classes_together(teachers, dataset, recipe.map, selected))
    resolved = recipe.replace(
        teacher=_teacher_option(teachers),
        student=student.file,
        data=None if recipe.data is None else str(dataset.source),
        unlabeled=[str(Path(path).absolute()) for path in recipe.unlabeled],
        train=train,
        teacher_train=teacher_train,
    )
    resolved = choose_method(resolved, student, teachers, taught)
    found = {"unlabeled": unlabeled, "classes_taught": taught}
    return Plan(resolved, dataset, student, teachers, fine_tuned, device_type, device, **place, **found)


def is_demo(recipe: Recipe) -> bool:
    """Return whether a recipe is for the built-in scenes: it names neither data nor unlabelled frames."""
    return recipe.data is None and not recipe.unlabeled


def _check_fine_tuning(teachers: Sequence[Model], fine_tuned: Sequence[bool], dataset: Dataset) -> None:
    """Raise if a teacher is to be trained on data without labels."""
    if any(fine_tuned) and not dataset.has_train_labels:
        untrained = next(model for model, tuned in zip(teachers, fine_tuned, strict=True) if tuned)
        raise UsageError(
            f"teacher {untrained.name} does not know all classes of {dataset.source.name}, and there are no labels to "
            "train it on: give a teacher that knows them (--teacher path.pt), or leave out --teacher-epochs"
        )


def _added_images(unlabeled: UnlabeledFrames | None) -> int:
    """Return by how many images the frames make an epoch longer than the data set."""
    return 0 if unlabeled is None or unlabeled.data is not None else len(unlabeled.train.files)


def _resolve_teachers(recipe: Recipe, demo: bool) -> tuple[Model, ...]:
    """Return the teachers of a recipe; none if all weights are 0.

    Raises:
        UsageError: two of them are the same model.
    """
    teachers: list[Model] = []
    for name in recipe.teachers if recipe.active else ():
        teacher = resolve(name, "teacher", demo)
        same = next((other for other in teachers if other.digest == teacher.digest), None)
        if same is not None:
            raise UsageError(f"teachers {same.file} and {teacher.file} are the same model: leave out one")
        teachers.append(teacher)
    return tuple(teachers)


def check_teacher_size(config: FGDConfig, train: Mapping[str, Any], teachers: Sequence[Model]) -> None:
    """Check the image size of the teachers, if it is another than the student's.

    Args:
        config: options of a distillation.
        train: train arguments of the student, with `imgsz` in whole strides.
        teachers: models before fine-tuning.

    Raises:
        UsageError: it cannot be used with this student and these teachers.
    """
    if config.teacher_imgsz:
        strides = [largest_stride(built(teacher)) for teacher in teachers]
        strides = dict(zip(teacher_names(teachers), strides, strict=True))
        check_teacher_imgsz(config.teacher_imgsz, {**ultralytics_defaults(), **train}["imgsz"], strides)


def _teacher_option(teachers: tuple[Model, ...]) -> str | list[str] | None:
    """Return the option of a recipe that names these teachers."""
    files = [teacher.file for teacher in teachers]
    return files if len(files) > 1 else next(iter(files), None)


def demo_arguments(given: Mapping[str, Any], device_type: str, task: YoloTask) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add the demo's settings for a device and a task to the given arguments, and print them.

    Args:
        given: train arguments of the user; they take precedence, for student and teacher.
        device_type: "cpu" or "cuda".
        task: task of the student.

    Returns:
        Train arguments of the student, and of the teacher.
    """
    arguments = []
    for role, settings in (("student", demo_settings.STUDENT), ("teacher", demo_settings.TEACHER)):
        defaults = {**settings.get(device_type, settings["cpu"]), **demo_settings.OF_TASK[task.name]}
        if device_type == "cpu" and has_bfloat16():
            defaults |= demo_settings.CPU_WITH_BFLOAT16
        arguments.append({**defaults, **given})
        print_status(f"demo settings, {role}: {' '.join(f'{key}={arguments[-1][key]}' for key in defaults)}")
    return arguments[0], arguments[1]


def _check_options(recipe: Recipe) -> None:
    if recipe.student is None:
        raise UsageError("missing --student: give a model, such as --student yolov8n")
    if not recipe.active:
        return
    if not recipe.teachers:
        raise UsageError("missing --teacher: give a model, such as --teacher yolov8l, or use --method plain")
    check_feature_teacher(recipe, recipe.teachers)


def _check_channels(teachers: Sequence[Model], student: Model, dataset: Dataset) -> None:
    """Check that all teachers with weights read images like those of the data, and report a student that does not.

    Raises:
        FGDError: a teacher reads images with another number of channels.
    """
    channels = dataset.channels
    teacher = next((model for model in teachers if model.names is not None and model.channels != channels), None)
    if teacher is not None:
        raise FGDError(
            f"teacher {teacher.file} reads {teacher.channels}-channel images, data {dataset.source} has {channels}: "
            f"give a teacher of {channels}-channel images (--teacher path.pt), or an architecture, which is trained on "
            "the data first (--teacher yolov8l.yaml)"
        )
    if student.names is not None and student.channels != channels:
        print_status(
            f"student {student.file} reads {student.channels}-channel images, the data has {channels}: its first "
            "convolution starts from random weights"
        )


def _without_place(train: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Split train arguments into those of the training, and `project` and `name` of the run folder."""
    rest = {key: value for key, value in train.items() if key not in ("project", "name")}
    return rest, {key: None if train.get(key) is None else str(train[key]) for key in ("project", "name")}


def _stage_arguments(
    recipe: Recipe, train: dict[str, Any], device_type: str, student: Model
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the checked train arguments of student and teacher, with `imgsz` rounded up to whole strides."""
    teacher_train = recipe.teacher_train
    if is_imitation(recipe):  # the last checkpoint is the best: agreement of boxes says nothing about it
        train = {"val": False, **train}
    if teacher_train is None:
        shared = train
        if is_demo(recipe):
            train, shared = demo_arguments(train, device_type, student.task)
        if recipe.teacher_imgsz:
            shared = {**shared, "imgsz": recipe.teacher_imgsz}
        teacher_train = teacher_arguments(shared, recipe.teacher_epochs) if recipe.active else {}
    _check_values(train)
    stride = max(_STRIDE, largest_stride(built(student)))
    rounded = _round_imgsz(train, stride)
    if rounded.get("imgsz") != train.get("imgsz"):
        print_status(f"imgsz {train['imgsz']} is not a multiple of {stride}: using {rounded['imgsz']} throughout")
    return rounded, _round_imgsz(teacher_train, _STRIDE)


def _check_values(train: Mapping[str, Any]) -> None:
    """Check all values before the first training: by Ultralytics' own check, and those that it does not check."""
    arguments = {**ultralytics_defaults(), **train}
    imgsz, optimizer, freeze = (arguments[key] for key in ("imgsz", "optimizer", "freeze"))
    if not _is_count(imgsz) or imgsz == 0:
        raise UsageError(f"imgsz must be a positive integer, such as 640, got {imgsz!r}")
    if str(optimizer).lower() not in {name.lower() for name in OPTIMIZERS}:
        raise UsageError(f"unknown optimizer '{optimizer}'{close_match(str(optimizer), OPTIMIZERS)}")
    layers = freeze if isinstance(freeze, list) else [freeze]
    if freeze is not None and not all(_is_count(layer) for layer in layers):
        raise UsageError(f"freeze must be a number of layers or a list of layer numbers, such as [0,1], got {freeze!r}")
    try:
        get_cfg(overrides=dict(train))
    except (TypeError, ValueError, SyntaxError) as error:
        raise UsageError(error_message(error)) from error
    check_batch(arguments["batch"], process_count(arguments["device"]))
    if isinstance(train.get("pretrained"), (str, Path)):
        load_model(train["pretrained"])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _round_imgsz(train: Mapping[str, Any], stride: int) -> dict[str, Any]:
    """Round `imgsz` up as Ultralytics' trainer does, so that validation and export use the size of the training."""
    if train.get("imgsz") is None:
        return dict(train)
    return {**train, "imgsz": round_imgsz(train["imgsz"], stride)}


def _check_task(task: str | None, student: Model) -> None:
    """Raise if the train argument `task` names another task than the student's, which decides."""
    if task is not None and task != student.task.name:
        raise UsageError(f"task={task}: the student {student.name} is a model for {student.task.name}; leave it out")


def _check_frozen(freeze: int | list[int] | None, student: Model) -> None:
    """Raise if `freeze` names layers that the student does not have, which Ultralytics silently ignores."""
    if not freeze:
        return
    config = load_model(student.file)[0].yaml if student.file.endswith(".pt") else read_architecture(student.file)
    layers = len(config["backbone"]) + len(config["head"])
    if (freeze if isinstance(freeze, int) else max(freeze)) >= layers:
        raise UsageError(
            f"freeze={freeze}: {student.name} has {layers} layers, 0 to {layers - 1}, and some must be trained"
        )


def _advise_on_steps(train: Mapping[str, Any], images: int) -> None:
    """Print advice if a run has few optimizer steps because Ultralytics accumulates `nbs` images for each."""
    arguments = {**ultralytics_defaults(), **train}
    batch, nbs = (arguments[key] for key in ("batch", "nbs"))
    batches, steps = count_steps(train, images)
    if batches != steps and steps < FEW_STEPS:
        print_status(
            f"this run makes only about {steps} optimizer steps, since Ultralytics accumulates nbs={nbs} images for "
            f"each: nbs={batch} makes {batches} steps of the same images, in the same time"
        )
