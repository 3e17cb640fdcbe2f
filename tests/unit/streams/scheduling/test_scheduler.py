import threading
import time

import pytest

from fgd_yolo.streams.scheduling.frame_buffer import parse_policy
from fgd_yolo.streams.scheduling.scheduler import RunSlots, Scheduler
from fgd_yolo.streams.stream import Stream
from stream_parts import make_frame


def test_there_are_never_more_runs_than_slots():
    slots, lock = RunSlots(2), threading.Lock()
    now, most = 0, 0

    def run():
        nonlocal now, most
        for _ in range(50):
            with slots.acquire():
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.0005)
                with lock:
                    now -= 1

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_a_run_that_fails_frees_its_slot_and_calls_on_release():
    released = []
    slots = RunSlots(1, on_release=lambda: released.append(1))
    for _ in range(2):
        with pytest.raises(ValueError), slots.acquire():
            raise ValueError
    assert released == [1, 1]
    assert slots.delay_s() == 0


def measured(run_s, preprocess_s, count=1):
    """Return slots that have measured one run and one preprocessing of these lengths."""
    slots = RunSlots(count)
    slots._run_s = run_s
    slots.record_preprocessing(preprocess_s)
    return slots


def test_a_live_frame_is_taken_when_it_can_be_ready_just_in_time():
    slots = measured(run_s=1.0, preprocess_s=0.1)
    assert slots.delay_s() == 0  # nothing runs
    with slots.acquire():
        now = time.monotonic()
        assert slots.delay_s(now) == pytest.approx(0.8, abs=0.05)
        assert slots.delay_s(now + 0.5) == pytest.approx(0.3, abs=0.05)
        assert slots.delay_s(now + 0.85) == 0
        assert slots.delay_s(now + 9) == 0
    assert slots.delay_s() == 0


def test_there_is_no_delay_while_a_slot_is_free():
    slots = measured(run_s=1.0, preprocess_s=0.1, count=2)
    with slots.acquire():
        assert slots.delay_s() == 0


def test_a_slot_that_another_worker_has_reserved_counts_as_in_use():
    """A regression under overload: a worker took a frame while another had one and no slot yet, and the frame aged."""
    slots = measured(run_s=1.0, preprocess_s=0.1)
    other = threading.Thread(target=slots.reserve)
    other.start()
    other.join()
    assert slots.delay_s() == pytest.approx(0.8)
    slots.reserve()
    with slots.acquire():
        assert len(slots._reserved) == 1, "a slot ends the reservation of its own thread only"


def test_a_reservation_that_was_not_used_can_be_cancelled():
    slots = measured(run_s=1.0, preprocess_s=0.1)
    slots.cancel()
    slots.reserve()
    assert slots.delay_s() > 0
    slots.cancel()
    assert slots.delay_s() == 0


def test_there_is_no_delay_before_a_run_was_measured():
    slots = RunSlots(1)
    with slots.acquire():
        assert slots.delay_s() == 0


def test_durations_are_running_means_of_those_measured():
    slots = RunSlots(1)
    with slots.acquire():
        time.sleep(0.05)
    assert slots._run_s >= 0.05
    slots.record_preprocessing(1.0)
    slots.record_preprocessing(2.0)
    assert slots._preprocess_s == pytest.approx(1.2)


def add(scheduler, name, policy="latest", limit=100):
    stream = Stream(name, 0, parse_policy(policy), limit, scheduler.lock, scheduler.notify, lambda: None)
    scheduler.streams[name] = stream
    return stream


def put(stream, index=0, **options):
    stream.frames.put(make_frame(index, stream.name, **options))


def take_batch(scheduler):
    return [(scheduled.stream.name, scheduled.frame.index) for scheduled in scheduler.next_batch()]


def take_in_thread(scheduler):
    """Take a batch in a separate thread; return the thread and the list that it fills."""
    batch = []
    thread = threading.Thread(target=lambda: batch.extend(take_batch(scheduler)), daemon=True)
    thread.start()
    return thread, batch


def test_the_stream_served_longest_ago_goes_next_with_its_newest_frame():
    scheduler = Scheduler(RunSlots(1))
    door, yard, roof = (add(scheduler, name) for name in ("door", "yard", "roof"))
    served = []
    for index in range(9):
        for stream in (door, yard, roof):
            put(stream, index)
        served += take_batch(scheduler)
    assert [name for name, _ in served] == ["door", "yard", "roof"] * 3
    assert [index for _, index in served] == list(range(9))


def test_a_stream_that_was_silent_goes_first_but_only_once():
    scheduler = Scheduler(RunSlots(1))
    door, yard = add(scheduler, "door"), add(scheduler, "yard")
    for index in range(5):
        put(door, index)
        take_batch(scheduler)
    put(door, 5), put(yard, 0)
    assert take_batch(scheduler) == [("yard", 0)]
    put(yard, 1)
    assert take_batch(scheduler) == [("door", 5)]


def test_a_waiting_worker_is_woken_by_a_frame():
    scheduler = Scheduler(RunSlots(1))
    door = add(scheduler, "door")
    thread, batch = take_in_thread(scheduler)
    thread.join(0.1)
    assert thread.is_alive()
    put(door, 3)
    thread.join(10)
    assert batch == [("door", 3)]


def test_a_live_frame_waits_while_another_worker_has_one_for_the_only_slot():
    slots = RunSlots(1)
    slots._run_s = 30
    scheduler = Scheduler(slots)
    door, yard = add(scheduler, "door"), add(scheduler, "yard")
    put(door, 0)
    assert take_batch(scheduler) == [("door", 0)]
    put(yard, 0)
    thread, batch = take_in_thread(scheduler)
    thread.join(0.1)
    assert thread.is_alive()
    with slots.acquire():
        pass
    put(yard, 1)
    thread.join(10)
    assert batch == [("yard", 1)]


def test_a_worker_that_waits_for_room_in_flight_is_woken_by_a_frame_that_fails():
    """Without a notification, all workers would wait while the frame buffer of a file is full."""
    scheduler = Scheduler(RunSlots(1))
    door = add(scheduler, "door", "every", limit=1)
    put(door, 0), put(door, 1)
    first = scheduler.next_batch()[0]
    thread, batch = take_in_thread(scheduler)
    thread.join(0.1)
    assert thread.is_alive()
    door.finish(first.ticket, None)
    thread.join(10)
    assert batch == [("door", 1)]


def test_closing_stops_all_workers():
    scheduler = Scheduler(RunSlots(1))
    threads = [take_in_thread(scheduler)[0] for _ in range(3)]
    scheduler.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert scheduler.next_batch() == []


def test_a_stream_with_enough_frames_in_flight_waits_for_its_oldest():
    scheduler = Scheduler(RunSlots(1))
    door, yard = add(scheduler, "door", "every", limit=1), add(scheduler, "yard", "every")
    for index in range(2):
        put(door, index), put(yard, index)
    first = scheduler.next_batch()[0]
    assert [take_batch(scheduler), take_batch(scheduler)] == [[("yard", 0)], [("yard", 1)]]
    door.finish(first.ticket, None)
    assert take_batch(scheduler) == [("door", 1)]


def test_frames_that_are_ready_go_together():
    scheduler = Scheduler(RunSlots(1), batch=4)
    for name in ("door", "yard", "roof"):
        put(add(scheduler, name))
    assert take_batch(scheduler) == [("door", 0), ("yard", 0), ("roof", 0)]


def test_a_batch_never_exceeds_its_limit():
    scheduler = Scheduler(RunSlots(1), batch=2)
    for name in ("door", "yard", "roof"):
        put(add(scheduler, name))
    assert [len(take_batch(scheduler)), len(take_batch(scheduler))] == [2, 1]


def test_the_first_frame_waits_for_others_in_its_window():
    scheduler = Scheduler(RunSlots(1), batch=2, window_s=30)
    door, yard = add(scheduler, "door"), add(scheduler, "yard")
    put(door)
    thread, batch = take_in_thread(scheduler)
    thread.join(0.1)
    assert thread.is_alive()
    put(yard)
    thread.join(10)
    assert batch == [("door", 0), ("yard", 0)]


def test_the_window_ends():
    scheduler = Scheduler(RunSlots(1), batch=2, window_s=0.05)
    put(add(scheduler, "door"))
    assert take_batch(scheduler) == [("door", 0)]


def test_closing_ends_the_window_and_returns_the_frames():
    scheduler = Scheduler(RunSlots(1), batch=2, window_s=30)
    put(add(scheduler, "door"))
    thread, batch = take_in_thread(scheduler)
    thread.join(0.1)
    scheduler.close()
    thread.join(10)
    assert batch == [("door", 0)]


@pytest.mark.parametrize(("policy", "together"), [("latest", 1), ("every", 3)])
def test_a_live_stream_is_in_a_batch_only_once(policy, together):
    scheduler = Scheduler(RunSlots(1), batch=3, window_s=0.2)
    stream = add(scheduler, "door", policy)
    put(stream, 0)
    thread, batch = take_in_thread(scheduler)
    time.sleep(0.02)
    put(stream, 1), put(stream, 2)
    thread.join(10)
    assert len(batch) == together


def test_a_frame_that_is_too_old_is_not_scheduled():
    scheduler = Scheduler(RunSlots(1))
    door = add(scheduler, "door", "max-age=500")
    put(door, 0, age_s=1)
    thread, batch = take_in_thread(scheduler)
    thread.join(0.1)
    assert thread.is_alive() and door.snapshot()["dropped"] == {"too old": 1}
    put(door, 1)
    thread.join(10)
    assert batch == [("door", 1)]


def test_a_stream_whose_last_frame_is_too_old_has_ended_with_it():
    scheduler, idle = Scheduler(RunSlots(1)), threading.Event()
    door = Stream("door", 0, parse_policy("max-age=500"), 9, scheduler.lock, scheduler.notify, idle.set)
    scheduler.streams["door"] = door
    put(door, 0, age_s=1)
    door.stats.set_state("ENDED")
    assert not idle.is_set()
    take_in_thread(scheduler)
    assert idle.wait(10) and door.ended


class Busy(RunSlots):
    """Run slots whose delay the test sets."""

    delay = 30.0

    def delay_s(self, now=None):
        return self.delay


def test_a_live_frame_is_not_taken_early_and_the_newest_one_goes_then():
    slots = Busy(1)
    scheduler = Scheduler(slots)
    door = add(scheduler, "door")
    put(door, 0)
    thread, batch = take_in_thread(scheduler)
    thread.join(0.1)
    assert thread.is_alive()
    put(door, 1)
    slots.delay = 0.0
    scheduler.notify()
    thread.join(10)
    assert batch == [("door", 1)]


def test_a_frame_of_a_file_is_taken_without_delay():
    scheduler = Scheduler(Busy(1))
    put(add(scheduler, "film", "every"))
    assert take_batch(scheduler) == [("film", 0)]


def test_a_worker_that_leaves_frames_in_the_buffer_wakes_another():
    scheduler = Scheduler(RunSlots(1))
    film = add(scheduler, "film", "every", limit=1)
    put(film, 0), put(film, 1), put(film, 2)
    first = scheduler.next_batch()[0]
    thread, batch = take_in_thread(scheduler)
    other, more = take_in_thread(scheduler)
    thread.join(0.1)
    assert batch == more == []
    film.in_flight._limit = 9
    film.finish(first.ticket, None)
    scheduler.notify()  # one of the two; it must notify the other
    thread.join(10)
    other.join(10)
    assert sorted(batch + more) == [("film", 1), ("film", 2)]
