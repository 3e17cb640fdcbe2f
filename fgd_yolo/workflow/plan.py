"""Everything that can be known and refused before a run makes its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import select_device

from fgd_yolo.config import Recipe
from fgd_yolo.console import print_status
from fgd_yolo.datasets import DATA_FOLDER, Dataset, demo_data, scan_dataset
from fgd_yolo.errors import FGDError, UsageError, close_match, one_line, whole_line
from fgd_yolo.training.preflight import kept_classes, refuse_unsupported
from fgd_yolo.ultralytics import load_detector, read_architecture
from fgd_yolo.workflow.closing_table import PLAIN
from fgd_yolo.workflow.resolve import Model, resolve
from fgd_yolo.workflow.train_arguments import check_train_args, demo_arguments, ultralytics_defaults
from fgd_yolo.workflow.training_stages import check_fine_tuning, teacher_arguments

# Below about this many, on BCCD at 128 px, plain training gains 7 points by nbs=16, and distillation turns from a loss
# into a gain (docs/experiments.md).
FEW_STEPS = 1000
# The host knows them inside a function only, and looks there when the data is loaded.
OPTIMIZERS = ("Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD", "MuSGD", "auto")


@dataclass(frozen=True)
class Plan:
    """A run that nothing known stands against.

    Args:
        recipe: resolved: files as absolute paths, train arguments without project and name.
        dataset: what is learnt.
        student: where the student starts.
        teacher: as named, before it is prepared; None where nothing is distilled.
        device_type: "cpu" or "cuda".
        device: replaces the recorded device of a resumed run.
        project: folder of runs that was asked for.
        name: of the run that was asked for.
    """

    recipe: Recipe
    dataset: Dataset
    student: Model
    teacher: Model | None
    device_type: str
    device: Any = None
    project: str | None = None
    name: str | None = None

    @property
    def method(self) -> str:
        """What distils: "fgd", "fitnet", "heads" without either, or "plain" for nothing."""
        config = self.recipe.fgd
        if not config.active:
            return PLAIN
        return config.method if any(config.feature_weights.values()) else "heads"

    def with_data_copy(self, folder: Path) -> Plan:
        """Return the plan with the copy of its data that it works on, written into a run's folder."""
        return replace(self, dataset=self.dataset.copy_to(folder / DATA_FOLDER))

    def command(self, run_dir: Path) -> dict[str, Any]:
        """Return the options of a command that trains this student on this data, beside this run."""
        own_place = run_dir.parent != Path("runs/distill").absolute()
        train = {**self.recipe.train, **({"project": str(run_dir.parent)} if own_place else {})}
        return {"student": self.recipe.student, "data": self.recipe.data, "train": train}


def make_plan(recipe: Recipe, device: Any = None, *, allow_download: bool = False, recorded: bool = False) -> Plan:
    """Check and resolve a recipe; nothing is written but caches of data and downloads.

    Args:
        recipe: as the user gave it, or as a run folder holds it.
        device: replaces the recipe's.
        allow_download: run the download script of the data, or fetch it from its address, where that is needed.
        recorded: the recipe is that of a run folder: nothing is run or fetched for its data.

    Raises:
        UsageError: something is missing, unknown, contradictory or unsupported.
        FGDError: models or data cannot be used.
    """
    check_train_args(recipe.train)
    check_train_args(recipe.teacher_train or {})
    refuse_unsupported({"data": recipe.data, "device": device})
    _check_said(recipe)
    train, place = dict(recipe.train), {}
    for key in ("project", "name"):
        value = train.pop(key, None)
        place[key] = None if value is None else str(value)
    device_type = _device_type(train.get("device") if device is None else device)
    demo = recipe.data is None
    teacher_train = recipe.teacher_train
    if teacher_train is None:
        taught = train
        if demo:
            train, taught = demo_arguments(train, device_type)
        teacher_train = teacher_arguments(taught, recipe.teacher_epochs) if recipe.fgd.active else {}
    _check_values(train)
    if train.get("imgsz", 32) % 32:
        print_status(
            f"imgsz {train['imgsz']} is not a multiple of 32: {_whole_strides(train)['imgsz']} is used throughout"
        )
    train, teacher_train = _whole_strides(train), _whole_strides(teacher_train)
    student = resolve(recipe.student, "student", demo)
    _check_frozen(train.get("freeze"), student)
    teacher = resolve(recipe.teacher, "teacher", demo) if recipe.fgd.active else None
    data = demo_data() if demo else recipe.data
    dataset = scan_dataset(data, train, allow_download=allow_download, recorded=recorded)
    if dataset.channels != 3:
        raise FGDError(
            f"data {dataset.source} has {dataset.channels}-channel images: only 3-channel images can be exported yet, "
            "set `channels: 3` in it or leave that line out"
        )
    kept_classes(train.get("classes"), bool(train.get("single_cls")), len(dataset.names))
    if teacher is not None:
        check_fine_tuning(teacher, dataset, recipe.teacher_epochs)
    elif recipe.teacher is not None:
        print_status(f"teacher {recipe.teacher} is not used: every weight is 0")
    _advise_on_steps(train, dataset)
    resolved = replace(
        recipe,
        teacher=teacher and teacher.file,
        student=student.file,
        data=None if demo else str(dataset.source),
        train=train,
        teacher_train=teacher_train,
    )
    return Plan(resolved, dataset, student, teacher, device_type, device, **place)


def _check_said(recipe: Recipe) -> None:
    if recipe.student is None:
        raise UsageError("which student? name one with --student, such as --student yolov8n")
    if recipe.teacher is None and recipe.fgd.active:
        raise UsageError("which teacher? name one with --teacher, such as --teacher yolov8l, or use --config plain")
    epochs = recipe.teacher_epochs
    if epochs is not None and (not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 0):
        raise UsageError(f"teacher_epochs must be a whole number, 0 or more, not {epochs!r}")


def _check_values(train: Mapping[str, Any]) -> None:
    """Look at every value now, the host's way and beyond, rather than after the teacher's training."""
    imgsz, optimizer, freeze = train.get("imgsz", 640), train.get("optimizer", "auto"), train.get("freeze")
    if not _is_count(imgsz) or imgsz == 0:
        raise UsageError(f"imgsz must be one whole number of pixels above 0, such as 640, not {imgsz!r}")
    if str(optimizer).lower() not in {name.lower() for name in OPTIMIZERS}:
        raise UsageError(f"unknown optimizer '{optimizer}'{close_match(str(optimizer), OPTIMIZERS)}")
    layers = freeze if isinstance(freeze, list) else [freeze]
    if freeze is not None and not all(_is_count(layer) for layer in layers):
        raise UsageError(f"freeze must be a number of layers or a list of layer numbers, such as [0,1], not {freeze!r}")
    try:
        get_cfg(overrides=dict(train))
    except (TypeError, ValueError, SyntaxError) as error:
        raise UsageError(whole_line(error)) from error
    if isinstance(train.get("pretrained"), (str, Path)):
        load_detector(train["pretrained"])


def _advise_on_steps(train: Mapping[str, Any], dataset: Dataset) -> None:
    """Say where a run makes few steps: the host gathers `nbs` images for each, which for small data leaves hundreds."""
    arguments = {**ultralytics_defaults(), **train}
    batch, nbs, epochs = (arguments[key] for key in ("batch", "nbs", "epochs"))
    if batch < 1 or arguments["time"]:
        return
    gathered, batches = max(round(nbs / batch), 1), epochs * ceil(dataset.scan.train_images / batch)
    steps = batches // gathered
    if gathered > 1 and steps < FEW_STEPS:
        print_status(
            f"this run makes only about {steps} optimizer steps, since Ultralytics gathers nbs={nbs} images for each: "
            f"nbs={batch} makes {batches} steps of the same images, in the same time"
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_frozen(freeze: int | list[int] | None, student: Model) -> None:
    """Stop on layers that the student does not have: the host would freeze nothing, without a word."""
    if not freeze:
        return
    config = load_detector(student.file)[0].yaml if student.file.endswith(".pt") else read_architecture(student.file)
    layers = len(config["backbone"]) + len(config["head"])
    if (freeze if isinstance(freeze, int) else max(freeze)) >= layers:
        raise UsageError(f"freeze={freeze}: {student.name} has {layers} layers, 0 to {layers - 1}, and some must learn")


def _whole_strides(train: Mapping[str, Any]) -> dict[str, Any]:
    """Round imgsz up as the host does for itself, so that measuring and export use what was trained with."""
    if train.get("imgsz") is None:
        return dict(train)
    return {**train, "imgsz": check_imgsz(train["imgsz"], stride=32, floor=32, max_dim=1)}


def _device_type(device: Any) -> str:
    try:
        return select_device("" if device is None else device, verbose=False).type
    except (ValueError, AssertionError) as error:
        raise UsageError(f"device={device} cannot be used here: {one_line(error)}") from error
