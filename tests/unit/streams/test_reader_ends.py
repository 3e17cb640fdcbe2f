"""How a reader ends: with its file, when it is stopped, and with the process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from fgd_yolo.streams.sources import SourceEnded, SourceLost
from stream_bench import ReaderBench
from tests.cameras.pytest_helpers import until


def test_a_file_is_read_once_to_its_end_and_a_loss_is_its_end(bench):
    whole = bench([1, 2, SourceEnded()], address="clip.mp4")
    broken = bench([1, SourceLost("it is damaged")], address="clip.mp4")
    missing = bench(SourceLost("no such file"), address="clip.mp4")
    for one in (whole, broken, missing):
        assert until(lambda one=one: one.stats.state == "ENDED")
        assert one.reader.join(1) and len(one.sources) <= 1
    assert (whole.stats.reason, broken.stats.reason, missing.stats.reason) == ("", "it is damaged", "no such file")
    assert whole.seen() == [1, 2]
    assert whole.states == ["UP", "ENDED"]


def test_a_slow_file_is_never_given_up(bench, hang):
    one = bench([1, hang, SourceEnded()], address="clip.mp4", stall_s=0.1)
    assert until(lambda: len(one.frames) == 1)
    time.sleep(0.5)
    hang.set()
    assert until(lambda: one.stats.state == "ENDED")
    assert one.seen() == [1, 99]


def test_stop_returns_at_once_while_the_camera_hangs_and_nothing_comes_after(bench, hang):
    one = bench([1, hang, 2, 3])
    assert until(lambda: len(one.frames) == 1)
    one.reader.stop()
    assert one.reader.join(1)
    assert (one.stats.state, one.stats.reason) == ("ENDED", "stopped")
    hang.set()
    assert until(lambda: one.reader.reading_threads == 0)
    assert one.seen() == [1]


def test_stop_ends_a_long_wait_between_attempts(bench):
    one = bench(SourceLost("gone"), backoff=(100, 100))
    assert until(lambda: one.stats.state == "DOWN")
    one.reader.stop()
    assert one.reader.join(1)


def test_stop_may_be_called_with_a_lock_held_that_the_state_needs(bench, hang):
    lock = threading.RLock()
    one = ReaderBench([1, hang])

    def state_changed():
        with lock:
            one.states.append(one.stats.state)

    one.stats._on_state = state_changed
    one.reader.start()
    assert until(lambda: one.stats.state == "UP")
    with lock:
        one.reader.stop()
    assert one.reader.join(1)


AT_EXIT = """
import threading, time
from fgd_yolo.streams.reader import Connection
from fgd_yolo.streams.sources import SourceLost

def read():
    time.sleep(0.5)
    print("returned", flush=True)
    raise SourceLost("gone")

Connection("cam", read, print, print, 10, threading.Condition()).start()
"""


def test_a_process_that_ends_waits_for_a_read_that_is_about_to_return():
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "returned\n", "")
