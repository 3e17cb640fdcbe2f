"""Joining other processes: what goes wrong is one line with the remedy."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from fgd_yolo.distributed.heartbeat import Member
from fgd_yolo.distributed.process_group import _interface_towards, _meet, join, leave
from fgd_yolo.distributed.world import World
from fgd_yolo.errors import FGDError, UsageError

ALONE_OF_TWO = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
}


@pytest.fixture
def listener():
    """A program of another kind that listens on a port."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        yield opened


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)

    def set_all(port: int, **changes: str):
        for name, value in {**ALONE_OF_TWO, "MASTER_PORT": str(port), **changes}.items():
            monkeypatch.setenv(name, value)

    return set_all


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_process_without_others_joins_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join("cpu") is False
    assert not dist.is_initialized()
    leave()


def test_a_port_that_is_taken_is_named_with_the_remedy(environment, listener):
    port = listener.getsockname()[1]
    environment(port)
    with pytest.raises(FGDError, match=f"cannot listen on port {port}.*--master-port") as error:
        join("cpu", timeout_s=1)
    one_line(error)


def test_ranks_that_never_come_are_named(environment):
    environment(free_port(), WORLD_SIZE="3", LOCAL_WORLD_SIZE="3")
    with pytest.raises(FGDError, match=r"rank 1, 2 of 3 did not come to 127\.0\.0\.1:\d+ within 1 s") as error:
        join("cpu", timeout_s=1)
    one_line(error)
    assert not dist.is_initialized()


def test_processes_that_were_restarted_meet_again_in_the_store_of_their_predecessors(monkeypatch):
    """The second rank comes to its second meeting before rank 0, and finds the complete first one."""
    store, ages = dist.HashStore(), []
    monkeypatch.setattr(Member, "this", lambda world: Member(world.rank, "host", "machine", 1, str(len(ages))))

    def all_meet(wait_s: float) -> list:
        with ThreadPoolExecutor() as pool:
            late = pool.submit(_meet, store, World(2, 1, 1, 2), "here", 10)
            time.sleep(wait_s)
            return [_meet(store, World(2, 0, 0, 2), "here", 10), late.result()]

    meetings = []
    for wait_s in (0.0, 0.3):
        first, second = all_meet(wait_s)
        assert first == second
        assert [(member.rank, member.start) for member in first[1]] == [(0, str(len(ages))), (1, str(len(ages)))]
        meetings.append(first[0])
        ages.append(wait_s)
    assert meetings[0] != meetings[1]


def test_a_rank_that_finds_nobody_says_where_it_looked(environment):
    port = free_port()
    environment(port, RANK="1", LOCAL_RANK="1")
    with pytest.raises(FGDError, match=f"rank 1 did not reach rank 0 at 127.0.0.1:{port} within 1 s") as error:
        join("cpu", timeout_s=1)
    one_line(error)


def test_an_environment_without_a_meeting_point_is_refused(environment, monkeypatch):
    environment(1)
    monkeypatch.delenv("MASTER_ADDR")
    with pytest.raises(UsageError, match="no MASTER_ADDR and MASTER_PORT"):
        join("cpu", timeout_s=1)


def test_the_interface_is_the_one_that_leads_to_the_address():
    assert _interface_towards("127.0.0.1") in {name for _, name in socket.if_nameindex()}
