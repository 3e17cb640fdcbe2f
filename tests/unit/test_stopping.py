"""Commands stop cleanly on Ctrl-C, SIGTERM and a closed terminal, however they were started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from fgd_yolo.console import guarded
from onnx_files import save_detector
from signals import STOP_SIGNALS, default_signals, ignoring

pytestmark = pytest.mark.slow

PARTLY = """
import signal, sys, time
from pathlib import Path
from fgd_yolo.console import guarded
from fgd_yolo.files import atomic_path

def work():
    try:
        with atomic_path(Path("result.txt")) as partial:
            partial.write_text("half")
            print("working", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; resume with: work") from None

sys.exit(guarded(work))
"""
TIDYING = """
import sys, time
from pathlib import Path
from fgd_yolo.console import guarded

def work():
    Path("half").touch()
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        print("tidying", flush=True)
        time.sleep(0.5)
        Path("half").unlink()

sys.exit(guarded(work))
"""
PATIENT = "from fgd_yolo import stopping\nstopping._ONE_REQUEST_S = 0.2\n"
FORKED = """
import os, sys, time
from fgd_yolo.console import guarded

def work():
    child = os.fork()
    if not child:
        print("working", flush=True)
        time.sleep(60)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

print(guarded(work))
"""
LOADING = """
import sys, time
import torch
from torch.utils.data import DataLoader, Dataset
from fgd_yolo.console import guarded

class Numbers(Dataset):
    def __len__(self):
        return 1_000_000

    def __getitem__(self, index):
        time.sleep(0.001)
        return index

def work():
    try:
        for number, _ in enumerate(DataLoader(Numbers(), batch_size=4, num_workers=2)):
            if number == 3:
                print("working", flush=True)
    except KeyboardInterrupt:
        time.sleep(0.5)
        raise KeyboardInterrupt("stopped; resume with: work") from None

sys.exit(guarded(work))
"""

MODULES = """
import sys, time
from fgd_yolo.cli.main import main

class Slow:
    def find_spec(self, name, path, target=None):
        if name == "onnxruntime":
            print("working", flush=True)
            time.sleep(2)

sys.meta_path.insert(0, Slow())
sys.exit(main(sys.argv[1:]))
"""

TURNED = """
import sys, time
from fgd_yolo.console import guarded

def work():
    try:
        print("working", flush=True)
        time.sleep(60)
    except KeyboardInterrupt as stop:
        raise ImportError("initialization failed") from stop

sys.exit(guarded(work))
"""

# A module written in C++ turns the interrupt into an ImportError, and many libraries continue without the module.
OPTIONAL = """
import sys, time
from fgd_yolo.console import guarded

class Fragile:
    def find_spec(self, name, path, target=None):
        if name == "optional":
            print("working", flush=True)
            try:
                time.sleep(2)
            except KeyboardInterrupt:
                raise ImportError("initialization failed") from None

def work():
    try:
        import optional
    except ImportError:
        pass
    time.sleep(60)

sys.meta_path.insert(0, Fragile())
sys.exit(guarded(work))
"""

# Python prints exceptions of finalizers and continues.
FINALIZER = """
import sys, time
from fgd_yolo.console import guarded

class Slow:
    def __del__(self):
        print("working", flush=True)
        time.sleep(2)

def work():
    Slow()
    time.sleep(60)

sys.exit(guarded(work))
"""


def start(code: str, prepare=default_signals, words: Sequence[str] = (), **options) -> subprocess.Popen:
    """Start a program in its own session and wait for its first line."""
    command = [sys.executable, "-c", code, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, preexec_fn=prepare, start_new_session=True, **pipes, **options)
    assert process.stdout.readline() == "working\n", process.communicate()[1]
    return process


def test_a_stop_that_a_library_turns_into_another_error_is_still_a_stop():
    # Not in this process: OpenVINO may have left it an alternate signal stack that is gone.
    process = start(TURNED)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "stopped before anything was written\n")


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_while_the_modules_of_a_command_are_loaded_is_one_line(number):
    Path("images").mkdir()
    cv2.imwrite("images/0.png", np.full((2000, 2000, 3), 90, np.uint8))
    for copy in range(1, 3000):
        Path(f"images/{copy}.png").hardlink_to("images/0.png")
    process = start(MODULES, words=["predict", "--model", str(save_detector(Path("best.onnx"))), "--source", "images"])
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("stopped") and "Traceback" not in err


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_during_the_import_of_an_optional_module_is_not_lost(number):
    process = start(OPTIONAL)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "stopped before anything was written\n")


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_within_a_finalizer_is_not_lost(number):
    process = start(FINALIZER)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "stopped before anything was written\n")


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_each_of_the_three_signals_ends_in_one_line_and_leaves_no_half_files(number):
    process = start(PARTLY)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "stopped; resume with: work\n")
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("ignored", [(signal.SIGINT,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGHUP)])
def test_signals_ignored_at_the_start_stay_ignored_and_sigterm_still_stops(ignored):
    process = start(PARTLY, ignoring(*ignored))
    for number in ignored:
        process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "stopped; resume with: work\n")
    assert not list(Path.cwd().iterdir())


def test_a_background_job_of_a_shell_that_ignores_ctrl_c_stops_on_sigterm():
    Path("work.py").write_text(PARTLY)
    Path("out").touch()
    line = f"trap '' INT; nohup {sys.executable} work.py >out 2>err & echo $!; wait $!; echo $?"
    shell = subprocess.Popen(["bash", "-c", line], stdout=subprocess.PIPE, text=True, preexec_fn=default_signals)
    pid = int(shell.stdout.readline())
    while "working" not in Path("out").read_text():
        assert shell.poll() is None
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    assert shell.communicate(timeout=30)[0] == "1\n"
    assert Path("err").read_text().splitlines()[-1] == "stopped; resume with: work"


@pytest.mark.parametrize("again", STOP_SIGNALS)
def test_a_second_signal_does_not_interrupt_the_clean_up(again):
    process = start(TIDYING)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "tidying\n"
    process.send_signal(again)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "stopped before anything was written\n")
    assert not Path("half").exists()


def test_a_clean_up_that_hangs_can_be_stopped_by_a_later_signal():
    process = start(TIDYING.replace("time.sleep(0.5)", "time.sleep(600)").replace("import sys", PATIENT + "import sys"))
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "tidying\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 1


def test_a_closed_terminal_stops_a_command_cleanly():
    leader, follower = os.openpty()
    code = PARTLY.replace('print("working", flush=True)', 'Path("working").touch()')
    ends = {"stdin": follower, "stdout": follower, "stderr": follower}

    def in_a_terminal():
        import fcntl
        import termios

        default_signals()
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen([sys.executable, "-c", code], preexec_fn=in_a_terminal, **ends)
    os.close(follower)
    while not Path("working").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.close(leader)
    assert process.wait(30) in (1, 120)  # 120: the interpreter's own, where its output cannot be flushed
    assert [path.name for path in Path.cwd().iterdir()] == ["working"]


def test_a_forked_process_has_the_default_signal_behaviour():
    process = subprocess.Popen(
        [sys.executable, "-c", FORKED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=default_signals,
    )  # fmt: skip
    assert process.stdout.readline() == "working\n"
    [child] = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    os.kill(child, signal.SIGTERM)
    assert process.communicate(timeout=30) == (f"{-signal.SIGTERM}\n0\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_a_command_and_the_workers_of_its_loader_is_one_request(number):
    process = start(LOADING, env={**os.environ, "OMP_NUM_THREADS": "1"})
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    # The workers report their own end to the same file, also in the middle of a line of their report.
    assert err.count("stopped; resume with: work\n") == 1, err


@pytest.fixture
def handlers():
    """Handlers of this process that do nothing, by signal."""
    own = {number: lambda *_: None for number in (*STOP_SIGNALS, signal.SIGCHLD)}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield own
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_previous_handlers_are_restored(handlers, capsys):
    def stopped():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
        pytest.fail("the function continued after the signal")

    assert guarded(stopped) == 1
    assert capsys.readouterr().err == "stopped before anything was written\n"
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_a_command_runs_in_any_thread():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(guarded(lambda: None)))
    thread.start()
    thread.join()
    assert codes == [0]
