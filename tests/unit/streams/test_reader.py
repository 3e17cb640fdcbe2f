"""Sources here are scripted, since no real one hangs on demand in a unit test; the real ones are in integration."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fgd_yolo.streams import reader as reader_module
from fgd_yolo.streams.mailbox import Mailbox
from fgd_yolo.streams.policy import Policy
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.sources import BadFrame, Picture, SourceEnded, SourceLost
from fgd_yolo.streams.stats import StreamStats
from servers.running import until

QUICK = {"stall_s": 0.2, "backoff": (0.01, 0.02)}
LIVE = "rtsp://admin:hunter2@10.0.0.7/cam"


class Scripted:
    """A source that gives what its script says: a picture for a number, a hang for an event, else it raises it."""

    live, fps = True, None

    def __init__(self, script):
        self.script, self.closed_by = list(script), None

    def read(self):
        step = self.script.pop(0) if self.script else SourceLost("the script is over")
        if isinstance(step, threading.Event):
            step.wait(20)
            step = 99
        if isinstance(step, Exception):
            raise step
        now = time.monotonic()
        return Picture(np.full((4, 4, 3), step, np.uint8), now, now, float(step))

    def close(self):
        self.closed_by = threading.current_thread()


class Bench:
    """A reader on scripted sources, one script for each time that it opens; the last one again and again."""

    def __init__(self, *scripts, address=LIVE, policy="latest", **options):
        self.scripts, self.sources, self.frames, self.states, self.reasons = list(scripts), [], [], [], []
        self.stats = StreamStats("cam", self._note)
        self.mailbox = Mailbox(Policy(policy), self.stats)
        options = {**QUICK, "on_frame": self.frames.append, "open_it": self.open, **options}
        self.reader = Reader("cam", address, self.mailbox, self.stats, **options)

    def open(self, address, *, timeout_s):
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, Exception):
            raise script
        if isinstance(script, threading.Event):
            script.wait(20)
            raise SourceLost("woken")
        self.sources.append(Scripted(script))
        return self.sources[-1]

    def _note(self):
        self.states.append(self.stats.state)
        self.reasons.append(self.stats.reason)

    def seen(self):
        return [int(frame.picture[0, 0, 0]) for frame in self.frames]


@pytest.fixture
def hang():
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def bench():
    """Makes a running `Bench` and stops it at the end."""
    made = []

    def make(*scripts, **options):
        made.append(Bench(*scripts, **options))
        made[-1].reader.start()
        return made[-1]

    yield make
    for one in made:
        one.mailbox.close("stopped")
        one.reader.stop()
        assert one.reader.join(5)


def test_a_lost_camera_is_opened_again_and_the_numbers_go_on(bench, hang):
    one = bench([1, 2, SourceLost("gone")], [3, hang])
    assert until(lambda: len(one.frames) == 3)
    assert one.seen() == [1, 2, 3]
    assert [frame.index for frame in one.frames] == [0, 1, 2]
    assert [frame.pts for frame in one.frames] == [1, 2, 3]
    assert {frame.stream for frame in one.frames} == {"cam"}
    assert until(lambda: one.states[:3] == ["UP", "DOWN", "UP"])
    assert one.stats.snapshot()["reconnects"] == 1


def test_a_stream_starts_although_its_camera_is_down(bench, hang):
    one = bench(SourceLost("connection refused"), SourceLost("connection refused"), [1, hang])
    assert until(lambda: one.stats.state == "UP")
    assert one.states == ["DOWN", "DOWN", "UP"]
    assert one.stats.snapshot()["reconnects"] == 0


def test_many_attempts_make_one_line(bench, capsys):
    one = bench(SourceLost("connection refused by rtsp://admin:hunter2@10.0.0.7/cam, hunter2"))
    assert until(lambda: len(one.states) > 8)
    assert capsys.readouterr().err == "cam: DOWN, connection refused by rtsp://***@10.0.0.7/cam, ***\n"
    assert "hunter2" not in one.stats.reason


def test_single_bad_pictures_are_counted_and_forgiven(bench, hang):
    bad = BadFrame("damaged")
    one = bench([1, *[bad] * 9, 2, *[bad] * 9, 3, hang])
    assert until(lambda: len(one.frames) == 3 and one.states)
    assert one.states == ["UP"] and len(one.sources) == 1
    assert one.stats.snapshot()["dropped"]["bad frame"] == 18


def test_too_many_bad_pictures_in_a_row_mean_a_lost_camera(bench, hang):
    one = bench([1, *[BadFrame("damaged")] * 10, 2], [3, hang])
    assert until(lambda: len(one.frames) == 2)
    assert one.seen() == [1, 3]
    assert until(lambda: one.states == ["UP", "DOWN", "UP"])


def test_a_camera_that_hangs_is_down_within_the_deadline_and_replaced(bench, hang, capsys):
    one = bench([1, hang, 2], [3, threading.Event()], stall_s=0.3)
    assert until(lambda: one.stats.state == "UP")
    began = time.monotonic()
    assert until(lambda: one.stats.state == "DOWN", 0.6 + 0.3)
    assert time.monotonic() - began > 0.1
    assert until(lambda: len(one.frames) == 2)
    assert one.seen() == [1, 3]
    assert one.sources[0].closed_by is None
    assert "DOWN, no picture for 0.3 s" in capsys.readouterr().err


def test_a_reader_that_was_left_behind_closes_its_own_source_and_its_picture_is_not_used(bench, hang):
    one = bench([1, hang], [3, threading.Event()])
    assert until(lambda: len(one.frames) == 2)
    reading = one.reader.reading_threads
    hang.set()
    assert until(lambda: one.sources[0].closed_by)
    assert one.sources[0].closed_by not in (threading.main_thread(), one.reader._watcher)
    assert until(lambda: one.reader.reading_threads == reading - 1)
    assert 99 not in one.seen()


def test_a_camera_that_never_answers_is_down_but_has_time_to_open(bench, hang):
    one = bench(hang)
    assert until(lambda: one.stats.state == "DOWN")
    assert one.stats.reason == "no picture for 0.2 s"
    time.sleep(0.5)
    assert one.reader.reading_threads == 1


def test_readers_that_hang_are_few_however_long_it_lasts(bench, hang):
    one = bench([1, hang])
    assert until(lambda: "attempts hang" in one.stats.reason)
    time.sleep(0.8)
    assert one.reader.reading_threads == 3 == len(one.sources)
    hang.set()
    assert until(lambda: len(one.sources) > 3)


def test_a_full_mailbox_is_no_silence_of_the_camera(bench):
    one = bench([*range(20), threading.Event()], policy="every", stall_s=0.1)
    assert until(lambda: len(one.mailbox) >= 4 and one.states)
    time.sleep(0.4)
    assert one.states == ["UP"]
    assert one.mailbox.take().index == 0


def test_the_back_off_begins_again_only_after_a_steady_camera(bench):
    flapping = bench([1, SourceLost("gone")], backoff=(0.01, 100))
    steady = bench([*range(30), SourceLost("gone")], backoff=(0.01, 100))
    assert until(lambda: len(steady.sources) > 12)
    assert len(flapping.sources) < 10


def test_an_unexpected_error_is_a_reason_and_no_end(bench, hang):
    one = bench([1, MemoryError("no room")], [2, hang])
    assert until(lambda: len(one.frames) == 2)
    assert until(lambda: one.reasons == ["", "MemoryError: no room", ""])


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
    one = Bench([1, hang])

    def state_changed():
        with lock:
            one.states.append(one.stats.state)

    one.stats._on_state = state_changed
    one.reader.start()
    assert until(lambda: one.stats.state == "UP")
    with lock:
        one.reader.stop()
    assert one.reader.join(1)


def test_the_first_picture_may_take_longer_than_the_stall_deadline_but_not_for_ever(bench, hang, monkeypatch):
    monkeypatch.setattr(reader_module, "_FIRST_PICTURE_S", 0.5)
    one = bench(hang, [1, threading.Event()])
    assert until(lambda: one.stats.state == "UP")
    assert one.states == ["DOWN", "DOWN", "UP"]
    assert len(one.frames) == 1


AT_EXIT = """
import threading, time
from fgd_yolo.streams.connection import Connection
from fgd_yolo.streams.sources import SourceLost

def read():
    time.sleep(0.5)
    print("came out", flush=True)
    raise SourceLost("gone")

Connection("cam", read, print, print, 10, threading.Condition()).start()
"""


def test_a_process_that_ends_waits_for_a_read_that_is_about_to_return():
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "came out\n", "")
