import threading
import time

import pytest

from fgd_yolo.streams.scheduling.run_slots import Runs


def test_there_are_never_more_runs_than_slots():
    runs, lock = Runs(2), threading.Lock()
    now, most = 0, 0

    def run():
        nonlocal now, most
        for _ in range(50):
            with runs.slot():
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


def test_a_run_that_fails_frees_its_slot_and_says_so():
    told = []
    runs = Runs(1, on_free=lambda: told.append(1))
    for _ in range(2):
        with pytest.raises(ValueError), runs.slot():
            raise ValueError
    assert told == [1, 1]
    assert runs.early_s() == 0


def measured(run_s, prepare_s, slots=1):
    """Return slots that have seen one run and one preparation of these lengths, the clock being the test's."""
    runs = Runs(slots)
    runs._run_s = run_s
    runs.prepared(prepare_s)
    return runs


def test_a_live_frame_is_taken_when_it_can_be_ready_just_in_time():
    runs = measured(run_s=1.0, prepare_s=0.1)
    assert runs.early_s() == 0  # nothing runs
    with runs.slot():
        now = time.monotonic()
        assert runs.early_s(now) == pytest.approx(0.8, abs=0.05)
        assert runs.early_s(now + 0.5) == pytest.approx(0.3, abs=0.05)
        assert runs.early_s(now + 0.85) == 0
        assert runs.early_s(now + 9) == 0
    assert runs.early_s() == 0


def test_it_is_never_early_while_a_slot_is_free():
    runs = measured(run_s=1.0, prepare_s=0.1, slots=2)
    with runs.slot():
        assert runs.early_s() == 0


def test_a_slot_that_another_lane_is_about_to_get_counts_as_taken():
    """Seen under overload: a lane took its frame while another one had a frame but no slot yet, and aged for a run."""
    runs = measured(run_s=1.0, prepare_s=0.1)
    other = threading.Thread(target=runs.claim)
    other.start()
    other.join()
    assert runs.early_s() == pytest.approx(0.8)
    runs.claim()
    with runs.slot():
        assert len(runs._coming) == 1, "a slot ends the claim of its own thread alone"


def test_a_claim_of_which_nothing_came_can_be_taken_back():
    runs = measured(run_s=1.0, prepare_s=0.1)
    runs.unclaim()
    runs.claim()
    assert runs.early_s() > 0
    runs.unclaim()
    assert runs.early_s() == 0


def test_nothing_is_early_before_a_run_was_measured():
    runs = Runs(1)
    with runs.slot():
        assert runs.early_s() == 0


def test_times_are_learned_slowly_from_what_is_seen():
    runs = Runs(1)
    with runs.slot():
        time.sleep(0.05)
    assert runs._run_s >= 0.05
    runs.prepared(1.0)
    runs.prepared(2.0)
    assert runs._prepare_s == pytest.approx(1.2)
