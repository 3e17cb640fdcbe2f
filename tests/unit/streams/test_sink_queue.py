from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from fgd_yolo.streams.sinks import Away, SinkQueue
from stream_results import LONG_S, Recorder, blocked, make_result


@pytest.fixture
def sink():
    recorder = Recorder()
    yield recorder
    recorder.go_on.set()


def test_results_and_gaps_reach_the_sink_in_order(sink):
    queue = SinkQueue(sink)
    queue.put(make_result(index=0))
    queue.gap("door", "refused")
    queue.put(make_result(index=1))
    assert queue.close(LONG_S)
    assert sink.got == [0, ("door", "refused"), 1]
    assert queue.snapshot() == {
        "name": "recorder", "state": "closed", "written": 2, "waiting": 0, "waiting_bytes": 0, "dropped": {},
    }  # fmt: skip


def test_a_full_queue_drops_at_once_and_counts(sink):
    queue = blocked(sink, frames=3)
    assert [queue.put(make_result(index=index)) for index in range(1, 6)] == [True, True, True, False, False]
    assert queue.snapshot()["dropped"] == {"queue full": 2}
    assert queue.snapshot()["waiting"] == 4  # three, and the one that the sink holds
    sink.go_on.set()
    assert queue.close(LONG_S)
    assert sink.got == [0, 1, 2, 3]


def test_pictures_and_masks_are_bounded_in_bytes(sink):
    picture = np.zeros((512, 1024, 3), np.uint8)  # one and a half megabytes
    queue = blocked(sink, megabytes=3.5)
    size = make_result().frame.nbytes
    assert queue.put(make_result(image=picture))
    assert queue.snapshot()["waiting_bytes"] == size + picture.nbytes
    assert queue.put(make_result(image=picture))
    assert not queue.put(make_result(image=picture))
    assert queue.snapshot()["dropped"] == {"too many bytes": 1}


def test_masks_count_as_bytes(sink):
    picture = np.zeros((512, 1024, 3), np.uint8)
    queue = blocked(sink, megabytes=1.9)
    masked = make_result(image=picture)
    object.__setattr__(masked.detections, "masks", np.zeros((1, 512, 1024), bool))
    assert not queue.put(masked)
    assert queue.put(make_result(image=picture))


def test_an_error_is_counted_and_said_once_per_kind(sink, capfd):
    sink.trouble = [OSError(28, "No space left"), OSError(28, "No space left"), ValueError("odd"), OSError(5, "broken")]
    queue = SinkQueue(sink)
    for index in range(6):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert sink.got == [4, 5]
    assert queue.snapshot()["dropped"] == {"error": 4}
    said = capfd.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in said] == [
        "sink recorder: OSError: No space left",
        "sink recorder: ValueError: odd",
        "sink recorder: OSError: broken",
    ]


def test_what_is_said_has_no_password_in_it(sink, capfd):
    sink.trouble = [ValueError("cannot reach http://admin:hunter2@10.0.0.7/x?token=abcdef")]
    queue = SinkQueue(sink)
    queue.put(make_result())
    assert queue.close(LONG_S)
    said = capfd.readouterr().err
    assert "10.0.0.7" in said and "hunter2" not in said and "abcdef" not in said


def test_a_sink_that_fails_a_hundred_times_in_a_row_is_closed_aloud(sink, capfd):
    sink.trouble = [ValueError("no")] * 99 + [None] + [ValueError("no")] * 100
    sink.trouble[99] = Away("not now")
    queue = SinkQueue(sink, frames=300)
    for index in range(210):
        queue.put(make_result(index=index))
    assert sink.closed.wait(LONG_S)
    assert queue.close(LONG_S)
    assert not queue.put(make_result())
    # Away neither counts nor interrupts: the hundredth failure is the 101st result.
    assert queue.snapshot()["dropped"] == {"error": 211} and sink.got == []
    assert queue.snapshot()["state"] == "off"
    assert "sink recorder: failed 100 times in a row and is switched off" in capfd.readouterr().err


def test_one_success_starts_the_row_of_failures_anew(sink):
    queue = SinkQueue(sink, frames=300)
    sink.trouble = [ValueError("no")] * 99
    for index in range(100):
        queue.put(make_result(index=index))
    while sink.entered.acquire(timeout=LONG_S) and not sink.got:
        pass
    sink.trouble = [ValueError("no")] * 99
    for index in range(100, 200):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert sink.got == [99, 199]


def test_a_sink_whose_other_side_is_away_is_never_switched_off(sink):
    sink.trouble = [Away("no broker") for _ in range(250)]
    queue = SinkQueue(sink, frames=300)
    for index in range(251):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert sink.got == [250]


def test_a_callback_that_exits_does_not_end_the_thread(sink):
    sink.trouble = [SystemExit(3)]
    queue = SinkQueue(sink)
    queue.put(make_result(index=0))
    queue.put(make_result(index=1))
    assert queue.close(LONG_S)
    assert sink.got == [1]


def test_a_blocked_sink_holds_up_neither_the_caller_nor_another_sink_nor_the_end(sink, capfd):
    other = Recorder("other")
    stuck, free = blocked(sink, frames=2), SinkQueue(other, frames=10)
    for index in range(1, 6):
        stuck.put(make_result(index=index))
        free.put(make_result(index=index))
    assert free.close(LONG_S)
    assert other.got == [1, 2, 3, 4, 5]
    assert not stuck.close(0.05)
    counted = stuck.snapshot()
    assert counted["dropped"] == {"queue full": 3, "closed": 3} and counted["waiting"] == 0
    assert "sink recorder: did not stop within 0.05 s and is left behind" in capfd.readouterr().err
    sink.go_on.set()
    assert sink.closed.wait(LONG_S)  # late, it is closed all the same
    assert stuck.snapshot()["written"] == 0  # and counted once
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("sink "))


def test_closing_lets_the_sink_take_what_waits_for_half_of_the_time(sink):
    queue = blocked(sink)
    queue.put(make_result(index=1))
    threading.Timer(0.3, sink.go_on.set).start()
    assert queue.close(0.4 * LONG_S)
    assert sink.got == [0, 1]
    queue = blocked(sink)
    queue.put(make_result(index=1))
    threading.Timer(0.8, sink.go_on.set).start()
    queue.close(1.0)
    assert queue.snapshot()["dropped"] == {"closed": 1}


def test_a_closed_queue_takes_nothing_and_counts_it(sink):
    queue = SinkQueue(sink)
    queue.close(LONG_S)
    assert not queue.put(make_result())
    queue.gap("door", "late")
    assert sink.got == [] and queue.snapshot()["dropped"] == {"closed": 1}
    assert queue.close(LONG_S)


def test_gaps_that_follow_each_other_take_no_room(sink):
    queue = blocked(sink, frames=2)
    for _ in range(50):
        queue.gap("door", "refused")
        queue.gap("yard", "stalled")
    queue.put(make_result("door", index=1))
    queue.gap("door", "refused again")
    sink.go_on.set()
    assert queue.close(LONG_S)
    assert sink.got == [0, ("door", "refused"), ("yard", "stalled"), 1, ("door", "refused again")]


def test_a_gap_after_a_gap_that_was_told_is_told_too(sink):
    told = threading.Event()
    sink.gap = lambda stream, reason: (sink.got.append(reason), told.set())
    queue = SinkQueue(sink)
    queue.gap("door", "refused")
    assert told.wait(LONG_S)
    queue.gap("door", "stalled")
    assert queue.close(LONG_S)
    assert sink.got == ["refused", "stalled"]


def test_only_what_the_sink_took_is_called_done(sink):
    done = []
    sink.trouble = [ValueError("no")]
    queue = SinkQueue(sink, on_done=lambda result: done.append(result.frame.index))
    for index in range(3):
        queue.put(make_result(index=index))
    queue.gap("door", "over")
    assert queue.close(LONG_S)
    assert done == [1, 2]


def test_every_result_is_counted_once_whatever_happens(sink):
    random = np.random.default_rng(0)
    queue = SinkQueue(sink, frames=4)
    sink.trouble = [ValueError("no")] * 20
    sys.setswitchinterval(1e-5)
    try:
        for index in range(400):
            queue.put(make_result(index=index))
            if random.random() < 0.1:
                queue.gap("door", "gap")
        queue.close(LONG_S)
    finally:
        sys.setswitchinterval(0.005)
    counted = queue.snapshot()
    assert counted["written"] + sum(counted["dropped"].values()) == 400
    assert counted["written"] == sum(isinstance(item, int) for item in sink.got)
