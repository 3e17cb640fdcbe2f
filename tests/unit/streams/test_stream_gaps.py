"""Where a stream reports its gaps, and that nothing follows its end."""

from __future__ import annotations

from stream_parts import counts, events, make_frame, make_stream, take


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


def test_closing_drops_what_waits_delivers_what_is_in_flight_and_tells_the_sinks(stream):
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


def test_a_stream_begins_when_the_last_one_of_its_name_is_gone():
    woken, before = [], make_stream()
    before._on_ready = lambda: woken.append(1)
    first = take(before, 0)
    before.close("removed")
    stream = make_stream(previous=before.drained)
    stream.frames.put(make_frame(0))
    assert not stream.is_ready and stream.name_drained is before.drained
    first()
    assert woken == [1] and stream.is_ready and stream.name_drained is stream.drained
