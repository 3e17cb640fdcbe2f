"""One process ends all others with a line that says why. The processes are threads here, with a store in memory."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from torch.distributed import HashStore

from fgd_yolo.distributed import heartbeat
from fgd_yolo.distributed.heartbeat import Heartbeat, Member
from fgd_yolo.files import machine_id, process_start

QUICK = {"interval_s": 0.02, "silent_s": 0.6}
GONE_PID = 2**22 + 1  # above the largest process id of Linux


class Group:
    """Heartbeats of some processes on two machines, and the line with which each has ended."""

    def __init__(self, size: int, **changes: Member):
        self.store, self.lines = HashStore(), {}
        self.members = [changes.get(f"rank{rank}", elsewhere(rank)) for rank in range(size)]
        self.beats = [self._beat(rank) for rank in range(size)]

    def _beat(self, rank: int) -> Heartbeat:
        return Heartbeat(self.store, self.members, rank, **QUICK, end=lambda line: self.lines.setdefault(rank, line))

    def start(self, *ranks: int) -> None:
        for rank in ranks:
            self.beats[rank].start()

    def wait_for_lines(self, count: int) -> dict[int, str]:
        until = time.monotonic() + 10
        while len(self.lines) < count and time.monotonic() < until:
            time.sleep(0.01)
        return self.lines


def elsewhere(rank: int) -> Member:
    return Member(rank, f"host{rank}", f"machine{rank}", 100 + rank, "1")


def test_an_error_of_one_process_ends_all_others_with_its_line():
    group = Group(3)
    group.start(0, 1, 2)
    group.beats[1].fail(ValueError("the disk is full"))
    lines = group.wait_for_lines(2)
    assert lines == dict.fromkeys((0, 2), "rank 1 (process 101 on host1) failed: the disk is full")


def test_a_silent_process_ends_all_others():
    group = Group(3)
    group.start(0, 2)
    lines = group.wait_for_lines(2)
    assert set(lines) == {0, 2}
    assert all(line.startswith("rank 1 (process 101 on host1) has been silent for 1 s") for line in lines.values())


def test_a_killed_process_of_the_same_machine_is_noticed_before_it_is_silent():
    killed = Member(1, "here", machine_id(), GONE_PID, "1")
    group = Group(2, rank1=killed)
    before = time.monotonic()
    group.start(0)
    lines = group.wait_for_lines(1)
    assert lines == {0: f"rank 1 (process {GONE_PID} on here) was killed or has crashed"}
    assert time.monotonic() - before < QUICK["silent_s"]


def test_a_running_process_of_the_same_machine_counts_as_alive():
    assert not Member(0, "here", machine_id(), os.getpid(), process_start(os.getpid())).is_gone
    assert not Member(0, "there", "another machine", GONE_PID, "1").is_gone


def test_a_process_that_has_left_is_not_missed():
    group = Group(2)
    group.start(0, 1)
    group.beats[1].stop()
    time.sleep(2 * QUICK["silent_s"])
    assert group.lines == {}
    group.beats[0].stop()


def test_a_broken_connection_waits_for_the_process_that_has_caused_it():
    group = Group(2)
    group.start(0)
    group.beats[0].fail(RuntimeError("[gloo/pair.cc:545] Read error: Connection reset by peer"))
    assert group.lines[0].startswith("rank 1 (process 101 on host1) has been silent")


def test_a_stop_request_does_not_hide_which_process_has_ended():
    """torchrun stops all processes as soon as one has ended."""

    def stop(*_):
        raise KeyboardInterrupt

    group = Group(2)
    group.start(0)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        group.beats[0].fail(RuntimeError("Connection closed by peer"))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert group.lines[0].startswith("rank 1 (process 101 on host1) has been silent")


def test_the_first_error_is_the_one_that_is_shown(monkeypatch):
    monkeypatch.setattr(heartbeat, "_ACKNOWLEDGED_S", 0)
    group = Group(2)
    group.beats[0].fail(ValueError("first"))
    group.beats[1].fail(ValueError("second"))
    assert group.lines == {1: "rank 0 (process 100 on host0) failed: first"}


def test_a_store_that_never_answers_ends_the_process():
    release, lines = threading.Event(), []

    class Unplugged:
        def add(self, *_):
            release.wait(10)

    Heartbeat(Unplugged(), [elsewhere(0), elsewhere(1)], 1, **QUICK, end=lines.append).start()
    time.sleep(2 * QUICK["silent_s"])
    release.set()
    assert lines == ["rank 0 (process 100 on host0) is gone: its store has not answered for 1 s"]


def test_a_message_of_several_lines_arrives_as_one():
    group = Group(2)
    group.start(0, 1)
    group.beats[1].fail(ValueError("one\ntwo"))
    assert "\n" not in group.wait_for_lines(1)[0]


def test_an_exception_that_leaves_the_block_is_reported(monkeypatch):
    reported = []

    class Recorder:
        def fail(self, error):
            reported.append(str(error))

    monkeypatch.setattr(heartbeat, "_current", Recorder())
    with pytest.raises(ValueError, match="wrong"), heartbeat.reported():
        raise ValueError("wrong")
    with pytest.raises(SystemExit), heartbeat.reported():
        raise SystemExit(0)
    assert reported == ["wrong"]


def test_a_process_alone_reports_to_nobody():
    assert heartbeat.current() is None
    with pytest.raises(ValueError, match="wrong"), heartbeat.reported():
        raise ValueError("wrong")
