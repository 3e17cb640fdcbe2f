import threading

import numpy as np

from fgd_yolo.streams.scheduling.mailbox import Mailbox
from fgd_yolo.streams.scheduling.policy import parse_policy
from fgd_yolo.streams.stats import StreamStats
from stream_parts import make_frame


def mailbox(policy, **options):
    return Mailbox(parse_policy(policy), StreamStats("door"), **options)


def counts(box):
    found = box.stats.snapshot()
    assert found["seen"] == found["inferred"] + sum(found["dropped"].values()) + found["in_flight"]
    return found["seen"], found["dropped"], found["in_flight"]


def put_in_thread(box, frames):
    thread = threading.Thread(target=lambda: [box.put(frame) for frame in frames], daemon=True)
    thread.start()
    return thread


def test_latest_keeps_the_newest_frame_and_counts_the_others():
    box = mailbox("latest")
    for index in range(5):
        box.put(make_frame(index))
    assert counts(box) == (5, {"newer frame": 4}, 1)
    assert box.take().index == 4
    assert box.take() is None


def test_max_age_keeps_the_newest_frame_too():
    box = mailbox("max-age=5000")
    box.put(make_frame(0))
    box.put(make_frame(1, age_s=1))
    assert box.take().index == 1
    assert counts(box) == (2, {"newer frame": 1}, 1)


def test_max_age_drops_what_is_too_old_when_it_is_taken():
    box = mailbox("max-age=500")
    box.put(make_frame(age_s=0.6))
    assert box.take() is None
    assert counts(box) == (1, {"too old": 1}, 0)


def test_latest_does_not_mind_an_old_frame():
    box = mailbox("latest")
    box.put(make_frame(age_s=60))
    assert box.take() is not None


def test_every_keeps_all_in_order_and_lets_the_reader_wait_for_room():
    box = mailbox("every")
    reader = put_in_thread(box, [make_frame(index) for index in range(20)])
    taken = []
    while len(taken) < 20:
        assert len(box) <= 4
        if frame := box.take():
            taken.append(frame.index)
    reader.join(10)
    assert taken == list(range(20))
    assert counts(box) == (20, {}, 20)


def test_a_waiting_reader_is_woken_for_two_frames_at_a_time():
    box = mailbox("every")
    reader = put_in_thread(box, [make_frame(index) for index in range(6)])
    reader.join(0.1)
    box.take()
    reader.join(0.1)
    assert reader.is_alive() and len(box) == 3
    box.take()
    reader.join(10)
    assert not reader.is_alive() and len(box) == 4


def test_every_holds_back_a_reader_of_large_pictures_sooner():
    box = mailbox("every")
    large = make_frame()
    large.picture = np.broadcast_to(np.uint8(0), (4096, 6000, 3))  # 70 MiB by its own account, and hardly any memory
    reader = put_in_thread(box, [large, make_frame(1)])
    reader.join(0.2)
    assert reader.is_alive() and len(box) == 1
    assert box.take() is large
    reader.join(10)
    assert not reader.is_alive()


def test_closing_drops_what_waits_by_its_cause_and_frees_a_waiting_reader():
    box = mailbox("every")
    reader = put_in_thread(box, [make_frame(index) for index in range(9)])
    reader.join(0.2)
    assert reader.is_alive()
    box.close("removed")
    reader.join(10)
    assert not reader.is_alive()
    assert box.take() is None
    assert counts(box) == (9, {"removed": 9}, 0)


def test_a_frame_that_comes_after_closing_is_counted_by_the_first_cause():
    for policy in ("latest", "every", "max-age=5"):
        box = mailbox(policy)
        box.close("stopped")
        box.close("removed")
        box.put(make_frame())
        assert counts(box) == (1, {"stopped": 1}, 0)


def test_whoever_waits_for_frames_is_told_of_each():
    told = []
    box = mailbox("latest", on_put=lambda: told.append(len(box)))
    box.put(make_frame(0))
    box.put(make_frame(1))
    box.close("stopped")
    box.put(make_frame(2))
    assert told == [1, 1]


def test_the_last_index_is_known():
    box = mailbox("latest")
    assert box.last_index == -1
    box.put(make_frame(7))
    box.take()
    assert box.last_index == 7
