"""The ranks of a run other than 0: they train with rank 0, and write nothing but their own cache.

Each host has its own copy of the data, and possibly nothing else: models and checkpoints come from rank 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch

from fgd_yolo.cache import cache_root
from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.datasets import DATA_FOLDER, Dataset, demo_data, scan_dataset
from fgd_yolo.distributed.exchange import Fact, broadcast, compare_digests, leaders_first
from fgd_yolo.distributed.heartbeat import reported
from fgd_yolo.distributed.process_group import join, leave
from fgd_yolo.distributed.world import World, current_world
from fgd_yolo.errors import FGDError
from fgd_yolo.files import atomic_path, partial_folder, remove_leftovers
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.workflow.announcements import AnnouncedRun, Training, exchange_files
from fgd_yolo.workflow.run_folder import DATA, data_input
from fgd_yolo.workflow.training_stages import run_training


@contextmanager
def joined_ranks(device: Any) -> Iterator[World]:
    """Join this process to those that torchrun has started with it, for a block; an error ends them all.

    Args:
        device: train argument `device` of this rank.

    Raises:
        FGDError: the others cannot be reached.
    """
    on_gpu = torch.cuda.is_available() and str(device).lower() not in ("cpu", "mps")
    joined = join("cuda" if on_gpu else "cpu")
    with reported():
        yield current_world()
    if joined:
        leave()


def follow(recipe: Recipe | None, *, allow_download: bool = False) -> None:
    """Take part in a run that rank 0 carries out, until it is finished.

    Args:
        recipe: options that this rank was started with; None if it resumes a run, whose data is then where it was when
            this host took part before, or where rank 0 has it.
        allow_download: allow the download script or the address of the data set.

    Raises:
        FGDError: this host lacks the data, or has other data than rank 0.
    """
    with _silent(), _folder() as folder:
        run = broadcast(None)
        if run is None:  # nothing was left to do
            return
        data = _remembered(run) if recipe is None else recipe.data
        dataset = leaders_first(lambda: _own_data(data, run, allow_download, recorded=recipe is None))
        compare_digests({DATA: Fact(*data_input(dataset))})
        if recipe is not None and recipe.data is not None:
            _remember(dataset)
        copy = dataset.copy_to(folder / DATA_FOLDER)
        while (training := broadcast(None)) is not None:
            _take_part(training, folder, copy)


def _own_data(data: str | None, run: AnnouncedRun, allow_download: bool, recorded: bool) -> Dataset:
    if run.prepared:
        data = run.data
    place = demo_data(run.task) if data is None else data
    return scan_dataset(place, run.train, allow_download=allow_download, recorded=recorded)


def _take_part(training: Training, folder: Path, dataset: Dataset) -> None:
    stage = folder / training.stage
    (stage / "weights").mkdir(parents=True, exist_ok=True)
    own = exchange_files(training, folder)
    if own.unlabeled is not None:
        _check_frames(Path(own.unlabeled))
    trainer = FGDTrainer.with_teacher(own.teachers, FGDConfig.from_dict(own.config), unlabeled=own.unlabeled)
    run_training(own, trainer, str(dataset.file), stage)


def _check_frames(file: Path) -> None:
    """Raise if this host lacks frames of a list."""
    frames = file.read_text(encoding="utf-8").splitlines()
    missing = [frame for frame in frames if not Path(frame).is_file()]
    if missing:
        raise FGDError(
            f"{len(missing)} of {len(frames)} unlabelled frames are missing on this host, such as {missing[0]}: put "
            "them and the cache of rank 0 at the same paths here"
        )


@contextmanager
def _silent() -> Iterator[None]:
    """Print nothing to stdout for a block, since rank 0 does."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder in the cache for the files of a run, which is removed at the end.

    Raises:
        FGDError: it cannot be written.
    """
    parent = cache_root() / "ranks"
    remove_leftovers(parent)
    with ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(partial_folder(parent / "run"))
        except OSError as error:
            reason = error.strerror or error
            raise FGDError(
                f"cannot write {parent}: {reason}; free space there or set FGD_YOLO_CACHE to another folder"
            ) from error
        yield folder


def _remember(dataset: Dataset) -> None:
    """Note where this host has a data set, for a resumed run, whose command line does not name it."""
    with suppress(FGDError), atomic_path(_note(data_input(dataset).digest)) as path:
        path.write_text(str(dataset.source), encoding="utf-8")


def _remembered(run: AnnouncedRun) -> str | None:
    """Return where this host has the data of a run, or where rank 0 has it."""
    with suppress(OSError):
        place = _note(run.found.digest).read_text(encoding="utf-8")
        if Path(place).exists():
            return place
    return run.data


def _note(digest: str) -> Path:
    return cache_root() / "ranks" / f"data-{digest[:20]}.txt"
