import threading
import time

import pytest

from fgd_yolo.streams.scheduling.policy import parse_policy
from fgd_yolo.streams.scheduling.run_slots import Runs
from fgd_yolo.streams.scheduling.scheduler import Turns
from fgd_yolo.streams.stream import Stream
from stream_parts import make_frame


def add(turns, name, policy="latest", limit=100):
    stream = Stream(name, 0, parse_policy(policy), limit, turns.lock, turns.wake, lambda: None)
    turns.streams[name] = stream
    return stream


def put(stream, index=0, **options):
    stream.mailbox.put(make_frame(index, stream.name, **options))


def taken(turns):
    return [(turn.stream.name, turn.frame.index) for turn in turns.take()]


def taking(turns):
    """Take in a thread of its own; return it and the list that it fills."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(taken(turns)), daemon=True)
    thread.start()
    return thread, found


def test_the_oldest_served_stream_goes_next_with_its_freshest_frame():
    turns = Turns(Runs(1))
    door, yard, roof = (add(turns, name) for name in ("door", "yard", "roof"))
    served = []
    for index in range(9):
        for stream in (door, yard, roof):
            put(stream, index)
        served += taken(turns)
    assert [name for name, _ in served] == ["door", "yard", "roof"] * 3
    assert [index for _, index in served] == list(range(9))


def test_a_stream_that_was_silent_goes_first_but_only_once():
    turns = Turns(Runs(1))
    door, yard = add(turns, "door"), add(turns, "yard")
    for index in range(5):
        put(door, index)
        taken(turns)
    put(door, 5), put(yard, 0)
    assert taken(turns) == [("yard", 0)]
    put(yard, 1)
    assert taken(turns) == [("door", 5)]


def test_who_waits_is_woken_by_a_frame():
    turns = Turns(Runs(1))
    door = add(turns, "door")
    thread, found = taking(turns)
    thread.join(0.1)
    assert thread.is_alive()
    put(door, 3)
    thread.join(10)
    assert found == [("door", 3)]


def test_a_live_frame_waits_while_another_lane_has_one_for_the_only_slot():
    runs = Runs(1)
    runs._run_s = 30
    turns = Turns(runs)
    door, yard = add(turns, "door"), add(turns, "yard")
    put(door, 0)
    assert taken(turns) == [("door", 0)]
    put(yard, 0)
    thread, found = taking(turns)
    thread.join(0.1)
    assert thread.is_alive()
    with runs.slot():
        pass
    put(yard, 1)
    thread.join(10)
    assert found == [("yard", 1)]


def test_who_waits_for_room_on_the_way_is_woken_by_a_frame_that_fails():
    """Room made by a failure was not said: with every lane waiting and a file's mailbox full, nothing would go on."""
    turns = Turns(Runs(1))
    door = add(turns, "door", "every", limit=1)
    put(door, 0), put(door, 1)
    first = turns.take()[0]
    thread, found = taking(turns)
    thread.join(0.1)
    assert thread.is_alive()
    door.finish(first.ticket, None)
    thread.join(10)
    assert found == [("door", 1)]


def test_closing_sends_everybody_home():
    turns = Turns(Runs(1))
    threads = [taking(turns)[0] for _ in range(3)]
    turns.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert turns.take() == []


def test_a_stream_with_enough_on_its_way_waits_for_its_order():
    turns = Turns(Runs(1))
    door, yard = add(turns, "door", "every", limit=1), add(turns, "yard", "every")
    for index in range(2):
        put(door, index), put(yard, index)
    first = turns.take()[0]
    assert [taken(turns), taken(turns)] == [[("yard", 0)], [("yard", 1)]]
    door.finish(first.ticket, None)
    assert taken(turns) == [("door", 1)]


def test_frames_that_are_ready_go_together():
    turns = Turns(Runs(1), batch=4)
    for name in ("door", "yard", "roof"):
        put(add(turns, name))
    assert taken(turns) == [("door", 0), ("yard", 0), ("roof", 0)]


def test_a_batch_is_never_larger_than_it_may_be():
    turns = Turns(Runs(1), batch=2)
    for name in ("door", "yard", "roof"):
        put(add(turns, name))
    assert [len(taken(turns)), len(taken(turns))] == [2, 1]


def test_the_first_frame_waits_for_others_in_its_window():
    turns = Turns(Runs(1), batch=2, window_s=30)
    door, yard = add(turns, "door"), add(turns, "yard")
    put(door)
    thread, found = taking(turns)
    thread.join(0.1)
    assert thread.is_alive()
    put(yard)
    thread.join(10)
    assert found == [("door", 0), ("yard", 0)]


def test_the_window_ends():
    turns = Turns(Runs(1), batch=2, window_s=0.05)
    put(add(turns, "door"))
    assert taken(turns) == [("door", 0)]


def test_closing_ends_the_window_and_the_frames_go():
    turns = Turns(Runs(1), batch=2, window_s=30)
    put(add(turns, "door"))
    thread, found = taking(turns)
    thread.join(0.1)
    turns.close()
    thread.join(10)
    assert found == [("door", 0)]


@pytest.mark.parametrize(("policy", "together"), [("latest", 1), ("every", 3)])
def test_a_live_stream_is_in_a_batch_only_once(policy, together):
    turns = Turns(Runs(1), batch=3, window_s=0.2)
    stream = add(turns, "door", policy)
    put(stream, 0)
    thread, found = taking(turns)
    time.sleep(0.02)
    put(stream, 1), put(stream, 2)
    thread.join(10)
    assert len(found) == together


def test_a_frame_too_old_is_no_turn():
    turns = Turns(Runs(1))
    door = add(turns, "door", "max-age=500")
    put(door, 0, age_s=1)
    thread, found = taking(turns)
    thread.join(0.1)
    assert thread.is_alive() and door.snapshot()["dropped"] == {"too old": 1}
    put(door, 1)
    thread.join(10)
    assert found == [("door", 1)]


def test_a_stream_whose_last_frame_is_too_old_has_ended_with_it():
    turns, told = Turns(Runs(1)), threading.Event()
    door = Stream("door", 0, parse_policy("max-age=500"), 9, turns.lock, turns.wake, told.set)
    turns.streams["door"] = door
    put(door, 0, age_s=1)
    door.stats.set_state("ENDED")
    assert not told.is_set()
    taking(turns)
    assert told.wait(10) and door.ended


class Busy(Runs):
    """Run slots that fall free when the test says so."""

    early = 30.0

    def early_s(self, now=None):
        return self.early


def test_a_live_frame_is_not_taken_early_and_the_newest_one_goes_then():
    runs = Busy(1)
    turns = Turns(runs)
    door = add(turns, "door")
    put(door, 0)
    thread, found = taking(turns)
    thread.join(0.1)
    assert thread.is_alive()
    put(door, 1)
    runs.early = 0.0
    turns.wake()
    thread.join(10)
    assert found == [("door", 1)]


def test_a_frame_of_a_file_is_taken_early():
    turns = Turns(Busy(1))
    put(add(turns, "film", "every"))
    assert taken(turns) == [("film", 0)]


def test_a_lane_that_leaves_frames_behind_wakes_another():
    turns = Turns(Runs(1))
    film = add(turns, "film", "every", limit=1)
    put(film, 0), put(film, 1), put(film, 2)
    first = turns.take()[0]
    thread, found = taking(turns)
    other, more = taking(turns)
    thread.join(0.1)
    assert found == more == []
    film.order._limit = 9
    film.finish(first.ticket, None)
    turns.wake()  # one of the two; it must pass the word on
    thread.join(10)
    other.join(10)
    assert sorted(found + more) == [("film", 1), ("film", 2)]
