from __future__ import annotations

import sys
import threading

import numpy as np

from fgd_yolo.streams.sinks import SinkQueue
from stream_results import LONG_S, Recorder, blocked, make_result


def test_results_and_gaps_reach_the_sink_in_order(sink):
    queue = SinkQueue(sink)
    queue.put(make_result(index=0))
    queue.gap("door", "refused")
    queue.put(make_result(index=1))
    assert queue.close(LONG_S)
    assert sink.got == [0, ("door", "refused"), 1]
    assert queue.snapshot() == {
        "name": "recorder", "state": "closed", "written": 2, "skipped": 0, "waiting": 0, "waiting_bytes": 0,
        "dropped": {}, "failure": None,
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
    assert "sink recorder: 6 of 6 results were lost: it did not stop within 0.05 s" in capfd.readouterr().err
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
