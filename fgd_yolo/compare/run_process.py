"""One process per run: the pool that starts the worker processes, and the worker itself.

`python -m fgd_yolo.compare.run_process FOLDER` makes the run of `FOLDER/job.json`. No worker outlives the pool.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from fgd_yolo import __version__
from fgd_yolo.compare.comparability import COLUMN_DESCRIPTIONS
from fgd_yolo.compare.jobs import LOG, Job, read_job, teacher_columns, write_job, write_result
from fgd_yolo.compare.object_sizes import measure_accuracy
from fgd_yolo.compare.results import GRADIENT_RATIO, Run, read_curve
from fgd_yolo.compare.training_record import DIGEST_EPOCHS, RECORD, batches_digest, read_record, with_record
from fgd_yolo.console import guarded, print_status
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.locking import FolderLock
from fgd_yolo.training.checkpoints import restore
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.training_stages import train_stage

WORKER_LOCK = ".worker.lock"  # the trainer has a lock of its own in the same folder
_POLL_S = 0.2
_TERMINATE_S = 10.0
_OFFLINE = {"YOLO_OFFLINE": "true"}  # all files are local; Ultralytics must not try to download any


class EndedProcess(NamedTuple):
    """A worker process that has ended."""

    job: Job
    exit_code: int
    seconds: float


class RunProcesses:
    """Run jobs in worker processes. Iteration yields each process as it ends; leaving the block stops the others.

    Args:
        jobs: runs to make, in this order.
        parallel: maximum number of processes at a time.
    """

    def __init__(self, jobs: Sequence[Job], parallel: int):
        self.jobs, self.parallel = jobs, parallel
        self._running: dict[subprocess.Popen, tuple[Job, float]] = {}

    def __enter__(self) -> RunProcesses:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[EndedProcess]:
        waiting = deque(self.jobs)
        while waiting or self._running:
            while waiting and len(self._running) < self.parallel:
                self._start(waiting.popleft())
            ended = [process for process in self._running if process.poll() is not None]
            for process in ended:
                job, started = self._running.pop(process)
                process.stdin.close()
                yield EndedProcess(job, process.returncode, time.monotonic() - started)
            if not ended:
                time.sleep(_POLL_S)

    def _start(self, job: Job) -> None:
        write_job(job)
        print_status(f"started {job.planned.name}")
        with (job.folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fgd_yolo.compare.run_process", str(job.folder)],
                stdin=subprocess.PIPE,  # closed when this process ends, which stops the worker
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only this process, which then stops the workers
                env={**os.environ, **_OFFLINE},
            )
        self._running[process] = (job, time.monotonic())

    def stop(self) -> None:
        """Stop all running workers and their data loaders."""
        for process in self._running:
            _send_signal(process, signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(_TERMINATE_S)
            except subprocess.TimeoutExpired:
                _send_signal(process, signal.SIGKILL)
                process.wait()
            process.stdin.close()
        self._running.clear()


def _send_signal(process: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def failure_reason(ended: EndedProcess) -> str:
    """Return the reason of a failure: the signal that killed the process, or the last line of its log."""
    if ended.exit_code < 0:
        return f"killed by {signal.Signals(-ended.exit_code).name}, perhaps because memory ran out"
    lines = (ended.job.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


def make_run(job: Job) -> Run:
    """Train or resume the run of a job, and measure its last epoch."""
    _check_inputs(job)
    if job.student is not None:
        _remove_unresumable(job)
        trainer, train = _trainer(job)
        train_stage(job.student, with_record(trainer), job.data, job.run_folder, train)
    last = job.run_folder / "weights" / "last.pt"
    return job.planned.with_values(**measure_accuracy(last, job.data, job.train), **_training_values(job))


def _check_inputs(job: Job) -> None:
    """Check that models and data have not changed since the run was planned, which may be days ago.

    Raises:
        FGDError: an input has changed.
    """
    current = {"data_digest": scan_dataset(job.data, job.train, recorded=True).scan.digest[:16]}
    if job.teachers:
        current["teacher_digest"] = teacher_columns(job.teachers)["teacher_digest"]
    if job.student is not None:
        current["student_digest"] = resolve(job.student, "student").digest[:16]
    planned = {name: getattr(job.planned, name) for name in current}
    changed = [name for name, digest in current.items() if planned[name] and digest != planned[name]]
    if changed:
        names = " and ".join(COLUMN_DESCRIPTIONS[name] for name in changed)
        raise FGDError(f"{names} changed since the run was planned: start the comparison again")


def _trainer(job: Job) -> tuple[type, dict[str, Any]]:
    """Return the trainer class of a method, and its train arguments."""
    train = {**job.train, **job.method.gains}
    if job.method.config is None:
        return job.planned.task.trainer, {**train, "distill_model": job.teachers[0]}
    config = job.method.config.replace(pictures_every=0)
    teachers = job.teachers if config.active else ()  # one that has labelled the images is not needed any more
    return FGDTrainer.with_teacher(teachers, config, unlabeled=job.unlabeled), train


def _remove_unresumable(job: Job) -> None:
    """Remove a stopped training that cannot be resumed, because its record is incomplete or its checkpoint damaged."""
    weights = job.run_folder / "weights"
    try:
        last = restore(weights)
    except FGDError as error:
        print_status(f"starting again: {error}")
    else:
        record = read_record(job.run_folder)
        if last is None or batches_digest(record, job.planned.epochs or DIGEST_EPOCHS):
            return
        epochs = len(record["epochs"])
        print_status(f"starting again: stopped after {epochs} epochs, too few for the digest of its batches")
    shutil.rmtree(weights, ignore_errors=True)
    for name in ("results.csv", RECORD):
        (job.run_folder / name).unlink(missing_ok=True)


def _training_values(job: Job) -> dict[str, Any]:
    """Return the recorded values of a training, as columns of a run."""
    record, rows = read_record(job.run_folder), read_curve(job.run_folder / "results.csv")
    seconds = [epoch["train_s"] for epoch in record["epochs"].values()]
    images = [epoch["images"] for epoch in record["epochs"].values() if "images" in epoch]
    ratios = [row[GRADIENT_RATIO] for row in rows if GRADIENT_RATIO in row]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "ultralytics"))
    return {
        "epochs": int(max((row["epoch"] for row in rows), default=0)),
        "epoch_s": statistics.median(seconds) if seconds else None,
        "gradient_ratio": statistics.median(ratios) if ratios else None,
        "epoch_images": min(images, default=None),
        "batches_digest": batches_digest(record, job.planned.epochs or DIGEST_EPOCHS),
        "resumed": [epoch for epoch in record["starts"] if epoch],
        "versions": f"fgd_yolo {__version__}, {packages}",
        **{key: record[key] for key in ("init_digest", "optimizer", "lr0", "device", "device_type") if key in record},
    }


def _stop_with_parent() -> None:
    """Kill this process and its children as soon as the parent process ends for any reason."""
    os.read(0, 1)  # not sys.stdin, whose lock this thread would hold when the interpreter exits
    os.killpg(0, signal.SIGKILL)


def main(folder: Path) -> int:
    """Make the run of a job's folder and return the exit code."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    job = read_job(folder)
    return guarded(lambda: _make_locked(job), debug=True)


def _make_locked(job: Job) -> None:
    with FolderLock(job.folder, WORKER_LOCK):
        try:
            write_result(job, make_run(job))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same comparison resumes from the last checkpoint") from None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
