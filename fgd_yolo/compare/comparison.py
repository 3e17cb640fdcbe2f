"""The whole comparison: what is left to make is made, every finished run is kept at once, the report follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.compare import report
from fgd_yolo.compare.comparability import check_all, refusal
from fgd_yolo.compare.context import note
from fgd_yolo.compare.curves import keep_curve
from fgd_yolo.compare.finished_runs import taken_jobs
from fgd_yolo.compare.job import JOB, LOG, RESULT, Job, read_job, read_result
from fgd_yolo.compare.job_plan import jobs, settings
from fgd_yolo.compare.launch import Ended, Processes, why
from fgd_yolo.compare.options import Options
from fgd_yolo.compare.results_csv import RUNS, Run, read_runs, write_runs
from fgd_yolo.console import display_path, format_duration, print_status, progress
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.files import remove_leftovers
from fgd_yolo.locking import FolderLock
from fgd_yolo.text import printable, shortened


def compare(options: Options, command: str) -> None:
    """Make or take the runs of a comparison and write its report; finished runs are not made again.

    Args:
        options: what was asked for.
        command: the command line, for the report.

    Raises:
        UsageError: the output folder holds runs with another budget.
        FGDError: something cannot be used, or runs failed; all others are in the report.
        KeyboardInterrupt: stopped by the user; finished runs are kept.
    """
    output = options.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FGDError(f"cannot make the folder {output}: {error.strerror}; name another --output") from error
    with FolderLock(output) as lock:
        remove_leftovers(output, recursive=True)
        runs = read_runs(output / RUNS)
        check_all(runs, RUNS)
        asked = [*jobs(options, settings(options)), *taken_jobs(options.runs, output)]
        _check_output(asked, runs, output)
        note(output, asked, command)
        finished = {run.key for run in runs}
        left = [job for job in asked if job.planned.key not in finished]
        print_status(f"{len(asked)} runs: {len(asked) - len(left)} are finished, {len(left)} to make")
        try:
            failed = _make(left, options.jobs, lock)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; finished runs are kept, and the same command goes on") from None
        _report(output)
    if failed:
        raise FGDError(f"{len(failed)} of {len(asked)} runs failed, the same command tries them again: {failed[0]}")


def _check_output(asked: Sequence[Job], runs: Sequence[Run], output: Path) -> None:
    """Stop before the first run where finished or begun runs are not what is asked for."""
    keys = [job.planned.key for job in asked]
    for place, job in enumerate(asked):
        if job.planned.key in keys[:place]:
            raise UsageError(f"{job.planned.name} is asked for twice: leave out one of the runs")
        reason = refusal(job.planned, [*runs, *_begun(job)])
        if reason:
            raise UsageError(f"{output} holds runs of another comparison: {reason}; name another --output")


def _begun(job: Job) -> list[Run]:
    """The run that a job's folder holds; one that never came to a checkpoint is simply made again."""
    kept = (job.place / RESULT, job.folder / "weights" / "last.pt")
    return [read_job(job.place).planned] if (job.place / JOB).is_file() and any(map(Path.is_file, kept)) else []


def _make(left: Sequence[Job], at_once: int, lock: FolderLock) -> list[str]:
    """Make runs, take each in as it ends, and return what went wrong."""
    output = lock.folder
    failed = [_take(job, output) for job in left if read_result(job)]  # stopped between its end and its row
    left = [job for job in left if not read_result(job)]
    if not left:
        return [problem for problem in failed if problem]
    seconds: list[float] = []
    with Processes(left, at_once) as processes:
        for ended in progress(processes, "runs"):
            lock.check()
            failed.append(_take(ended.job, output) if ended.code == 0 else _failure(ended))
            seconds.append(ended.seconds)
            rest = len(left) - len(seconds)
            if rest:
                lasts = format_duration(sum(seconds) / len(seconds) * rest / min(at_once, rest))
                print_status(f"{len(seconds)} of {len(left)} runs have ended, about {lasts} left")
    return [problem for problem in failed if problem]


def _failure(ended: Ended) -> str:
    reason = shortened(why(ended).removeprefix("error: "), 220)
    print_status(f"!! {ended.job.planned.name} failed; its log is {display_path(ended.job.place / LOG)}")
    return reason


def _take(job: Job, output: Path) -> str | None:
    """Add a finished run to the file, and return why not where it cannot be compared with the others."""
    run, runs = read_result(job), read_runs(output / RUNS)
    reason = refusal(run, runs)
    if reason:
        problem = f"refused: {reason} (to make it again, remove {display_path(job.place)})"
        print_status(f"!! {problem}")
        return problem
    keep_curve(output, run, job.folder / "results.csv")
    write_runs(output / RUNS, [*runs, run])
    print_status(f"finished {run.name}: mAP50-95 {run.map50_95:.3f}, mAP50 {run.map50:.3f}, {run.epochs} epochs")
    try:
        report.write(output)
    except Exception as error:  # no reason to stop the other runs; it is written again at the end
        print_status(f"!! the report cannot be written: {one_line(error)}")
    return None


def rebuild(output: Path) -> None:
    """Write the report of a folder again.

    Raises:
        FGDError: it holds no runs, or runs that cannot be compared.
    """
    runs = read_runs(output / RUNS)
    if not runs:
        raise FGDError(f"{output / RUNS} holds no finished run: --report takes the --output of a comparison")
    check_all(runs, RUNS)
    _report(output)


def _report(output: Path) -> None:
    lines = report.write(output)
    print("", *map(printable, lines), sep="\n", flush=True)
    print_status(f"report: {display_path(output / report.PAGE)}")
