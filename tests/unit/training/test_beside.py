"""Work beside the caller has its own thread without gradients and autocast, and one result per key."""

from __future__ import annotations

import threading

import pytest
import torch

from fgd_yolo.training.beside import Beside


@pytest.fixture
def beside():
    one = Beside(torch.device("cpu"))
    yield one
    one.close()


def test_the_caller_goes_on_while_the_work_runs(beside):
    key, may_end = torch.zeros(1), threading.Event()
    beside.start(key, lambda: may_end.wait(timeout=60))
    may_end.set()  # would never be reached if start() waited
    assert beside.wait(key) is True


def test_the_worker_has_neither_gradients_nor_autocast_although_the_caller_has_both(beside):
    weight = torch.ones(2, 2, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        beside.start(weight, lambda: weight @ weight)
        result = beside.wait(weight)
        assert (weight @ weight).dtype == torch.bfloat16
    assert result.dtype == torch.float32 and not result.requires_grad


def test_only_the_tensor_that_was_started_with_gets_the_result_and_only_once(beside):
    key = torch.zeros(1)
    beside.start(key, lambda: "result")
    assert beside.wait(torch.zeros(1)) is None
    assert beside.wait(key) == "result" and beside.wait(key) is None


def test_work_that_nobody_has_waited_for_is_finished_before_the_next(beside):
    order, keys = [], [torch.zeros(1), torch.zeros(1)]
    for number, key in enumerate(keys):
        beside.start(key, lambda number=number: order.append(number))
    assert beside.wait(keys[0]) is None
    beside.wait(keys[1])
    assert order == [0, 1]


def test_an_error_of_the_work_reaches_the_one_who_waits(beside):
    key = torch.zeros(1)
    beside.start(key, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        beside.wait(key)


def test_an_error_of_dropped_work_is_dropped_with_it(beside):
    key = torch.zeros(1)
    beside.start(key, lambda: 1 / 0)
    beside.drain()
    assert beside.wait(key) is None


def test_closing_ends_the_thread():
    beside = Beside(torch.device("cpu"))
    key = torch.zeros(1)
    beside.start(key, threading.current_thread)
    worker = beside.wait(key)
    assert worker is not threading.current_thread()
    beside.close()
    assert not worker.is_alive()
