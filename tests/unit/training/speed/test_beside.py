"""Work beside the caller has its own thread without gradients and autocast, and one result per key."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import torch

from fgd_yolo.training.speed.beside import Beside


@pytest.fixture
def beside():
    one = Beside(torch.device("cpu"))
    one._helps = False  # so that all work is the worker's
    yield one
    one.close()


def start(beside: Beside, key: torch.Tensor, work) -> None:
    """Start a job of a single piece."""
    beside.start(key, [work], lambda results: results[0])


def test_the_caller_goes_on_while_the_work_runs(beside):
    key, may_end = torch.zeros(1), threading.Event()
    start(beside, key, lambda: may_end.wait(timeout=60))
    may_end.set()  # would never be reached if start() waited
    assert beside.wait(key) is True


def test_the_worker_has_neither_gradients_nor_autocast_although_the_caller_has_both(beside):
    weight = torch.ones(2, 2, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        start(beside, weight, lambda: weight @ weight)
        result = beside.wait(weight)
        assert (weight @ weight).dtype == torch.bfloat16
    assert result.dtype == torch.float32 and not result.requires_grad


def test_only_the_tensor_that_was_started_with_gets_the_result_and_only_once(beside):
    key = torch.zeros(1)
    start(beside, key, lambda: "result")
    assert beside.wait(torch.zeros(1)) is None
    assert beside.wait(key) == "result" and beside.wait(key) is None


def test_work_that_nobody_has_waited_for_is_finished_before_the_next(beside):
    order, keys = [], [torch.zeros(1), torch.zeros(1)]
    for number, key in enumerate(keys):
        start(beside, key, lambda number=number: order.append(number))
    assert beside.wait(keys[0]) is None
    beside.wait(keys[1])
    assert order == [0, 1]


def test_an_error_of_the_work_reaches_the_one_who_waits(beside):
    key = torch.zeros(1)
    start(beside, key, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        beside.wait(key)


def test_an_error_of_dropped_work_is_dropped_with_it(beside):
    key = torch.zeros(1)
    start(beside, key, lambda: 1 / 0)
    beside.drain()
    assert beside.wait(key) is None


def test_closing_ends_the_thread():
    beside = Beside(torch.device("cpu"))
    key = torch.zeros(1)
    start(beside, key, threading.current_thread)
    worker = beside.wait(key)
    assert worker is not threading.current_thread()
    beside.close()
    assert not worker.is_alive()


def test_a_caller_that_waits_helps_and_all_pieces_are_done_once_in_their_order(beside):
    beside._helps = True
    key, both_busy = torch.zeros(1), threading.Barrier(2)
    threads = []

    def piece(number: int) -> int:
        if number < 2:  # each of the first two waits for the other, so two threads must take them
            both_busy.wait(timeout=60)
        threads.append(threading.current_thread())
        return number

    beside.start(key, [partial(piece, number) for number in range(8)], lambda results: results)
    assert beside.wait(key) == list(range(8))
    assert len(threads) == 8 and len(set(threads)) == 2 and threading.current_thread() in threads


@pytest.mark.parametrize("number", [0, 7])
def test_an_error_of_one_piece_is_that_of_the_job_and_the_others_are_left_out(beside, number):
    beside._helps = True
    key = torch.zeros(1)
    pieces = [(lambda: 1 / 0) if place == number else (lambda: None) for place in range(8)]
    beside.start(key, pieces, lambda results: results)
    with pytest.raises(ZeroDivisionError):
        beside.wait(key)
    start(beside, key, lambda: "next")
    assert beside.wait(key) == "next"


def test_dropped_work_ends_after_the_piece_that_has_begun(beside):
    key, begun, may_end, done = torch.zeros(1), threading.Event(), threading.Event(), []

    def piece(number: int) -> None:
        begun.set()
        may_end.wait(timeout=60)
        done.append(number)

    beside.start(key, [partial(piece, number) for number in range(8)], lambda results: done.append("end"))
    begun.wait(timeout=60)
    threading.Timer(0.1, may_end.set).start()
    beside.drain()
    assert done == [0]


def test_a_batch_is_divided_where_two_threads_share_the_cores(beside):
    beside._helps = True
    assert [beside.pieces(images) for images in (1, 3, 8, 64)] == [1, 3, 8, 8]
    beside._helps = False
    assert beside.pieces(64) == 1
