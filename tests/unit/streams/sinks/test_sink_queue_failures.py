"""What a queue counts, keeps and says when its sink fails."""

from __future__ import annotations

from fgd_yolo.streams.sinks import SinkQueue, SinkUnavailable
from stream_results import LONG_S, Recorder, make_result


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
    sink.trouble[99] = SinkUnavailable("not now")
    queue = SinkQueue(sink, frames=300)
    for index in range(210):
        queue.put(make_result(index=index))
    assert sink.closed.wait(LONG_S)
    assert queue.close(LONG_S)
    assert not queue.put(make_result())
    # SinkUnavailable neither counts nor interrupts: the hundredth failure is the 101st result.
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
    sink.trouble = [SinkUnavailable("no broker") for _ in range(250)]
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


def test_what_a_sink_failed_at_last_is_known_until_a_result_is_written_again(sink, capfd):
    sink.trouble = [ValueError("odd http://a:geheim@h/"), SinkUnavailable("no broker")]
    queue = SinkQueue(sink)

    def failure_after(leave, failure):
        leave()
        while queue.snapshot()["waiting"] or queue.snapshot()["failure"] != failure:
            assert not sink.closed.wait(0.001)
        return True

    assert failure_after(lambda: queue.put(make_result()), "odd http://h")
    assert failure_after(lambda: queue.put(make_result()), "no broker")
    queue.gap("door", "over")  # a sink that does nothing at a gap is not mended by it
    assert failure_after(lambda: None, "no broker")
    assert failure_after(lambda: queue.put(make_result()), None)
    assert queue.close(LONG_S)
    assert "lost" not in capfd.readouterr().err


class Choosy(Recorder):
    """Has nothing to do with a result of an even index, as a webhook with one without objects."""

    def write(self, result):
        if result.frame.index % 2 == 0:
            return False
        return super().write(result)


def test_results_that_a_sink_skips_do_not_mend_it(capfd):
    sink, done = Choosy(), []
    sink.trouble = [ValueError("no")] * 3
    queue = SinkQueue(sink, on_done=lambda result: done.append(result.frame.index))
    for index in range(7):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    counted = queue.snapshot()
    assert (counted["written"], counted["skipped"], counted["dropped"]) == (0, 4, {"error": 3})
    assert counted["failure"] == "no" and done == []
    assert capfd.readouterr().err.splitlines()[-1] == "sink recorder: 3 of 3 results were lost: no"


def test_results_that_a_sink_skips_do_not_keep_it_from_being_switched_off():
    sink = Choosy()
    sink.trouble = [ValueError("no")] * 100
    queue = SinkQueue(sink, frames=300)
    for index in range(202):
        queue.put(make_result(index=index))
    assert sink.closed.wait(LONG_S) and queue.close(LONG_S)
    assert queue.snapshot()["state"] == "off" and sink.got == []


def test_a_gap_that_a_sink_takes_does_not_start_the_row_of_failures_anew(sink):
    sink.trouble = [ValueError("no")] * 100
    queue = SinkQueue(sink, frames=300)
    for index in range(100):
        queue.put(make_result(index=index))
        queue.gap("door", "refused")
    assert sink.closed.wait(LONG_S) and queue.close(LONG_S)
    assert queue.snapshot()["state"] == "off"


def test_a_sink_that_fails_to_the_end_says_how_many_results_were_lost(sink, capfd):
    sink.trouble = [SinkUnavailable("no broker at x:1"), SinkUnavailable("no broker at x:1")]
    queue = SinkQueue(sink)
    for index in range(2):
        queue.put(make_result(index=index))
    assert queue.close(LONG_S)
    assert capfd.readouterr().err.splitlines() == [
        "sink recorder: no broker at x:1 (counted; not said again)",
        "sink recorder: 2 of 2 results were lost: no broker at x:1",
    ]
    assert queue.snapshot()["failure"] == "no broker at x:1"


def test_a_pipe_that_nobody_reads_any_more_is_no_failure(sink):
    sink.trouble = [BrokenPipeError(32, "Broken pipe")]
    queue = SinkQueue(sink)
    queue.put(make_result())
    assert queue.close(LONG_S)
    assert queue.snapshot()["failure"] is None and queue.snapshot()["dropped"] == {"error": 1}
