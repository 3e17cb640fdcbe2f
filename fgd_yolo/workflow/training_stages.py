"""The two trainings of a run, both resumable: fine-tuning of the teacher, if needed, and training of the student.

A teacher that does not know all classes of the data may be fine-tuned, once; it is cached for later runs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from fgd_yolo.cache import cache_root
from fgd_yolo.class_columns import check_class_map, choose_columns, known_classes, same_classes
from fgd_yolo.config import AUTO, PLAIN, FGDConfig, Recipe
from fgd_yolo.console import display_path, format_classes, print_status
from fgd_yolo.datasets import Dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.files import partial_path, remove_leftovers, sha256_of_json
from fgd_yolo.locking import remove_stale_lock
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import TASKS
from fgd_yolo.text import counted
from fgd_yolo.train_arguments import learning_arguments, ultralytics_defaults
from fgd_yolo.training.checkpoints import BEST, LAST, complete, is_finished, restore
from fgd_yolo.training.teachers.class_selection import check_features, describe_classes
from fgd_yolo.training.teachers.other_tasks import can_be_fine_tuned
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.ultralytics import load_checkpoint_file, load_model
from fgd_yolo.workflow.announcements import Training, announce_training
from fgd_yolo.workflow.resolve import Model
from fgd_yolo.workflow.run_folder import file_input, teacher_stage

_STUDENT_ONLY = ("pretrained", "freeze", "time", "task")


@safe_loading()
def train_stage(model: str, trainer, data: str, folder: Path, train: Mapping[str, Any], device: Any = None) -> Path:
    """Train in a folder, or resume its training, and return the best checkpoint.

    Args:
        model: initial `.pt` or model YAML; not used when a training is resumed.
        trainer: trainer class.
        data: data YAML.
        folder: Ultralytics' run folder, named after the stage.
        train: Ultralytics train arguments.
        device: device that replaces that of the arguments when a training is resumed.

    Raises:
        FGDError: the training ended without a checkpoint, or the best one is damaged.
    """
    weights_dir = folder / "weights"
    best = weights_dir / BEST
    remove_stale_lock(folder)  # of a killed process; a finished training does not acquire the lock again
    last = restore(weights_dir)
    if last is not None or not ((weights_dir / LAST).is_file() or is_finished(best)):
        if last is not None:
            print_status(f"{folder.name}: resuming from {last}")
        distils = issubclass(trainer, FGDTrainer)  # a comparison trains with Ultralytics' own trainers too
        teachers = tuple(str(file.absolute()) for file in trainer.teachers) if distils else ()
        options = {"config": trainer.config.to_dict() if distils else {}, "train": dict(train), "device": device}
        start = {"model": model if last is None else str(last), "resumed": last is not None}
        unlabeled = str(trainer.unlabeled) if distils and trainer.unlabeled is not None else None
        training = Training(folder.name, teachers=teachers, unlabeled=unlabeled, **start, **options)
        announce_training(training, folder.parent)
        run_training(training, trainer, data, folder)
    if not best.is_file():
        raise FGDError(f"{folder.name}: the training ended without {best}, so no epoch had a usable result")
    try:
        load_checkpoint_file(best)
    except FGDError as error:
        advice = f"copy {LAST} over it to use the last epoch's weights, or start a new run"
        raise FGDError(f"{display_path(best)} is damaged or not an Ultralytics checkpoint: {advice}") from error
    complete(weights_dir)
    return best


@safe_loading()
def run_training(training: Training, trainer: type[FGDTrainer], data: str, folder: Path) -> None:
    """Train from the first epoch or a checkpoint to the end; every rank of a run calls it.

    Args:
        training: with paths of this host.
        trainer: trainer class, with its teachers and options.
        data: data YAML on this host.
        folder: Ultralytics' run folder on this host.
    """
    train, yolo = training.train, YOLO(training.model, task=training.train.get("task"))
    if training.resumed:
        # Without these, Ultralytics takes data and teacher from the checkpoint, which may come from another place.
        overrides = {"save_dir": str(folder), "distill_model": train.get("distill_model")}
        overrides |= {} if training.device is None else {"device": training.device}
        yolo.train(trainer=trainer, data=data, resume=training.model, **overrides)
    else:
        place = {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
        yolo.train(trainer=trainer, data=data, **train, **place)


def choose_fine_tuning(
    teachers: Sequence[Model], dataset: Dataset, task: str, recipe: Recipe, selected: Sequence[int] | None = None
) -> tuple[bool, ...]:
    """Return which teachers are trained on the data before they teach, and check that each can be, or can teach.

    Convention:
        A teacher without weights must be trained. One that knows all classes that the training selects, by name or by
        the class map, never is. Otherwise `teacher_epochs` decides: 0 is never, a number always; with
        "auto", `worth_fine_tuning` decides for a single teacher, and none of several is trained.

    Args:
        teachers: models that the user named; those with weights have the channels of the data.
        dataset: scanned data set.
        task: the student's task, which is that of the labels.
        recipe: recipe of the run.
        selected: classes that the training selects; None for all.

    Raises:
        UsageError: the class map names a class that does not exist.
        FGDError: a teacher must be trained and cannot or may not be; or the teachers know no class of the data, and
            only their heads would teach by the method that the user named.
    """
    named = [teacher.names for teacher in teachers if teacher.names is not None]
    if named:
        check_class_map(recipe.map, named, dataset.names)
    known = [_known(teacher, dataset, recipe.map) for teacher in teachers]
    together = known_classes_together(teachers, dataset, recipe.map, selected)
    wanted = set(dataset.names if selected is None else selected)
    worth_it = len(teachers) == 1 and worth_fine_tuning(len(together), len(wanted))
    may_be = {AUTO: worth_it, 0: False}.get(recipe.teacher_epochs, True)
    fine_tuned = []
    for teacher, own in zip(teachers, known, strict=True):
        must_be = teacher.names is None
        possible = can_be_fine_tuned(teacher.task, TASKS[task]) or recipe.teacher_epochs != AUTO
        fine_tuned.append(must_be or (may_be and possible and not wanted <= own))
        if fine_tuned[-1]:
            _check_trainable(teacher, dataset, task, recipe.teacher_epochs)
    if teachers and "method" in recipe.given and not any(fine_tuned) and not together:
        everything = dict(enumerate(name for own in named for name in own.values()))
        check_features(recipe, [teacher.name for teacher in teachers], everything, dataset.names)
    return tuple(fine_tuned)


def worth_fine_tuning(known: int, count: int) -> bool:
    """Return whether `teacher_epochs=auto` fine-tunes a teacher that knows only some of the selected classes.

    Source:
        docs/experiments.md, "Teachers with other classes": a teacher of all classes taught hardly better after it had
        been fine-tuned (+0.6 points, two seeds); one that lacked a class that the student can learn did (+7.1, three).

    Args:
        known: number of those that the teacher knows.
        count: number of all of them.
    """
    return known < count


def known_classes_together(
    teachers: Sequence[Model], dataset: Dataset, class_map: Mapping[str, str], selected: Sequence[int] | None = None
) -> set[int]:
    """Return the classes that a training selects and that some teacher knows before any fine-tuning.

    Args:
        teachers: models that the user named.
        dataset: scanned data set.
        class_map: class of the data by class of the teacher.
        selected: classes that the training selects; None for all.
    """
    known = set().union(*(_known(teacher, dataset, class_map) for teacher in teachers))
    return known & set(dataset.names if selected is None else selected)


def _known(teacher: Model, dataset: Dataset, class_map: Mapping[str, str]) -> set[int]:
    names = {} if teacher.names is None else teacher.names
    return set(known_classes(choose_columns(names, dataset.names, class_map)))


def _check_trainable(teacher: Model, dataset: Dataset, task: str, epochs: int | str) -> None:
    """Stop if a teacher that must be trained cannot be trained on labels of a task, or may not be."""
    if not can_be_fine_tuned(teacher.task, TASKS[task]):
        tasks = " or ".join(name for name, other in TASKS.items() if can_be_fine_tuned(other, TASKS[task]))
        raise FGDError(
            f"teacher {teacher.file} {_state(teacher)} and is a model for {teacher.task.name}, which cannot be trained "
            f"on labels for {task}: give trained weights (--teacher path.pt), or a teacher for {tasks}"
        )
    if epochs == 0:
        raise FGDError(
            f"teacher {teacher.file} {_state(teacher)}, the data has {format_classes(dataset.names)}: allow its "
            "fine-tuning (--teacher-epochs N), or give a teacher with the classes of the data (--teacher path.pt)"
        )


def teacher_arguments(train: Mapping[str, Any], epochs: int | str) -> dict[str, Any]:
    """Return the train arguments of the teacher: the student's, without those about the student's weights and layers.

    Args:
        train: train arguments of the student.
        epochs: epochs of the fine-tuning; "auto" is those of the student.
    """
    shared = {key: value for key, value in train.items() if key not in _STUDENT_ONLY}
    return shared if epochs == AUTO else {**shared, "epochs": epochs}


def cached_teacher(teacher: Model, dataset: Dataset, train: Mapping[str, Any]) -> Path:
    """Return the path in the cache of a teacher that was fine-tuned with these arguments."""
    digest = sha256_of_json([teacher.digest, dataset.scan.digest, learning_arguments(train)])
    return cache_root() / "teachers" / f"{teacher.name}-{digest[:20]}.pt"


def prepare_teacher(
    teacher: Model,
    dataset: Dataset,
    train: Mapping[str, Any],
    run_dir: Path,
    device: Any = None,
    started_with: str | None = None,
    place: int = 1,
    *,
    fine_tuned: bool = True,
    class_map: Mapping[str, str] | None = None,
) -> Path:
    """Return the checkpoint of a teacher: its own, or that of its fine-tuning on the data, in the run folder.

    Args:
        teacher: model that the user named.
        dataset: scanned data set.
        train: train arguments of the fine-tuning, from `teacher_arguments`.
        run_dir: the run folder.
        device: device that replaces that of the arguments when a run is resumed.
        started_with: SHA-256 of the teacher's checkpoint that a resumed run has used so far, if any.
        place: place of the teacher in the list of teachers, which names the folder of its fine-tuning.
        fine_tuned: whether it is fine-tuned, as `choose_fine_tuning` decides.
        class_map: class of the data by class of the teacher, for what is printed.

    Raises:
        FGDError: that checkpoint is missing or changed, or the fine-tuning failed.
    """
    if not fine_tuned:
        print_status(_as_it_is(teacher, dataset, class_map))
        return Path(teacher.file)
    folder, train = run_dir / teacher_stage(place), {**train, "task": teacher.task.name}
    cached = cached_teacher(teacher, dataset, train)
    if started_with is not None:
        return _same_checkpoint((cached, folder / "weights" / BEST), started_with)
    if cached.is_file() and _readable(cached):
        print_status(f"teacher: reused from an earlier run, fine-tuned: {cached}")
        return cached
    classes = format_classes(dataset.names)
    print_status(f"the teacher {_state(teacher)}, the data has {classes}: it is fine-tuned first")
    epochs, imgsz = ({**ultralytics_defaults(), **train}[key] for key in ("epochs", "imgsz"))
    print_status(f"teacher: {counted(epochs, 'epoch')} at {imgsz} px")
    # With all weights 0 this trainer is Ultralytics' own, except that its checkpoints survive a kill.
    plain = FGDTrainer.with_teacher(None, FGDConfig(method=PLAIN))
    best = train_stage(teacher.file, plain, str(dataset.file), folder, train, device)
    return _cache(best, cached)


def _as_it_is(teacher: Model, dataset: Dataset, class_map: Mapping[str, str] | None) -> str:
    """Return the line about a teacher that is not fine-tuned, with the classes that it knows if it has others."""
    if same_classes(teacher.names, dataset.names):
        return f"teacher {teacher.file} has the classes of the data: used without fine-tuning"
    known = known_classes(choose_columns(teacher.names, dataset.names, class_map))
    return f"{describe_classes(teacher.name, known, dataset.names)}: used without fine-tuning"


def _same_checkpoint(files: Sequence[Path], digest: str) -> Path:
    """Return the file with a digest; a teacher that is trained again would have other weights."""
    for file in files:
        if file.is_file() and file_input(file).digest == digest:
            print_status(f"teacher: the one that this run was started with: {file}")
            return file
    raise FGDError(f"the teacher of this run, {files[0].name}, is missing or changed: start a new run")


def _cache(best: Path, cached: Path) -> Path:
    """Copy a teacher to the cache and return the copy, or the one that another run has cached in the meantime.

    A readable teacher in the cache is never replaced, since another run may be using it.
    """
    partial = partial_path(cached)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(cached.parent)
        if cached.exists() and not _readable(cached):
            cached.unlink()
        shutil.copyfile(best, partial)
        try:
            os.link(partial, cached)
        except FileExistsError:
            print_status(f"teacher: another run has cached the same one in the meantime: {cached}")
            return cached
        except OSError:  # a file system without hard links
            partial.replace(cached)
    except OSError as error:
        print_status(f"cannot write {cached}: {error.strerror or error}: the teacher is used by this run only")
        return best
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    print_status(f"teacher cached for later runs: {cached}")
    return cached


def _readable(path: Path) -> bool:
    try:
        load_model(path)
    except FGDError as error:
        print_status(f"{error}; the teacher is trained again")
        return False
    return True


def _state(teacher: Model) -> str:
    return "is untrained" if teacher.names is None else f"knows {format_classes(teacher.names)}"
