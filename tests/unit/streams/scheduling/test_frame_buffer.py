import threading

import numpy as np
import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy, FrameBuffer, parse_policy
from fgd_yolo.streams.stats import StreamStats
from stream_parts import make_frame


def frame_buffer(policy, **options):
    return FrameBuffer(parse_policy(policy), StreamStats("door"), **options)


def counts(buffer):
    snapshot = buffer.stats.snapshot()
    assert snapshot["seen"] == snapshot["inferred"] + sum(snapshot["dropped"].values()) + snapshot["in_flight"]
    return snapshot["seen"], snapshot["dropped"], snapshot["in_flight"]


def put_in_thread(buffer, frames):
    thread = threading.Thread(target=lambda: [buffer.put(frame) for frame in frames], daemon=True)
    thread.start()
    return thread


def test_latest_keeps_the_newest_frame_and_counts_the_others():
    buffer = frame_buffer("latest")
    for index in range(5):
        buffer.put(make_frame(index))
    assert counts(buffer) == (5, {"newer frame": 4}, 1)
    assert buffer.pop().index == 4
    assert buffer.pop() is None


def test_max_age_keeps_the_newest_frame_too():
    buffer = frame_buffer("max-age=5000")
    buffer.put(make_frame(0))
    buffer.put(make_frame(1, age_s=1))
    assert buffer.pop().index == 1
    assert counts(buffer) == (2, {"newer frame": 1}, 1)


def test_max_age_drops_what_is_too_old_when_it_is_taken():
    buffer = frame_buffer("max-age=500")
    buffer.put(make_frame(age_s=0.6))
    assert buffer.pop() is None
    assert counts(buffer) == (1, {"too old": 1}, 0)


def test_latest_keeps_an_old_frame():
    buffer = frame_buffer("latest")
    buffer.put(make_frame(age_s=60))
    assert buffer.pop() is not None


def test_every_keeps_all_in_order_and_makes_the_reader_wait_for_room():
    buffer = frame_buffer("every")
    reader = put_in_thread(buffer, [make_frame(index) for index in range(20)])
    popped = []
    while len(popped) < 20:
        assert len(buffer) <= 4
        if frame := buffer.pop():
            popped.append(frame.index)
    reader.join(10)
    assert popped == list(range(20))
    assert counts(buffer) == (20, {}, 20)


def test_a_waiting_reader_is_woken_for_two_frames_at_a_time():
    buffer = frame_buffer("every")
    reader = put_in_thread(buffer, [make_frame(index) for index in range(6)])
    reader.join(0.1)
    buffer.pop()
    reader.join(0.1)
    assert reader.is_alive() and len(buffer) == 3
    buffer.pop()
    reader.join(10)
    assert not reader.is_alive() and len(buffer) == 4


def test_every_holds_back_a_reader_of_large_frames_sooner():
    buffer = frame_buffer("every")
    large = make_frame()
    large.pixels = np.broadcast_to(np.uint8(0), (4096, 6000, 3))  # reports 70 MiB, and uses hardly any memory
    reader = put_in_thread(buffer, [large, make_frame(1)])
    reader.join(0.2)
    assert reader.is_alive() and len(buffer) == 1
    assert buffer.pop() is large
    reader.join(10)
    assert not reader.is_alive()


def test_closing_drops_waiting_frames_by_cause_and_unblocks_a_waiting_reader():
    buffer = frame_buffer("every")
    reader = put_in_thread(buffer, [make_frame(index) for index in range(9)])
    reader.join(0.2)
    assert reader.is_alive()
    buffer.close("removed")
    reader.join(10)
    assert not reader.is_alive()
    assert buffer.pop() is None
    assert counts(buffer) == (9, {"removed": 9}, 0)


def test_a_frame_that_comes_after_closing_is_counted_by_the_first_cause():
    for policy in ("latest", "every", "max-age=5"):
        buffer = frame_buffer(policy)
        buffer.close("stopped")
        buffer.close("removed")
        buffer.put(make_frame())
        assert counts(buffer) == (1, {"stopped": 1}, 0)


def test_each_added_frame_is_reported():
    reported = []
    buffer = frame_buffer("latest", on_put=lambda: reported.append(len(buffer)))
    buffer.put(make_frame(0))
    buffer.put(make_frame(1))
    buffer.close("stopped")
    buffer.put(make_frame(2))
    assert reported == [1, 1]


def test_the_last_index_is_that_of_the_last_frame():
    buffer = frame_buffer("latest")
    assert buffer.last_index == -1
    buffer.put(make_frame(7))
    buffer.pop()
    assert buffer.last_index == 7


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest", DropPolicy("latest")),
        (" Every ", DropPolicy("every")),
        ("max-age=500", DropPolicy("max-age", 0.5)),
        ("max-age=0.5", DropPolicy("max-age", 0.0005)),
    ],
)
def test_policies_are_parsed(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["latest", "every", "max-age=500", "max-age=12.5"])
def test_a_policy_prints_as_it_was_written(text):
    assert str(parse_policy(text)) == text


@pytest.mark.parametrize("text", ["", "newest", "latest=5", "every=", "max_age=5", "latest every", None])
def test_an_unknown_policy_is_refused_with_the_choices(text):
    with pytest.raises(UsageError, match="choose from latest, every, max-age=MS"):
        parse_policy(text)


@pytest.mark.parametrize("text", ["max-age", "max-age=", "max-age=0", "max-age=-5", "max-age=nan", "max-age=inf"])
def test_an_age_must_be_a_number_above_zero(text):
    with pytest.raises(UsageError, match="age in milliseconds above 0"):
        parse_policy(text)


def test_a_mistyped_policy_suggests_the_closest_one():
    with pytest.raises(UsageError, match="did you mean 'latest'"):
        parse_policy("lastest")


def test_a_policy_that_is_an_address_by_mistake_shows_no_password():
    with pytest.raises(UsageError) as caught:
        parse_policy("rtsp://admin:hunter2@10.0.0.7/x")
    assert "hunter2" not in str(caught.value) and "rtsp://10.0.0.7" in str(caught.value)
