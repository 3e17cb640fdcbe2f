"""A reader reopens its camera, and ends with its file, when it is stopped, and with the process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from fgd_yolo.streams import reader as reader_module
from fgd_yolo.streams.reader import Backoff
from fgd_yolo.streams.sources import BadFrame, SourceEnded, SourceLost
from stream_bench import ReaderBench
from tests.cameras.pytest_helpers import until


def test_a_lost_camera_is_reopened_and_the_indices_continue(bench, hang):
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


def test_many_failed_attempts_are_logged_once(bench, capsys):
    one = bench(SourceLost("connection refused by rtsp://admin:hunter2@10.0.0.7/cam, hunter2"))
    assert until(lambda: len(one.states) > 8)
    assert capsys.readouterr().err == "cam: DOWN, connection refused by rtsp://10.0.0.7, ***\n"
    assert "hunter2" not in one.stats.reason


def test_single_bad_frames_are_counted_and_tolerated(bench, hang):
    bad = BadFrame("damaged")
    one = bench([1, *[bad] * 9, 2, *[bad] * 9, 3, hang])
    assert until(lambda: len(one.frames) == 3 and one.states)
    assert one.states == ["UP"] and len(one.sources) == 1
    assert one.stats.snapshot()["dropped"]["bad frame"] == 18


def test_too_many_bad_frames_in_a_row_mean_a_lost_camera(bench, hang):
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
    assert "DOWN, no frame for 0.3 s" in capsys.readouterr().err


def test_an_abandoned_connection_closes_its_own_source_and_its_frame_is_not_used(bench, hang):
    one = bench([1, hang], [3, threading.Event()])
    assert until(lambda: len(one.frames) == 2)
    reading = one.reader.reading_threads
    hang.set()
    assert until(lambda: one.sources[0].closed_by)
    assert one.sources[0].closed_by not in (threading.main_thread(), one.reader._watcher)
    assert until(lambda: one.reader.reading_threads == reading - 1)
    assert 99 not in one.seen()


def test_a_camera_that_never_responds_is_down_but_has_time_to_open(bench, hang):
    one = bench(hang)
    assert until(lambda: one.stats.state == "DOWN")
    assert one.stats.reason == "no frame for 0.2 s"
    time.sleep(0.5)
    assert one.reader.reading_threads == 1


def test_hanging_connections_are_few_however_long_it_lasts(bench, hang):
    one = bench([1, hang])
    assert until(lambda: "attempts hang" in one.stats.reason)
    time.sleep(0.8)
    assert one.reader.reading_threads == 3 == len(one.sources)
    hang.set()
    assert until(lambda: len(one.sources) > 3)


def test_a_full_buffer_does_not_count_as_silence_of_the_camera(bench):
    one = bench([*range(20), threading.Event()], policy="every", stall_s=0.1)
    assert until(lambda: len(one.buffer) >= 4 and one.states)
    time.sleep(0.4)
    assert one.states == ["UP"]
    assert one.buffer.pop().index == 0


def test_the_backoff_restarts_only_after_a_stable_connection(bench):
    flapping = bench([1, SourceLost("gone")], backoff=(0.01, 100))
    steady = bench([*range(30), SourceLost("gone")], backoff=(0.01, 100))
    assert until(lambda: len(steady.sources) > 12)
    assert len(flapping.sources) < 10


def test_an_unexpected_error_is_a_reason_and_does_not_end_the_stream(bench, hang):
    one = bench([1, MemoryError("no room")], [2, hang])
    assert until(lambda: len(one.frames) == 2)
    assert until(lambda: one.reasons == ["", "MemoryError: no room", ""])


def test_the_first_frame_may_take_longer_than_the_stall_deadline_but_not_forever(bench, hang, monkeypatch):
    monkeypatch.setattr(reader_module, "_FIRST_STALL_S", 0.5)
    one = bench(hang, [1, threading.Event()])
    assert until(lambda: one.stats.state == "UP")
    assert one.states == ["DOWN", "DOWN", "UP"]
    assert len(one.frames) == 1


def test_waits_double_up_to_the_limit_and_stay_within_half_of_their_step():
    backoff = Backoff(0.2, 10, seed=1)
    waits = [backoff.next_s() for _ in range(12)]
    steps = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, *[10] * 6]
    assert all(step / 2 <= wait <= step for wait, step in zip(waits, steps, strict=True))


def test_different_seeds_give_different_waits_and_equal_seeds_equal_ones():
    def waits(seed):
        backoff = Backoff(1, 10, seed)
        return [backoff.next_s() for _ in range(4)]

    assert waits(1) == waits(1)
    assert waits(1) != waits(2)
    assert len(set(waits(1)[2:])) == 2


def test_after_a_reset_the_waits_start_with_the_first_step():
    backoff = Backoff(0.2, 10, seed=1)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.2


def test_days_of_retries_cause_no_overflow():
    backoff = Backoff(0.2, 10, seed=1)
    assert max(backoff.next_s() for _ in range(3000)) <= 10


def test_a_file_is_read_once_to_its_end_and_a_loss_is_its_end(bench):
    complete = bench([1, 2, SourceEnded()], address="clip.mp4")
    broken = bench([1, SourceLost("it is damaged")], address="clip.mp4")
    missing = bench(SourceLost("no such file"), address="clip.mp4")
    for one in (complete, broken, missing):
        assert until(lambda one=one: one.stats.state == "ENDED")
        assert one.reader.join(1) and len(one.sources) <= 1
    assert (complete.stats.reason, broken.stats.reason, missing.stats.reason) == ("", "it is damaged", "no such file")
    assert complete.seen() == [1, 2]
    assert complete.states == ["UP", "ENDED"]


def test_a_slow_file_is_never_abandoned(bench, hang):
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
