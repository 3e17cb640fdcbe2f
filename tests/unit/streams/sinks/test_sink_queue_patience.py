"""Who can wait for room in a sink's queue, and for how long."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fgd_yolo.streams.sinks import SinkQueue, SinkUnavailable
from stream_results import LONG_S, Recorder, blocked, make_result


def test_one_who_can_wait_for_room_loses_nothing(sink):
    queue = blocked(sink, frames=1)
    assert queue.put(make_result(index=1))
    waiting = threading.Thread(target=queue.put, args=(make_result(index=2), LONG_S))
    waiting.start()
    sink.go_on.set()
    waiting.join(LONG_S)
    assert queue.close(LONG_S)
    assert sink.got == [0, 1, 2] and queue.snapshot()["dropped"] == {}


def test_a_sink_that_takes_nothing_is_waited_for_once(sink):
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


def test_what_can_never_fit_is_not_waited_for(sink):
    queue = SinkQueue(sink, megabytes=1)
    huge = make_result(image=np.zeros((1024, 1024, 3), np.uint8))
    assert not queue.put(huge, LONG_S)
    assert queue.snapshot()["dropped"] == {"too many bytes": 1}


def test_who_can_wait_leaves_room_for_who_cannot(sink):
    queue = blocked(sink, frames=4)
    assert queue.put(make_result(index=1), LONG_S) and queue.put(make_result(index=2), LONG_S)
    waiting = threading.Thread(target=queue.put, args=(make_result(index=3), LONG_S), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert queue.put(make_result(index=10)) and queue.put(make_result(index=11))
    sink.go_on.set()
    waiting.join(LONG_S)
    assert queue.close(LONG_S)
    assert sink.got == [0, 1, 2, 10, 11, 3]


def test_who_can_wait_leaves_bytes_too(sink):
    picture = np.zeros((512, 1024, 3), np.uint8)  # one and a half megabytes
    queue = blocked(sink, megabytes=6.01)  # four pictures, and what the sink holds
    assert queue.put(make_result(image=picture), LONG_S)
    waiting = threading.Thread(target=queue.put, args=(make_result(index=3, image=picture), LONG_S), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert [queue.put(make_result(index=index, image=picture)) for index in (10, 11, 12)] == [True] * 3
    sink.go_on.set()
    waiting.join(LONG_S)
    assert queue.close(LONG_S)
    assert sink.got == [0, 0, 10, 11, 12, 3]


def test_an_offer_that_would_have_to_wait_changes_nothing(sink):
    queue = blocked(sink, frames=4)
    assert queue.offer(make_result(index=1)) and queue.offer(make_result(index=2))
    before = queue.snapshot()
    assert not queue.offer(make_result(index=3))
    assert queue.snapshot() == before
    assert queue.put(make_result(index=10))  # there is still room for who cannot wait
    sink.go_on.set()
    assert queue.close(LONG_S)
    assert sink.got == [0, 1, 2, 10]


def test_an_offer_to_a_sink_that_takes_nothing_any_more_is_dropped_at_once(sink):
    queue = blocked(sink, frames=1)
    assert queue.put(make_result(index=1))
    assert not queue.offer(make_result(index=2))
    assert not queue.put(make_result(index=2), 0.05)
    assert queue.offer(make_result(index=3))
    assert queue.snapshot()["dropped"] == {"queue full": 2}


class Nobody(Recorder):
    """Every result waits for its turn, and finds nobody."""

    def __init__(self):
        super().__init__()
        self.turns = threading.Semaphore(0)

    def write(self, result):
        self.entered.release()
        self.turns.acquire(timeout=LONG_S)
        raise SinkUnavailable("nobody there")


@pytest.fixture
def nobody():
    sink = Nobody()
    yield sink
    sink.turns.release(100)


def test_a_sink_that_only_fails_is_not_waited_for_again(nobody):
    queue = SinkQueue(nobody, frames=1)
    assert queue.put(make_result(index=0)) and nobody.entered.acquire(timeout=LONG_S)
    assert queue.put(make_result(index=1))
    assert not queue.put(make_result(index=2), patience_s=0.01)
    nobody.turns.release()
    assert nobody.entered.acquire(timeout=LONG_S)  # the first one has failed, the next one is tried
    assert queue.put(make_result(index=3))
    putting = threading.Thread(target=queue.put, args=(make_result(index=4), LONG_S), daemon=True)
    putting.start()
    putting.join(LONG_S / 6)
    assert not putting.is_alive()
    assert queue.snapshot()["dropped"] == {"error": 1, "queue full": 2}
