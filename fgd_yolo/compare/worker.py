"""The process that makes one run: `python -m fgd_yolo.compare.worker FOLDER`."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import sys
import threading
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ultralytics.models.yolo.detect import DetectionTrainer

from fgd_yolo import __version__
from fgd_yolo.compare.batch_record import PROVED_EPOCHS, batches_digest, read_record, recorded
from fgd_yolo.compare.comparability import WORDS
from fgd_yolo.compare.curves import SHARE, read_results
from fgd_yolo.compare.job import Job, read_job, write_result
from fgd_yolo.compare.job_plan import content_key
from fgd_yolo.compare.object_sizes import accuracy
from fgd_yolo.compare.results_csv import Run
from fgd_yolo.console import guarded, print_status
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.locking import FolderLock
from fgd_yolo.training.checkpoints import restore
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.training_stages import train_stage

WORKER_LOCK = ".worker.lock"  # the trainer has one of its own in the same folder


def make(job: Job) -> Run:
    """Train a job's run, or go on with it, and measure its last epoch."""
    _check_keys(job)
    if job.student is not None:
        _drop_what_cannot_go_on(job)
        trainer, train = _trainer(job)
        train_stage(job.student, recorded(trainer), job.data, job.folder, train)
    last = job.folder / "weights" / "last.pt"
    return job.planned.with_values(**accuracy(last, job.data, job.train), **_facts(job))


def _check_keys(job: Job) -> None:
    """Stop where models or data are not those that the run was planned with, which may be days ago.

    Raises:
        FGDError: names what differs.
    """
    found = {"data_key": scan_dataset(job.data, job.train, recorded=True).scan.digest}
    if job.teacher is not None:
        found["teacher_key"] = content_key(Path(job.teacher))
    if job.student is not None:
        found["student_key"] = resolve(job.student, "student").digest
    planned = {name: getattr(job.planned, name) for name in found}
    changed = [WORDS[name] for name, key in found.items() if planned[name] and key[:16] != planned[name]]
    if changed:
        raise FGDError(f"{' and '.join(changed)} changed since the run was planned: start the comparison again")


def _trainer(job: Job) -> tuple[type, dict[str, Any]]:
    """The trainer class of a method, and its train arguments."""
    train = {**job.train, **job.method.gains}
    if job.method.config is None:
        return DetectionTrainer, {**train, "distill_model": job.teacher}
    return FGDTrainer.configured(job.teacher, replace(job.method.config, plot_every=0)), train


def _drop_what_cannot_go_on(job: Job) -> None:
    """Remove a begun training that cannot be continued: without its record, or with a damaged checkpoint."""
    weights = job.folder / "weights"
    try:
        last = restore(weights)
    except FGDError as error:
        print_status(f"begun again: {error}")
    else:
        done = len(read_record(job.folder)["epochs"]) if last else 0
        if last is None or batches_digest(read_record(job.folder), job.planned.epochs or PROVED_EPOCHS):
            return
        print_status(f"begun again: it was stopped after {done} epochs, too early to prove the order of its images")
    shutil.rmtree(weights, ignore_errors=True)
    for name in ("results.csv", "record.json"):
        (job.folder / name).unlink(missing_ok=True)


def _facts(job: Job) -> dict[str, Any]:
    """What the training wrote down, as columns of a run."""
    record, rows = read_record(job.folder), read_results(job.folder / "results.csv")
    seconds = [epoch["train_s"] for epoch in record["epochs"].values()]
    shares = [row[SHARE] for row in rows if SHARE in row]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "ultralytics"))
    return {
        "epochs": int(max((row["epoch"] for row in rows), default=0)),
        "epoch_s": statistics.median(seconds) if seconds else None,
        "share": statistics.median(shares) if shares else None,
        "order": batches_digest(record, job.planned.epochs or PROVED_EPOCHS),
        "continued": [epoch for epoch in record["starts"] if epoch],
        "versions": f"fgd_yolo {__version__}, {packages}",
        **{key: record[key] for key in ("init", "optimizer", "lr0", "device", "device_type") if key in record},
    }


def _stop_with_the_parent() -> None:
    """End this process and its children as soon as whoever started it is gone, however that ended."""
    os.read(0, 1)  # not sys.stdin, whose lock a thread that waits would take into the interpreter's end
    os.killpg(0, signal.SIGKILL)


def main(place: Path) -> int:
    """Make the run of a folder and return the exit code."""
    threading.Thread(target=_stop_with_the_parent, daemon=True).start()
    job = read_job(place)
    return guarded(lambda: _make_alone(job), debug=True)


def _make_alone(job: Job) -> None:
    with FolderLock(job.place, WORKER_LOCK):
        try:
            write_result(job, make(job))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same comparison resumes from the last checkpoint") from None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
