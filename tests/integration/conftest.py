"""Fixtures of several tests: a trainer class, the log, a folder for runs of the distill command, weights to export."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from shell import TEACHER_EPOCHS, Shell


@pytest.fixture
def configured(teacher_pt):
    """The trainer of an untrained teacher, at full strength from the first batch to the last."""
    from fgd_yolo import FGDTrainer
    from training import quick_config

    return FGDTrainer.with_teacher(
        teacher=teacher_pt,
        config=quick_config({"schedule.warmup_epochs": 0, "schedule.decay_start": 1.0, "schedule.decay_end": 1.0}),
    )


@pytest.fixture
def log():
    """Messages of Ultralytics' logger during a test."""
    from ultralytics.utils import LOGGER

    messages, handler = [], logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    LOGGER.addHandler(handler)
    yield messages
    LOGGER.removeHandler(handler)


@pytest.fixture(scope="session")
def shell(tmp_path_factory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="session")
def first_run(shell) -> subprocess.CompletedProcess:
    """A run whose teacher is fine-tuned first."""
    teacher = ["--teacher", shell.wide, "--teacher-epochs", TEACHER_EPOCHS]
    return shell.run(shell.job(*teacher, "name=first"))


@pytest.fixture(scope="session")
def trained_teacher(shell, first_run) -> Path:
    """The teacher that the first run trained."""
    return next((shell.folder / "cache/teachers").glob("*.pt"))


@pytest.fixture
def weights(teacher_pt, tmp_path):
    """The teacher alone in a folder, so that tests see every file that an export leaves there."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.pt").write_bytes(teacher_pt.read_bytes())
    return folder / "model.pt"
