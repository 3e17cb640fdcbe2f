"""Start one process for each device of this machine, which train together."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fgd_yolo.console import guarded
from fgd_yolo.errors import FGDError

_REASON = "reason"  # file in which the agent says why a process has ended
_END_S = 60.0  # that the processes have to end after a stop; torchrun kills them after 30


def launch(task: Callable[[], None], processes: int) -> None:
    """Run a task in several processes of this machine that `torchrun` starts, and wait for their end.

    torchrun chooses a free port, tells each process its rank, and ends all of them if one fails or this process ends.

    Args:
        task: function to run in each process; pickled, with what it refers to.
        processes: their number.

    Raises:
        FGDError: a process failed, which has printed why, or was killed.
    """
    import cloudpickle  # the trainer is a class made at run time, and callbacks may be local functions

    with TemporaryDirectory(prefix="fgd_yolo-ranks-") as folder:
        file = Path(folder) / "task"
        file.write_bytes(cloudpickle.dumps(task))
        words = ["--standalone", f"--nproc-per-node={processes}", "--no-python"]
        words += [sys.executable, "-c", _code("run_task", file)]
        agent = subprocess.Popen([sys.executable, "-c", _code("run_agent", Path(folder) / _REASON), *words])
        with _ended(agent):
            code = agent.wait()
        if code:
            reason = Path(folder) / _REASON
            what = reason.read_text(encoding="utf-8") if reason.exists() else f"torchrun ended with exit code {code}"
            raise FGDError(f"the training on {processes} devices failed: {what}")


def run_task(file: str) -> int:
    """Run a pickled task in one of the processes, and return its exit code; an error is one line."""
    import cloudpickle

    def run() -> None:
        try:
            cloudpickle.loads(Path(file).read_bytes())()
        except KeyboardInterrupt as stop:  # the process that started this one says so
            raise SystemExit(FGDError.exit_code) from stop

    _end_with_parent()
    return guarded(run)


def run_agent(reason: str) -> int:
    """Run torchrun with the arguments of this process, and return its exit code.

    Args:
        reason: file to write, with why a process has ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    _end_with_parent()
    logging.disable(logging.ERROR)  # torchrun reports a failure on thirty lines
    try:
        run(parse_args(sys.argv[1:]))
        return 0
    except SignalException as stop:
        return 128 + stop.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        signal = failure.exitcode < 0
        ended = f"was ended by {failure.signal_name()}" if signal else "ended with an error, which is printed above"
        Path(reason).write_text(f"rank {rank} (process {failure.pid}) {ended}", encoding="utf-8")
        return FGDError.exit_code


def _code(function: str, argument: Path) -> str:
    """Return Python code that calls a function of this module, where modules are found as in this process."""
    return (
        f"import sys; sys.path[:] = {sys.path!r}; from fgd_yolo.distributed import launch; "
        f"sys.exit(launch.{function}({str(argument)!r}))"
    )


@contextmanager
def _ended(process: subprocess.Popen) -> Iterator[None]:
    """End a process with the block, if an exception leaves it."""
    try:
        yield
    except BaseException:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def _end_with_parent() -> None:
    """End this process soon after the one that started it, which may be killed and then stops nothing."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(FGDError.exit_code)

    threading.Thread(target=watch, name="parent", daemon=True).start()
