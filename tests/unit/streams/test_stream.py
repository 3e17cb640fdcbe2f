import threading

import numpy as np
import pytest

from fgd_yolo.streams.policy import parse_policy
from fgd_yolo.streams.sinks import SinkQueue
from fgd_yolo.streams.steps import Steps
from fgd_yolo.streams.stream import Stream
from stream_parts import Keeping, make_frame, make_result


class Direct:
    """A queue without a thread: what is put is written."""

    def __init__(self):
        self.sink = Keeping()
        self.put, self.gap = lambda result, patience_s: self.sink.write(result), self.sink.gap


def make_stream(steps=None, address=0, policy="latest", on_settled=lambda: None):
    lock = threading.RLock()
    return Stream("door", address, parse_policy(policy), 4, lock, lambda: None, on_settled, steps)


@pytest.fixture
def stream():
    stream = make_stream()
    stream.queues = [Direct()]
    return stream


def take(stream, index):
    """Put a frame and take it, as reader and lane do; return what finishes it."""
    stream.mailbox.put(make_frame(index))
    frame = stream.mailbox.take()
    ticket = stream.order.start()
    return lambda failed=False: stream.finish(ticket, None if failed else make_result(frame))


def events(stream):
    return [what for _, what in stream.queues[0].sink.events]


def counts(stream):
    found = stream.snapshot()
    dropped = sum(found["dropped"].values())
    assert found["seen"] == found["inferred"] + dropped + found["in_flight"]
    return found["inferred"], found["delivered"], found["dropped"], found["in_flight"]


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


def test_frames_given_up_are_counted_once_and_a_late_result_goes_nowhere(stream):
    first, second, third = (take(stream, index) for index in range(3))
    second()
    stream.abandon("stopped")
    assert events(stream) == [1]
    first()
    third(failed=True)
    assert events(stream) == [1]
    assert counts(stream) == (1, 1, {"stopped": 2}, 0)


def test_a_gap_comes_behind_the_last_frame_before_it(stream):
    first, second = take(stream, 0), take(stream, 1)
    stream.stats.set_state("DOWN", "no route")
    assert events(stream) == []
    second()
    first()
    assert events(stream) == [0, 1, "no route"]


def test_a_gap_comes_before_the_first_frame_behind_it(stream):
    first = take(stream, 0)
    stream.stats.set_state("DOWN", "no route")
    stream.stats.set_state("UP")
    second = take(stream, 1)
    second()
    first()
    assert events(stream) == [0, "no route", 1]


def test_tries_that_bring_no_frame_are_one_gap(stream):
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


def test_closing_drops_what_waits_delivers_what_is_on_its_way_and_tells_the_sinks(stream):
    first = take(stream, 0)
    stream.mailbox.put(make_frame(1))
    stream.close("removed")
    assert counts(stream) == (0, 0, {"removed": 1}, 1)
    first()
    assert events(stream) == [0, "removed"]
    assert counts(stream) == (1, 1, {"removed": 1}, 0)


def test_a_stream_has_ended_when_all_is_delivered(stream):
    first = take(stream, 0)
    stream.mailbox.put(make_frame(1))
    stream.stats.set_state("ENDED")
    assert not stream.ended
    stream.mailbox.take()
    assert not stream.ended
    first()
    assert stream.ended


def test_whoever_waits_for_the_end_is_told_when_the_last_frame_is_through():
    told = []
    stream = make_stream(on_settled=lambda: told.append(1))
    first = take(stream, 0)
    stream.stats.set_state("ENDED")
    assert not told
    first()
    assert told and stream.ended


def test_no_more_frames_start_than_the_limit(stream):
    starts = [take(stream, index) for index in range(4)]
    stream.mailbox.put(make_frame(4))
    assert not stream.waiting
    starts[1]()
    assert not stream.waiting
    starts[0]()
    assert stream.waiting


def test_without_sinks_a_result_is_done_when_it_is_delivered(stream):
    take(stream, 0)()
    assert stream.snapshot()["ages"]["sink_done"]["count"] == 0
    stream.queues = []
    take(stream, 1)()
    assert stream.snapshot()["ages"]["sink_done"]["count"] == 1


def test_a_real_queue_gets_results_and_gaps_in_order():
    sink = Keeping()
    queue = SinkQueue(sink)
    stream = make_stream()
    stream.queues = [queue]
    take(stream, 0)()
    stream.stats.set_state("DOWN", "no route")
    take(stream, 1)()
    assert queue.close(10)
    assert sink.events == [("door", 0), ("door", "no route"), ("door", 1)]


def test_steps_complete_results_in_order_before_the_sinks_and_hear_of_gaps():
    heard = []

    class Numbering:
        def __call__(self, result):
            heard.append(result.frame.index)
            result.ids = np.array([len(heard)])

        def gap(self, stream, reason):
            heard.append(reason)

    stream = make_stream(Steps([Numbering()]))
    stream.queues = [Direct()]
    found = []
    stream.queues[0].put = lambda result, patience_s: found.append((result.frame.index, int(result.ids[0])))
    first, second = take(stream, 0), take(stream, 1)
    second()
    first()
    stream.stats.set_state("DOWN", "no route")
    take(stream, 2)()
    assert heard == [0, 1, "no route", 2]
    assert found == [(0, 1), (1, 2), (2, 4)]


def test_a_slow_step_of_one_stream_holds_up_no_other_and_no_reader():
    let_go, began = threading.Event(), threading.Event()
    stream = make_stream(Steps([lambda result: began.set() or let_go.wait(30)]))
    first = take(stream, 0)
    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert began.wait(10)
    others = [take(stream, index) for index in (1, 2, 3)]  # nobody holds the lock
    others[0]()
    assert not stream.waiting and len(stream.order) == 4
    assert stream.snapshot()["delivered"] == 0
    let_go.set()
    thread.join(10)
    assert stream.snapshot()["delivered"] == 2


def test_a_lane_is_woken_when_there_is_room_again():
    woken = []
    stream = Stream("door", 0, parse_policy("latest"), 1, threading.RLock(), lambda: woken.append(1), lambda: None)
    first = take(stream, 0)
    stream.mailbox.put(make_frame(1))
    assert woken == [1, 1] and not stream.waiting
    first()
    assert woken == [1, 1, 1] and stream.waiting


def test_the_address_shows_no_password():
    address = "rtsp://admin:geheim@10.0.0.7/cam"
    stream = make_stream(address=address, policy="max-age=500")
    found = stream.snapshot()
    assert "geheim" not in str(found) and "10.0.0.7" in found["address"]
    assert found["policy"] == "max-age=500"
