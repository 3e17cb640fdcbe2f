"""The teacher must know the data: one that does not is fine-tuned on it once, and kept for later runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgd_yolo.config import load_recipe
from fgd_yolo.console import format_classes, format_duration, print_status
from fgd_yolo.datasets import Dataset
from fgd_yolo.demo.cache import cache_root
from fgd_yolo.errors import FGDError
from fgd_yolo.files import partial_path, remove_leftovers, sha256_of_json
from fgd_yolo.training.checkpoints import BEST
from fgd_yolo.training.preflight import same_classes
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.ultralytics import load_detector
from fgd_yolo.workflow.digests import file_key
from fgd_yolo.workflow.resolve import Model
from fgd_yolo.workflow.time_estimate import epoch_s
from fgd_yolo.workflow.train_arguments import ultralytics_defaults, what_is_learnt
from fgd_yolo.workflow.training_stage import train_stage

_STUDENT_ONLY = ("pretrained", "freeze", "time")


def knows(teacher: Model, dataset: Dataset) -> bool:
    """Return whether a teacher can teach as it is: it has weights, and the data's classes and channels."""
    trained = teacher.names is not None and teacher.channels == dataset.channels
    return trained and same_classes(teacher.names, dataset.names)


def check_may_prepare(teacher: Model, dataset: Dataset, epochs: int | None) -> None:
    """Stop where a teacher does not know the data and must not be fine-tuned.

    Raises:
        FGDError: the message names both sides and what to do.
    """
    if epochs == 0 and not knows(teacher, dataset):
        raise FGDError(
            f"teacher {teacher.file} {_described(teacher)}, the data has {format_classes(dataset.names)}: let it be "
            "fine-tuned on the data (--teacher-epochs N), or give one that knows it (--teacher path.pt)"
        )


def teacher_arguments(train: Mapping[str, Any], epochs: int | None) -> dict[str, Any]:
    """Return the train arguments of stage 1: the student's, without those about its own weights and layers.

    Args:
        train: the student's.
        epochs: of the teacher; None is as many as the student's.
    """
    own = {key: value for key, value in train.items() if key not in _STUDENT_ONLY}
    return own if epochs is None else {**own, "epochs": epochs}


def prepared_file(teacher: Model, dataset: Dataset, train: Mapping[str, Any]) -> Path:
    """Return where the teacher that these arguments lead to is kept, once there is one."""
    digest = sha256_of_json([teacher.key, dataset.scan.key, what_is_learnt(train)])
    return cache_root() / "teachers" / f"{teacher.name}-{digest[:20]}.pt"


def prepare_teacher(
    teacher: Model,
    dataset: Dataset,
    train: Mapping[str, Any],
    run_dir: Path,
    device: Any = None,
    begun_with: str | None = None,
) -> Path:
    """Return the checkpoint of a teacher that knows the data, trained in `RUN/teacher` if none is kept.

    Args:
        teacher: what the user named.
        dataset: what it must know.
        train: stage 1's train arguments, of `teacher_arguments`.
        run_dir: the run folder.
        device: replaces the arguments' when a run is resumed.
        begun_with: key of the checkpoint that the run distilled from before it was stopped, None if it had none yet.

    Raises:
        FGDError: that checkpoint is gone, or the teacher's training failed.
    """
    if knows(teacher, dataset):
        print_status(f"teacher {teacher.file} knows the data: used as it is")
        return Path(teacher.file)
    kept = prepared_file(teacher, dataset, train)
    if begun_with is not None:
        return _same_checkpoint((kept, run_dir / "teacher" / "weights" / BEST), begun_with)
    if kept.is_file() and _readable(kept):
        print_status(f"teacher: fine-tuned by an earlier run and reused: {kept}")
        return kept
    classes = format_classes(dataset.names)
    print_status(f"the teacher {_described(teacher)}, the data has {classes}: it is trained on the data first")
    epochs, imgsz = ({**ultralytics_defaults(), **train}[key] for key in ("epochs", "imgsz"))
    seconds = epoch_s(teacher, dataset, train)
    lasts = "a time that cannot be told" if seconds is None else f"about {format_duration(seconds * epochs)} at most"
    print_status(f"teacher: {epochs} epochs at {imgsz} px, {lasts} on this device")
    # With every weight 0 this is the host's own training, with checkpoints that survive a kill.
    plain = FGDTrainer.configured(teacher=None, config=load_recipe("plain").fgd)
    best = train_stage(teacher.file, plain, str(dataset.file), run_dir / "teacher", train, device)
    return _keep(best, kept)


def _same_checkpoint(files: Sequence[Path], key: str) -> Path:
    """Return the file with a key, since a teacher that is trained again is another one."""
    for file in files:
        if file.is_file() and file_key(file).key == key:
            print_status(f"teacher: the one that this run began with: {file}")
            return file
    raise FGDError(f"the teacher that this run began with, {files[0].name}, is gone or has changed: start a new run")


def _keep(best: Path, kept: Path) -> Path:
    """Keep a teacher for later runs, unless another run has kept the same one meanwhile: then that is the teacher.

    A file that another run distils from is never replaced.
    """
    partial = partial_path(kept)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(kept.parent)
        if kept.exists() and not _readable(kept):
            kept.unlink()
        shutil.copyfile(best, partial)
        try:
            os.link(partial, kept)
        except FileExistsError:
            print_status(f"teacher: another run has kept the same one meanwhile: {kept}")
            return kept
        except OSError:  # a disk without hard links
            partial.replace(kept)
    except OSError as error:
        print_status(f"cannot write {kept}: {error.strerror or error}: the teacher serves this run alone")
        return best
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    print_status(f"teacher kept for later runs: {kept}")
    return kept


def _readable(path: Path) -> bool:
    try:
        load_detector(path)
    except FGDError as error:
        print_status(f"{error}; the teacher is trained again")
        return False
    return True


def _described(teacher: Model) -> str:
    return "is untrained" if teacher.names is None else f"knows {format_classes(teacher.names)}"
