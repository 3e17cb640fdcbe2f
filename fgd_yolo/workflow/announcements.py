"""What rank 0 tells the other ranks of a run: the run, and each of its trainings, with the files that they need.

Convention:
    Rank 0 announces; `followers.follow` runs on all others. In a single process nothing happens here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fgd_yolo.distributed.exchange import Fact, broadcast, compare_digests, leaders_first, send_file
from fgd_yolo.training.checkpoints import LAST, SIDE
from fgd_yolo.workflow.run_folder import DATA


@dataclass(frozen=True)
class AnnouncedRun:
    """A run that rank 0 has planned.

    Args:
        data: the data YAML on rank 0's host; None for the built-in scenes.
        prepared: whether rank 0 has made that YAML from unlabelled frames, so that all hosts read the same file.
        found: digest and description of the data set on rank 0's host.
        task: name of the student's task.
        train: train arguments of the student.
    """

    data: str | None
    found: Fact
    task: str
    train: dict[str, Any]
    prepared: bool = False


@dataclass(frozen=True)
class Training:
    """A training of a run, with paths of the host that holds the object.

    Args:
        stage: name of its folder in the run folder.
        model: initial `.pt` or model YAML, or the checkpoint that it resumes from.
        teachers: checkpoints of the teachers.
        config: options of the distillation, as `FGDConfig.to_dict` has them.
        train: Ultralytics train arguments.
        resumed: whether it goes on from a checkpoint.
        device: device that replaces that of the arguments when a training is resumed.
        unlabeled: list file of unlabelled frames, which must have the same paths on all hosts; None without.
    """

    stage: str
    model: str
    teachers: tuple[str, ...]
    config: dict[str, Any]
    train: dict[str, Any]
    resumed: bool = False
    device: Any = None
    unlabeled: str | None = None


def announce_run(run: AnnouncedRun) -> None:
    """Tell the other ranks of a run, and wait until each has found the same data on its host.

    Raises:
        FGDError: a rank has other data or cannot read it; the message names the rank and its host.
    """
    broadcast(run)
    leaders_first(lambda: None)
    compare_digests({DATA: run.found})


def announce_training(training: Training, run_dir: Path) -> None:
    """Tell the other ranks of a training and send them its files; they follow until it ends."""
    broadcast(training)
    exchange_files(training, run_dir)


def announce_end() -> None:
    """Tell the other ranks that the run is finished."""
    broadcast(None)


def exchange_files(training: Training, run_dir: Path) -> Training:
    """Return a training with paths of this host; files that it lacks are sent by rank 0. All ranks call it.

    Args:
        training: as rank 0 announced it.
        run_dir: folder of the run on this host.
    """
    teachers = [
        _file(teacher, run_dir / "received" / f"teacher-{place}")
        for place, teacher in enumerate(training.teachers, start=1)
    ]
    if training.resumed:
        model = _checkpoint(Path(training.model), run_dir / training.stage / "weights")
    else:
        model = _file(training.model, run_dir / "received")
    train = dict(training.train)
    if isinstance(train.get("pretrained"), str):
        train["pretrained"] = _file(train["pretrained"], run_dir / "received" / "pretrained")
    unlabeled = training.unlabeled and _file(training.unlabeled, run_dir / "received")
    return replace(training, model=model, teachers=tuple(teachers), train=train, unlabeled=unlabeled)


def _file(path: str, folder: Path) -> str:
    """Return the path of rank 0's file if this host has the same there, or its copy in a folder."""
    source = Path(path)
    if not source.is_absolute():  # a model YAML that Ultralytics ships
        return path
    return str(send_file(source, [source, folder / source.name]))


def _checkpoint(last: Path, weights_dir: Path) -> str:
    """Return `last.pt` in a folder of this host, beside its side file if there is one."""
    weights_dir.mkdir(parents=True, exist_ok=True)
    side = last.with_name(SIDE)
    if broadcast(side.is_file()):
        send_file(side, [weights_dir / SIDE])
    return str(send_file(last, [weights_dir / LAST]))
