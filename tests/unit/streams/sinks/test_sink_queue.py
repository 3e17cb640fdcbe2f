from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from fgd_yolo.streams.sinks import SinkQueue, SinkStopped, SinkUnavailable
from stream_results import LONG_S, Recorder, blocked, make_result


def test_results_and_gaps_reach_the_sink_in_order(sink):
    queue = SinkQueue(sink)
    queue.put(make_result(index=0))
    queue.gap("door", "refused")
    queue.put(make_result(index=1))
    assert queue.close(LONG_S)
    assert sink.received == [0, ("door", "refused"), 1]
    assert queue.snapshot() == {
        "name": "recorder", "state": "closed", "written": 2, "skipped": 0, "waiting": 0, "waiting_bytes": 0,
        "dropped": {}, "failure": None,
    }  # fmt: skip


def test_a_full_queue_drops_at_once_and_counts(sink):
    queue = blocked(sink, frames=3)
    assert [queue.put(make_result(index=index)) for index in range(1, 6)] == [True, True, True, False, False]
    assert queue.snapshot()["dropped"] == {"queue full": 2}
    assert queue.snapshot()["waiting"] == 4  # three, and the one that the sink holds
    sink.proceed.set()
    assert queue.close(LONG_S)
    assert sink.received == [0, 1, 2, 3]


def test_frames_and_masks_are_bounded_in_bytes(sink):
    image = np.zeros((512, 1024, 3), np.uint8)  # one and a half megabytes
    queue = blocked(sink, megabytes=3.5)
    size = make_result().frame.nbytes
    assert queue.put(make_result(image=image))
    assert queue.snapshot()["waiting_bytes"] == size + image.nbytes
    assert queue.put(make_result(image=image))
    assert not queue.put(make_result(image=image))
    assert queue.snapshot()["dropped"] == {"too many bytes": 1}


def test_masks_count_as_bytes(sink):
    image = np.zeros((512, 1024, 3), np.uint8)
    queue = blocked(sink, megabytes=1.9)
    masked = make_result(image=image)
    object.__setattr__(masked.detections, "mask", np.zeros((1, 512, 1024), bool))
    assert not queue.put(masked)
    assert queue.put(make_result(image=image))


def test_a_blocked_sink_holds_up_neither_the_caller_nor_another_sink_nor_the_end(sink, capfd):
    other = Recorder("other")
    stuck, free = blocked(sink, frames=2), SinkQueue(other, frames=10)
    for index in range(1, 6):
        stuck.put(make_result(index=index))
        free.put(make_result(index=index))
    assert free.close(LONG_S)
    assert other.received == [1, 2, 3, 4, 5]
    assert not stuck.close(0.05)
    counted = stuck.snapshot()
    assert counted["dropped"] == {"queue full": 3, "closed": 3} and counted["waiting"] == 0
    assert "sink recorder: 6 of 6 results were lost: it did not stop within 0.05 s" in capfd.readouterr().err
    sink.proceed.set()
    assert sink.closed.wait(LONG_S)  # late, but it is closed
    assert stuck.snapshot()["written"] == 0  # and counted once
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("sink "))


def test_closing_drains_the_queue_for_half_of_the_timeout(sink):
    queue = blocked(sink)
    queue.put(make_result(index=1))
    threading.Timer(0.3, sink.proceed.set).start()
    assert queue.close(0.4 * LONG_S)
    assert sink.received == [0, 1]
    queue = blocked(sink)
    queue.put(make_result(index=1))
    threading.Timer(0.8, sink.proceed.set).start()
    queue.close(1.0)
    assert queue.snapshot()["dropped"] == {"closed": 1}


def test_a_closed_queue_drops_results_and_counts_them(sink):
    queue = SinkQueue(sink)
    queue.close(LONG_S)
    assert not queue.put(make_result())
    queue.gap("door", "late")
    assert sink.received == [] and queue.snapshot()["dropped"] == {"closed": 1}
    assert queue.close(LONG_S)


def test_consecutive_gaps_take_no_room(sink):
    queue = blocked(sink, frames=2)
    for _ in range(50):
        queue.gap("door", "refused")
        queue.gap("yard", "stalled")
    queue.put(make_result("door", index=1))
    queue.gap("door", "refused again")
    sink.proceed.set()
    assert queue.close(LONG_S)
    assert sink.received == [0, ("door", "refused"), ("yard", "stalled"), 1, ("door", "refused again")]


def test_a_gap_after_a_gap_that_was_delivered_is_delivered_too(sink):
    delivered = threading.Event()
    sink.gap = lambda stream, reason: (sink.received.append(reason), delivered.set())
    queue = SinkQueue(sink)
    queue.gap("door", "refused")
    assert delivered.wait(LONG_S)
    queue.gap("door", "stalled")
    assert queue.close(LONG_S)
    assert sink.received == ["refused", "stalled"]


def test_on_done_is_called_only_for_results_that_were_written(sink):
    done = []
    sink.errors = [ValueError("no")]
    queue = SinkQueue(sink, on_done=lambda result: done.append(result.frame.index))
    for index in range(3):
        queue.put(make_result(index=index))
    queue.gap("door", "over")
    assert queue.close(LONG_S)
    assert done == [1, 2]


def test_every_result_is_counted_once_whatever_happens(sink):
    random = np.random.default_rng(0)
    queue = SinkQueue(sink, frames=4)
    sink.errors = [ValueError("no")] * 20
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
    assert counted["written"] == sum(isinstance(item, int) for item in sink.received)


def test_an_error_is_counted_and_reported_once_per_kind(sink, capfd):
    sink.errors = [OSError(28, "No space left"), OSError(28, "No space left"), ValueError("odd"), OSError(5, "broken")]
    queue = SinkQueue(sink)
    for index in range(6):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert sink.received == [4, 5]
    assert queue.snapshot()["dropped"] == {"error": 4}
    output = capfd.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in output] == [
        "sink recorder: OSError: No space left",
        "sink recorder: ValueError: odd",
        "sink recorder: OSError: broken",
    ]


def test_a_reported_error_has_no_password_in_it(sink, capfd):
    sink.errors = [ValueError("cannot reach http://admin:hunter2@10.0.0.7/x?token=abcdef")]
    queue = SinkQueue(sink)
    queue.put(make_result())
    assert queue.close(LONG_S)
    output = capfd.readouterr().err
    assert "10.0.0.7" in output and "hunter2" not in output and "abcdef" not in output


def test_a_sink_that_fails_a_hundred_times_in_a_row_is_closed_with_a_message(sink, capfd):
    sink.errors = [ValueError("no")] * 99 + [None] + [ValueError("no")] * 100
    sink.errors[99] = SinkUnavailable("not now")
    queue = SinkQueue(sink, frames=300)
    for index in range(210):
        queue.put(make_result(index=index))
    assert sink.closed.wait(LONG_S)
    assert queue.close(LONG_S)
    assert not queue.put(make_result())
    # SinkUnavailable neither counts nor interrupts: the hundredth failure is the 101st result.
    assert queue.snapshot()["dropped"] == {"error": 211} and sink.received == []
    assert queue.snapshot()["state"] == "off"
    assert "sink recorder: failed 100 times in a row and is switched off" in capfd.readouterr().err


def test_one_success_resets_the_count_of_failures(sink):
    queue = SinkQueue(sink, frames=300)
    sink.errors = [ValueError("no")] * 99
    for index in range(100):
        queue.put(make_result(index=index))
    while sink.entered.acquire(timeout=LONG_S) and not sink.received:
        pass
    sink.errors = [ValueError("no")] * 99
    for index in range(100, 200):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert sink.received == [99, 199]


def test_an_unavailable_sink_is_never_switched_off(sink):
    sink.errors = [SinkUnavailable("no broker") for _ in range(250)]
    queue = SinkQueue(sink, frames=300)
    for index in range(251):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert sink.received == [250]


def test_a_callback_that_exits_does_not_end_the_thread(sink):
    sink.errors = [SystemExit(3)]
    queue = SinkQueue(sink)
    queue.put(make_result(index=0))
    queue.put(make_result(index=1))
    assert queue.close(LONG_S)
    assert sink.received == [1]


def test_the_latest_failure_is_reported_until_a_result_is_written_again(sink, capfd):
    sink.errors = [ValueError("odd http://a:geheim@h/"), SinkUnavailable("no broker")]
    queue = SinkQueue(sink)

    def failure_after(leave, failure):
        leave()
        while queue.snapshot()["waiting"] or queue.snapshot()["failure"] != failure:
            assert not sink.closed.wait(0.001)
        return True

    assert failure_after(lambda: queue.put(make_result()), "odd http://h")
    assert failure_after(lambda: queue.put(make_result()), "no broker")
    queue.gap("door", "over")  # a gap that the sink ignores is no success
    assert failure_after(lambda: None, "no broker")
    assert failure_after(lambda: queue.put(make_result()), None)
    assert queue.close(LONG_S)
    assert "lost" not in capfd.readouterr().err


class SkippingSink(Recorder):
    """Skips results of an even index, as a webhook skips those without objects."""

    def write(self, result):
        if result.frame.index % 2 == 0:
            return False
        return super().write(result)


def test_skipped_results_do_not_clear_the_failure(capfd):
    sink, done = SkippingSink(), []
    sink.errors = [ValueError("no")] * 3
    queue = SinkQueue(sink, on_done=lambda result: done.append(result.frame.index))
    for index in range(7):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    counted = queue.snapshot()
    assert (counted["written"], counted["skipped"], counted["dropped"]) == (0, 4, {"error": 3})
    assert counted["failure"] == "no" and done == []
    assert capfd.readouterr().err.splitlines()[-1] == "sink recorder: 3 of 3 results were lost: no"


def test_skipped_results_do_not_keep_a_sink_from_being_switched_off():
    sink = SkippingSink()
    sink.errors = [ValueError("no")] * 100
    queue = SinkQueue(sink, frames=300)
    for index in range(202):
        queue.put(make_result(index=index))
    assert sink.closed.wait(LONG_S) and queue.close(LONG_S)
    assert queue.snapshot()["state"] == "off" and sink.received == []


def test_a_delivered_gap_does_not_reset_the_count_of_failures(sink):
    sink.errors = [ValueError("no")] * 100
    queue = SinkQueue(sink, frames=300)
    for index in range(100):
        queue.put(make_result(index=index))
        queue.gap("door", "refused")
    assert sink.closed.wait(LONG_S) and queue.close(LONG_S)
    assert queue.snapshot()["state"] == "off"


def test_a_sink_that_fails_to_the_end_reports_how_many_results_were_lost(sink, capfd):
    sink.errors = [SinkUnavailable("no broker at x:1"), SinkUnavailable("no broker at x:1")]
    queue = SinkQueue(sink)
    for index in range(2):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert capfd.readouterr().err.splitlines() == [
        "sink recorder: no broker at x:1 (counted; not reported again)",
        "sink recorder: 2 of 2 results were lost: no broker at x:1",
    ]
    assert queue.snapshot()["failure"] == "no broker at x:1"


def test_a_pipe_closed_by_its_reader_is_no_failure(sink):
    sink.errors = [BrokenPipeError(32, "Broken pipe")]
    queue = SinkQueue(sink)
    queue.put(make_result())
    assert queue.close(LONG_S)
    assert queue.snapshot()["failure"] is None and queue.snapshot()["dropped"] == {"error": 1}


def test_put_with_a_timeout_loses_nothing_while_the_sink_is_slow(sink):
    queue = blocked(sink, frames=1)
    assert queue.put(make_result(index=1))
    waiting = threading.Thread(target=queue.put, args=(make_result(index=2), LONG_S))
    waiting.start()
    sink.proceed.set()
    waiting.join(LONG_S)
    assert queue.close(LONG_S)
    assert sink.received == [0, 1, 2] and queue.snapshot()["dropped"] == {}


def test_a_blocked_sink_is_waited_for_once(sink):
    queue = blocked(sink, frames=1)
    assert queue.put(make_result(index=1))
    assert not queue.put(make_result(index=2), 0.05)
    assert not queue.put(make_result(index=3), LONG_S)  # at once: the test would not end otherwise
    assert queue.snapshot()["dropped"] == {"queue full": 2}


def test_closing_ends_the_wait(sink):
    queue = blocked(sink, frames=1)
    assert queue.put(make_result(index=1))
    waiting = threading.Thread(target=queue.put, args=(make_result(index=2), LONG_S))
    waiting.start()
    queue.close(0.2)
    waiting.join(LONG_S)
    assert not waiting.is_alive()


def test_put_does_not_wait_for_a_result_that_can_never_fit(sink):
    queue = SinkQueue(sink, megabytes=1)
    huge = make_result(image=np.zeros((1024, 1024, 3), np.uint8))
    assert not queue.put(huge, LONG_S)
    assert queue.snapshot()["dropped"] == {"too many bytes": 1}


def test_results_that_can_wait_leave_room_for_those_that_cannot(sink):
    queue = blocked(sink, frames=4)
    assert queue.put(make_result(index=1), LONG_S) and queue.put(make_result(index=2), LONG_S)
    waiting = threading.Thread(target=queue.put, args=(make_result(index=3), LONG_S), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert queue.put(make_result(index=10)) and queue.put(make_result(index=11))
    sink.proceed.set()
    waiting.join(LONG_S)
    assert queue.close(LONG_S)
    assert sink.received == [0, 1, 2, 10, 11, 3]


def test_results_that_can_wait_leave_bytes_for_those_that_cannot(sink):
    image = np.zeros((512, 1024, 3), np.uint8)  # one and a half megabytes
    queue = blocked(sink, megabytes=6.01)  # four images, and what the sink holds
    assert queue.put(make_result(image=image), LONG_S)
    waiting = threading.Thread(target=queue.put, args=(make_result(index=3, image=image), LONG_S), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert [queue.put(make_result(index=index, image=image)) for index in (10, 11, 12)] == [True] * 3
    sink.proceed.set()
    waiting.join(LONG_S)
    assert queue.close(LONG_S)
    assert sink.received == [0, 0, 10, 11, 12, 3]


def test_an_offer_that_would_have_to_wait_changes_nothing(sink):
    queue = blocked(sink, frames=4)
    assert queue.offer(make_result(index=1)) and queue.offer(make_result(index=2))
    before = queue.snapshot()
    assert not queue.offer(make_result(index=3))
    assert queue.snapshot() == before
    assert queue.put(make_result(index=10))  # there is still room for results that cannot wait
    sink.proceed.set()
    assert queue.close(LONG_S)
    assert sink.received == [0, 1, 2, 10]


def test_an_offer_to_a_blocked_sink_is_dropped_at_once_after_a_timeout(sink):
    queue = blocked(sink, frames=1)
    assert queue.put(make_result(index=1))
    assert not queue.offer(make_result(index=2))
    assert not queue.put(make_result(index=2), 0.05)
    assert queue.offer(make_result(index=3))
    assert queue.snapshot()["dropped"] == {"queue full": 2}


class Unavailable(Recorder):
    """Holds every result until it is released, and then fails as unavailable."""

    def __init__(self):
        super().__init__()
        self.releases = threading.Semaphore(0)

    def write(self, result):
        self.entered.release()
        self.releases.acquire(timeout=LONG_S)
        raise SinkUnavailable("no answer")


@pytest.fixture
def unavailable():
    sink = Unavailable()
    yield sink
    sink.releases.release(100)


def test_after_a_timeout_a_failing_sink_is_not_waited_for_again(unavailable):
    queue = SinkQueue(unavailable, frames=1)
    assert queue.put(make_result(index=0)) and unavailable.entered.acquire(timeout=LONG_S)
    assert queue.put(make_result(index=1))
    assert not queue.put(make_result(index=2), timeout_s=0.01)
    unavailable.releases.release()
    assert unavailable.entered.acquire(timeout=LONG_S)  # the first one has failed, the next one is tried
    assert queue.put(make_result(index=3))
    putting = threading.Thread(target=queue.put, args=(make_result(index=4), LONG_S), daemon=True)
    putting.start()
    putting.join(LONG_S / 6)
    assert not putting.is_alive()
    assert queue.snapshot()["dropped"] == {"error": 1, "queue full": 2}


@pytest.mark.parametrize("failed", [False, True])
def test_a_sink_that_stops_is_switched_off_with_its_message_and_skips_the_rest(sink, capfd, failed):
    queue = blocked(sink)
    sink.errors = [SinkStopped("the tape of rtsp://me:geheim@10.0.0.7/cam is full", failed=failed)]
    for index in range(1, 4):
        assert queue.put(make_result(index=index))
    sink.proceed.set()
    assert sink.closed.wait(LONG_S)
    assert not queue.put(make_result(index=4)) and queue.offer(make_result(index=5))
    assert queue.close(LONG_S)
    counted, reason = queue.snapshot(), "the tape of rtsp://10.0.0.7 is full"
    assert (counted["state"], counted["stopped"], counted["failure"]) == ("off", reason, reason if failed else None)
    assert counted["written"] == counted["waiting"] == counted["waiting_bytes"] == 0 and sink.received == []
    assert (counted["skipped"], counted["dropped"]) == ((5, {"error": 1}) if failed else (6, {}))
    assert capfd.readouterr().err == f"sink recorder: {reason}\n"


def test_a_sink_can_add_details_to_its_statistics(sink):
    sink.details = lambda: {"kept": {"door": {"ordinary": 1}}}
    queue = SinkQueue(sink)
    assert queue.snapshot()["kept"] == {"door": {"ordinary": 1}}
    assert queue.close(LONG_S)
