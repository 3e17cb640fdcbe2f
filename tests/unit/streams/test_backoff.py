from __future__ import annotations

from fgd_yolo.streams.backoff import Backoff


def test_waits_double_up_to_the_limit_and_stay_within_half_of_their_step():
    backoff = Backoff(0.2, 10, seed=1)
    waits = [backoff.next_s() for _ in range(12)]
    steps = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, *[10] * 6]
    assert all(step / 2 <= wait <= step for wait, step in zip(waits, steps, strict=True))


def test_streams_with_different_seeds_do_not_wait_alike_and_equal_seeds_do():
    def waits(seed):
        backoff = Backoff(1, 10, seed)
        return [backoff.next_s() for _ in range(4)]

    assert waits(1) == waits(1)
    assert waits(1) != waits(2)
    assert len(set(waits(1)[2:])) == 2


def test_a_reset_begins_with_the_first_step_again():
    backoff = Backoff(0.2, 10, seed=1)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.2


def test_days_of_trying_overflow_nothing():
    backoff = Backoff(0.2, 10, seed=1)
    assert max(backoff.next_s() for _ in range(3000)) <= 10
