"""A stream delivers its results and gaps in order, and no worker waits for a sink."""

from __future__ import annotations

import threading

from fgd_yolo.streams.scheduling.frame_buffer import parse_policy
from fgd_yolo.streams.sinks import SinkQueue
from fgd_yolo.streams.steps.step_chain import StepChain
from fgd_yolo.streams.stream import Stream
from stream_parts import BlockingSink, DirectQueue, RecordingSink, counts, events, make_frame, make_stream, take
from tests.cameras.pytest_helpers import until


def test_results_are_delivered_in_order(stream):
    first, second, third = (take(stream, index) for index in range(3))
    third()
    first()
    assert events(stream) == [0]
    second()
    assert events(stream) == [0, 1, 2]
    assert counts(stream) == (3, 3, {}, 0)


def test_a_failed_frame_is_an_error_and_the_next_one_is_delivered(stream):
    first, second = take(stream, 0), take(stream, 1)
    second()
    first(failed=True)
    assert events(stream) == [1]
    assert counts(stream) == (1, 1, {"error": 1}, 0)


def test_abandoned_frames_are_counted_once_and_a_late_result_is_ignored(stream):
    first, second, third = (take(stream, index) for index in range(3))
    second()
    stream.abandon("stopped")
    assert events(stream) == [1]
    first()
    third(failed=True)
    assert events(stream) == [1]
    assert counts(stream) == (1, 1, {"stopped": 2}, 0)


def test_a_stream_has_ended_when_all_is_delivered(stream):
    first = take(stream, 0)
    stream.frames.put(make_frame(1))
    stream.stats.set_state("ENDED")
    assert not stream.ended
    stream.frames.pop()
    assert not stream.ended
    first()
    assert stream.ended


def test_the_end_is_reported_when_the_last_frame_is_delivered():
    calls = []
    stream = make_stream(on_idle=lambda: calls.append(1))
    first = take(stream, 0)
    stream.stats.set_state("ENDED")
    assert not calls
    first()
    assert calls and stream.ended


def test_no_more_frames_start_than_the_limit(stream):
    starts = [take(stream, index) for index in range(4)]
    stream.frames.put(make_frame(4))
    assert not stream.is_ready
    starts[1]()
    assert not stream.is_ready
    starts[0]()
    assert stream.is_ready


def test_without_sinks_a_result_is_done_when_it_is_delivered(stream):
    take(stream, 0)()
    assert stream.snapshot()["ages"]["sink_done"]["count"] == 0
    stream.queues = []
    take(stream, 1)()
    assert stream.snapshot()["ages"]["sink_done"]["count"] == 1


def test_a_real_queue_gets_results_and_gaps_in_order():
    sink = RecordingSink()
    queue = SinkQueue(sink)
    stream = make_stream()
    stream.queues = [queue]
    take(stream, 0)()
    stream.stats.set_state("DOWN", "no route")
    take(stream, 1)()
    assert queue.close(10)
    assert sink.events == [("door", 0), ("door", "no route"), ("door", 1)]


def test_the_worker_of_a_file_does_not_wait_for_a_full_queue_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr("fgd_yolo.streams.stream._ROOM_TIMEOUT_S", 60.0)  # a busy machine may stall for a second
    sink = BlockingSink()
    queue, other = SinkQueue(sink, frames=2), DirectQueue()
    stream = make_stream(policy="every")
    stream.queues = [queue, other]
    take(stream, 0)()
    assert sink.began.wait(10)
    for index in (1, 2, 3):  # one is being written, two wait for room, and one is behind them
        take(stream, index)()
    assert len(stream.in_flight) == 2 and stream.snapshot()["delivered"] == 2
    assert [index for _, index in other.sink.events] == [0, 1, 2]
    sink.proceed.set()
    assert until(lambda: not stream.in_flight)
    assert queue.close(10)
    assert sink.indices() == other.sink.indices() == {"door": [0, 1, 2, 3]}


def test_steps_complete_results_in_order_before_the_sinks_and_are_notified_of_gaps():
    calls = []

    class Numbering:
        def __call__(self, result):
            calls.append(result.frame.index)
            result.zones = {"call": len(calls)}

        def gap(self, stream, reason):
            calls.append(reason)

    stream = make_stream(StepChain([Numbering()]))
    stream.queues = [DirectQueue()]
    received = []
    stream.queues[0].put = lambda result: received.append((result.frame.index, result.zones["call"]))
    first, second = take(stream, 0), take(stream, 1)
    second()
    first()
    stream.stats.set_state("DOWN", "no route")
    take(stream, 2)()
    assert calls == [0, 1, "no route", 2]
    assert received == [(0, 1), (1, 2), (2, 4)]


def test_a_slow_step_of_one_stream_holds_up_no_other_and_no_reader():
    proceed, began = threading.Event(), threading.Event()
    stream = make_stream(StepChain([lambda result: began.set() or proceed.wait(30)]))
    first = take(stream, 0)
    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert began.wait(10)
    others = [take(stream, index) for index in (1, 2, 3)]  # no thread holds the lock
    others[0]()
    assert not stream.is_ready and len(stream.in_flight) == 4
    assert stream.snapshot()["delivered"] == 0
    proceed.set()
    thread.join(10)
    assert stream.snapshot()["delivered"] == 2


def test_a_worker_is_woken_when_there_is_room_again():
    woken = []
    stream = Stream("door", 0, parse_policy("latest"), 1, threading.RLock(), lambda: woken.append(1), lambda: None)
    first = take(stream, 0)
    stream.frames.put(make_frame(1))
    assert woken == [1, 1] and not stream.is_ready
    first()
    assert woken == [1, 1, 1] and stream.is_ready


def test_the_address_shows_no_password():
    address = "rtsp://admin:geheim@10.0.0.7/cam"
    stream = make_stream(address=address, policy="max-age=500")
    snapshot = stream.snapshot()
    assert "geheim" not in str(snapshot) and "10.0.0.7" in snapshot["address"]
    assert snapshot["policy"] == "max-age=500"


def test_a_gap_comes_after_the_last_frame_before_it(stream):
    first, second = take(stream, 0), take(stream, 1)
    stream.stats.set_state("DOWN", "no route")
    assert events(stream) == []
    second()
    first()
    assert events(stream) == [0, 1, "no route"]


def test_a_gap_comes_before_the_first_frame_after_it(stream):
    first = take(stream, 0)
    stream.stats.set_state("DOWN", "no route")
    stream.stats.set_state("UP")
    second = take(stream, 1)
    second()
    first()
    assert events(stream) == [0, "no route", 1]


def test_attempts_without_a_frame_are_one_gap(stream):
    stream.stats.set_state("DOWN", "no route")
    take(stream, 0)()
    for reason in ("no route", "no answer", "refused"):
        stream.stats.set_state("CONNECTING")
        stream.stats.set_state("DOWN", reason)
    assert events(stream) == [0, "no route"]


def test_an_end_is_a_gap_too(stream):
    take(stream, 0)()
    stream.stats.set_state("ENDED")
    assert events(stream) == [0, "ended"]


def test_closing_drops_waiting_frames_delivers_those_in_flight_and_notifies_the_sinks(stream):
    first = take(stream, 0)
    stream.frames.put(make_frame(1))
    stream.close("removed")
    assert counts(stream) == (0, 0, {"removed": 1}, 1)
    first()
    assert events(stream) == [0, "removed"]
    assert counts(stream) == (1, 1, {"removed": 1}, 0)


def test_after_the_gap_of_a_closed_stream_nothing_of_it_comes(stream):
    take(stream, 0)()
    stream.close("removed")
    assert stream.drained.is_set()
    stream.frames.put(make_frame(1))  # its reader had read it before, and reports its end only now
    stream.stats.set_state("ENDED", "stopped")
    stream.close("stopped")
    assert events(stream) == [0, "removed"]
    assert counts(stream) == (1, 1, {"removed": 1}, 0)


def test_the_gap_of_a_closed_stream_is_not_renamed_while_its_last_frame_is_in_flight(stream):
    first = take(stream, 0)
    stream.close("removed")
    stream.frames.put(make_frame(1))
    stream.stats.set_state("ENDED", "stopped")
    assert not stream.drained.is_set()
    first()
    assert events(stream) == [0, "removed"] and stream.drained.is_set()


def test_a_closed_stream_keeps_the_state_in_which_it_was(stream):
    stream.stats.set_state("DOWN", "no route")
    stream.close("stopped")
    stream.stats.set_state("ENDED", "stopped")
    assert (stream.snapshot()["state"], stream.snapshot()["reason"]) == ("DOWN", "no route")


def test_a_stream_starts_when_the_previous_one_of_its_name_is_drained():
    woken, before = [], make_stream()
    before._on_ready = lambda: woken.append(1)
    first = take(before, 0)
    before.close("removed")
    stream = make_stream(previous=before.drained)
    stream.frames.put(make_frame(0))
    assert not stream.is_ready and stream.name_drained is before.drained
    first()
    assert woken == [1] and stream.is_ready and stream.name_drained is stream.drained
