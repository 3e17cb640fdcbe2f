"""Compare methods: make the missing runs, save each as it finishes, and write the report."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fgd_yolo.compare import report
from fgd_yolo.compare.comparability import check_comparable, find_difference
from fgd_yolo.compare.finished_runs import finished_run_jobs
from fgd_yolo.compare.jobs import JOB, LOG, RESULT, Job, plan_jobs, prepare_data, read_job, read_result, teacher_columns
from fgd_yolo.compare.object_sizes import measure_accuracy
from fgd_yolo.compare.options import ComparisonOptions
from fgd_yolo.compare.paired_differences import NO_PAIR, NOTHING_SHOWN, ONE_PAIR
from fgd_yolo.compare.results import RUNS, Run, copy_curve, read_context, read_runs, write_context, write_runs
from fgd_yolo.compare.run_process import EndedProcess, RunProcesses, failure_reason
from fgd_yolo.compare.tables import accuracy_columns
from fgd_yolo.console import display_path, format_duration, print_status, progress
from fgd_yolo.datasets import read_dataset
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.files import remove_leftovers
from fgd_yolo.locking import FolderLock
from fgd_yolo.runtime.threads import machine_name
from fgd_yolo.text import counted, printable, shortened
from fgd_yolo.training.preflight import check_teacher_map
from fgd_yolo.training.teachers.other_tasks import Labels
from fgd_yolo.ultralytics_log import readable_log


@readable_log()
def compare(options: ComparisonOptions, command: str) -> None:
    """Make or measure the runs of a comparison and write its report. Finished runs are kept.

    Args:
        options: options of the comparison.
        command: command line, for the report.

    Raises:
        UsageError: the output folder holds runs with another budget.
        FGDError: models or data cannot be used, or runs failed; all other runs are in the report.
        KeyboardInterrupt: stopped by the user; finished runs are kept.
    """
    output = options.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FGDError(f"cannot create the folder {output}: {error.strerror}; choose another --project") from error
    with FolderLock(output) as lock:
        remove_leftovers(output, recursive=True)
        runs = read_runs(output / RUNS)
        check_comparable(runs, RUNS)
        jobs = [*plan_jobs(options, prepare_data(options)), *finished_run_jobs(options.runs, output)]
        _check_output(jobs, runs, output)
        save_context(output, jobs, command)
        finished = {run.key for run in runs}
        remaining = [job for job in jobs if job.planned.key not in finished]
        print_status(f"{len(jobs)} runs: {len(jobs) - len(remaining)} finished, {len(remaining)} to make")
        try:
            failures = _make_runs(remaining, options.jobs, lock)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; finished runs are kept, and the same command resumes") from None
        _write_report(output)
    if failures:
        raise FGDError(f"{len(failures)} of {len(jobs)} runs failed, the same command retries them: {failures[0]}")


def rewrite_report(output: Path) -> None:
    """Write the report of a folder again.

    Raises:
        FGDError: it has no runs, or runs that cannot be compared.
    """
    runs = read_runs(output / RUNS)
    if not runs:
        raise FGDError(f"{output / RUNS} has no finished run: --report needs the folder of a comparison")
    check_comparable(runs, RUNS)
    _write_report(output)


def save_context(output: Path, jobs: Sequence[Job], command: str) -> None:
    """Add command, machine and the accuracy of each teacher to `compare.json`.

    Args:
        output: folder of the comparison.
        jobs: all runs of the command.
        command: command line.

    Raises:
        FGDError: a teacher is below the minimum accuracy of a method. A run would refuse it too, but only after the
            preceding runs.
    """
    context = read_context(output)
    for key, value in (("commands", without_folders(command)), ("machines", describe_machine())):
        if value not in context[key]:
            context[key].append(value)
    measured = context["teachers"]
    for job in jobs:
        known = {row["key"]: row for row in measured.get(job.planned.data, [])}
        rows = [known.get(_teacher_key(job, file)) or _teacher_row(job, file) for file in job.teachers]
        if rows:  # methods may show their teachers images of another size
            measured[job.planned.data] = list({**known, **{row["key"]: row for row in rows}}.values())
    write_context(output, context)
    for job in jobs:
        keys = [_teacher_key(job, file) for file in job.teachers] if job.method.distils else []
        rows = [row for row in measured.get(job.planned.data, []) if row["key"] in keys]
        for row in rows:
            # That of the boxes for a teacher of another task; some can not be measured at all.
            measured_map = row["box_map50_95"] if row["map50_95"] is None else row["map50_95"]
            if measured_map is not None:
                label = f"the teacher {row['name']}" if len(rows) > 1 else "the teacher"
                check_teacher_map(measured_map, job.method.config.checks.min_teacher_map, label)


def _teacher_key(job: Job, file: str) -> str:
    imgsz = _teacher_imgsz(job)
    # Methods with other labels are measured on the same val images.
    data = job.planned.data_digest if job.planned.label_fraction == 1 else job.planned.val_digest
    return f"{teacher_columns([file])['teacher_digest']} {data}{f' {imgsz} px' if imgsz else ''}"


def _teacher_imgsz(job: Job) -> int:
    """Return the size of the images that a method shows its teachers; 0 for that of the student."""
    return job.method.config.teacher_imgsz if job.method.config else 0


def _teacher_row(job: Job, file: str) -> dict[str, Any]:
    """Measure a teacher on the data of a run."""
    dataset = read_dataset(job.data, recorded=True)
    names = {0: "item"} if job.train.get("single_cls") else dataset.names
    labels = Labels.of_data(job.planned.task, dataset.info)
    class_map = job.method.config.map if job.method.config else None
    imgsz = _teacher_imgsz(job)
    train = {**job.train, "imgsz": imgsz} if imgsz else job.train
    accuracy = measure_accuracy(Path(file), job.data, train, names, labels, class_map)
    name = f"{Path(file).name} at {imgsz} px" if imgsz else Path(file).name
    if job.planned.label_fraction < 1:
        name = f"{name} of seed {job.planned.seed}"
    return {"key": _teacher_key(job, file), "name": name, **accuracy}


def describe_machine() -> str:
    """Return CPU, operating system and Python version of this machine."""
    return f"{machine_name()}, {platform.system()}, Python {platform.python_version()}"


def without_folders(command: str) -> str:
    """Return a command line with absolute paths reduced to file names, for a report that others read."""
    words = []
    for word in shlex.split(command):
        key, equals, value = word.rpartition("=")
        parts = value.split(",/")  # several teachers
        if value.startswith("/"):
            value = ",".join(Path(part).name for part in parts)
        words.append(f"{key}{equals}{value}")
    return shlex.join(words)


def _check_output(jobs: Sequence[Job], runs: Sequence[Run], output: Path) -> None:
    """Check before the first run that the finished and started runs in the folder are comparable with the jobs."""
    keys = [job.planned.key for job in jobs]
    for index, job in enumerate(jobs):
        if job.planned.key in keys[:index]:
            raise UsageError(f"{job.planned.name} given more than once: leave out one of the runs")
        difference = find_difference(job.planned, [*runs, *_started_run(job)])
        if difference:
            raise UsageError(f"{output} has runs of another comparison: {difference}; choose another --name")


def _started_run(job: Job) -> list[Run]:
    """Return the run that was started in a job's folder, if it has a checkpoint; otherwise the run starts again."""
    files = (job.folder / RESULT, job.run_folder / "weights" / "last.pt")
    return [read_job(job.folder).planned] if (job.folder / JOB).is_file() and any(map(Path.is_file, files)) else []


def _make_runs(jobs: Sequence[Job], parallel: int, lock: FolderLock) -> list[str]:
    """Make runs, save each as it finishes, and return the reasons of failures."""
    output = lock.folder
    measured = {id(job) for job in jobs if read_result(job)}  # stopped between writing run.json and runs.csv
    failures = [_save(job, output) for job in jobs if id(job) in measured]
    jobs = [job for job in jobs if id(job) not in measured]
    if not jobs:
        return [failure for failure in failures if failure]
    seconds: list[float] = []
    with RunProcesses(jobs, parallel) as processes:
        for ended in progress(processes, "runs"):
            lock.check()
            failures.append(_save(ended.job, output) if ended.exit_code == 0 else _report_failure(ended))
            seconds.append(ended.seconds)
            remaining = len(jobs) - len(seconds)
            if remaining:
                left = format_duration(sum(seconds) / len(seconds) * remaining / min(parallel, remaining))
                print_status(f"{len(seconds)} of {len(jobs)} runs have ended, about {left} left")
    return [failure for failure in failures if failure]


def _report_failure(ended: EndedProcess) -> str:
    reason = shortened(failure_reason(ended).removeprefix("error: "), 220)
    print_status(f"!! {ended.job.planned.name} failed; its log is {display_path(ended.job.folder / LOG)}")
    return reason


def _save(job: Job, output: Path) -> str | None:
    """Add a finished run to `runs.csv`, or return why it cannot be compared with the others."""
    run, runs = read_result(job), read_runs(output / RUNS)
    difference = find_difference(run, runs)
    if difference:
        problem = f"not comparable: {difference} (to make it again, remove {display_path(job.folder)})"
        print_status(f"!! {problem}")
        return problem
    copy_curve(output, run, job.run_folder / "results.csv")
    write_runs(output / RUNS, [*runs, run])
    epochs = counted(run.epochs, "epoch")
    accuracy = ", ".join(f"{name} {getattr(run, column):.3f}" for name, column in accuracy_columns(run.task).items())
    print_status(f"finished {run.name}: {accuracy}, {epochs}")
    try:
        report.write_report(output)
    except Exception as error:  # must not stop the other runs; the report is written again at the end
        print_status(f"!! the report cannot be written: {one_line(error)}")
    return None


# What to do about a conclusion; the first one that a verdict has is printed.
_ADVICE = {
    NO_PAIR: "runs of both methods with the same data and seed are needed for a difference",
    ONE_PAIR: "one seed proves nothing: the same command with --seeds 3 makes two further pairs",
    NOTHING_SHOWN: "more seeds narrow the interval: the same command with a larger --seeds adds the missing runs",
}


def _write_report(output: Path) -> None:
    verdicts = report.write_report(output)
    conclusions = {conclusion for _, conclusion in verdicts}
    print("", *(printable(line) for line, _ in verdicts), "", "files", sep="\n")
    for name, file in (("report", report.PAGE), ("text", report.MARKDOWN), ("runs", RUNS)):
        print(f"  {name:9}{printable(display_path(output.absolute() / file))}")
    advice = next((text for conclusion, text in _ADVICE.items() if conclusion in conclusions), None)
    if advice:
        print(f"\nnext: {advice}")
    sys.stdout.flush()
