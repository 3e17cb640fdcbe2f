"""Every way in which a camera fails, with real servers and a proxy that disturbs the connection.

A deadline may take twice its value, since the machine may be busy.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from signals import default_signals
from tests.cameras.processes import Server, fault_proxy, mjpeg_server
from tests.cameras.pytest_helpers import rtsp_server, until
from tests.cameras.watched_reader import WatchedReader

pytestmark = pytest.mark.slow
STALL_S = 1.0
FPS = 15


@pytest.fixture(scope="module")
def camera():
    with rtsp_server("--fps", FPS, "--seconds", 120) as server:
        yield server


@pytest.fixture
def proxy(camera):
    with fault_proxy(camera) as server:
        yield server


@pytest.fixture
def other():
    """A stream that faults of the other one must not affect."""
    with mjpeg_server("--fps", FPS) as server, WatchedReader(f"http://127.0.0.1:{server.port}/cam", "other") as watched:
        assert watched.wait_until_up(3)
        began = time.monotonic()
        yield watched
        assert watched.wait_for_frames(2)
        assert {state for state, _ in watched.states} == {"UP"}
        assert watched.longest_gap_s(began) < 0.5  # Ultralytics: 1.8 s


def address(server: Server) -> str:
    return f"rtsp://admin:hunter2@127.0.0.1:{server.port}/cam"


def test_a_camera_that_reboots_is_back_after_the_backoff(proxy, other, capfd):
    with WatchedReader(address(proxy)) as cam:
        assert cam.wait_until_up()
        proxy.send("cut")
        assert cam.until(lambda: cam.state == "DOWN", 2 * STALL_S)
        assert cam.wait_until_up()
        assert cam.stats.snapshot()["reconnects"] == 1
        assert [state for state, _ in cam.states if state != "CONNECTING"][-2:] == ["DOWN", "UP"]
        assert [one.index for one in cam.frames] == list(range(len(cam.frames)))
    lines = capfd.readouterr().err.splitlines()
    assert "cam: DOWN, the connection was closed" in lines and "hunter2" not in "".join(lines)


def test_a_camera_that_loses_power_comes_back_with_another_size(other):
    first = rtsp_server("--fps", FPS)
    with first, WatchedReader(address(first)) as cam:
        assert cam.wait_until_up()
        first.stop()
        assert cam.until(lambda: cam.state == "DOWN", 2 * STALL_S)
        assert cam.until(lambda: cam.stats.reason == "connection refused")
        frames = len(cam.frames)
        with rtsp_server("--fps", FPS, "--size", "480x360", "--port", first.port):
            assert cam.wait_until_up()
            assert {one.size for one in cam.frames[:frames]} == {(320, 240)}
            assert {one.size for one in cam.frames[frames:]} == {(480, 360)}


def test_a_camera_that_hangs_is_down_within_the_deadline_and_reopened(proxy, other):
    with WatchedReader(address(proxy), stall_s=STALL_S) as cam:
        assert cam.wait_until_up()
        proxy.send("stall")
        frames = len(cam.frames)
        assert cam.until(lambda: cam.state == "DOWN", 2 * STALL_S)
        assert cam.stats.reason in ("no data for 1 s", "no frame for 1.0 s")
        assert len(cam.frames) <= frames + 3  # no frame is repeated while none comes
        time.sleep(0.3)
        proxy.send("ok")
        assert cam.wait_until_up(timeout_s=20)
        assert cam.frames[-1].age_s < 1  # what the proxy held back is not shown as new
        assert cam.stats.snapshot()["reconnects"] >= 1


@pytest.mark.parametrize("fault", ["refuse", "stall"])
def test_a_camera_that_is_down_at_the_start_is_retried_without_flooding_it(proxy, other, capfd, fault):
    proxy.send(fault)
    with WatchedReader(address(proxy), backoff=(0.05, 0.1)) as cam:
        assert cam.until(lambda: cam.state == "DOWN", 2 * STALL_S)
        time.sleep(1)
        assert cam.reader.reading_threads <= 3 and not cam.frames
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("cam:")]
        assert len(lines) == 1 and "DOWN" in lines[0]
        proxy.send("ok")
        assert cam.wait_until_up(timeout_s=20)


def test_a_corrupt_stream_neither_crashes_nor_ends(proxy, other):
    with WatchedReader(address(proxy)) as cam:
        assert cam.wait_until_up()
        proxy.send("corrupt 0.0005")
        assert cam.wait_for_frames(2 * FPS, timeout_s=20)
        dropped = cam.stats.snapshot()["dropped"]
        assert dropped.get("bad frame", 0) + cam.stats.snapshot()["reconnects"] > 0
        proxy.send("ok")
        assert cam.until(lambda: cam.wait_for_frames(1) and cam.state == "UP" and cam.frames[-1].age_s < 1, 20)
        assert cam.wait_until_up(2 * FPS)
        assert all(0 < one.age_s < 1 for one in cam.frames[-FPS:])


def test_garbage_and_cut_jpegs_are_counted_and_no_frame_is_invented(other):
    with mjpeg_server("--fps", FPS) as server, WatchedReader(f"http://127.0.0.1:{server.port}/cam") as cam:
        assert cam.wait_until_up()
        for command in ("garbage 1", "cut 1", "garbage 3", "cut 3"):
            server.send(command)
            assert cam.wait_for_frames(FPS // 2)
        assert cam.stats.snapshot()["dropped"]["bad frame"] == 8
        assert [state for state, _ in cam.states] == ["UP"]
        assert all(0 < one.age_s < 1 for one in cam.frames)


def test_a_jpeg_that_is_shorter_than_its_header_declares_costs_a_reconnect_at_most(other):
    with mjpeg_server("--fps", FPS) as server, WatchedReader(f"http://127.0.0.1:{server.port}/cam") as cam:
        assert cam.wait_until_up()
        server.send("torn 1")
        assert cam.wait_for_frames(FPS)
        assert cam.wait_until_up()
        assert cam.stats.snapshot()["reconnects"] <= 1
        assert all(0 < one.age_s < 1 for one in cam.frames)


def test_a_camera_that_sends_nothing_but_garbage_is_down_until_it_sends_frames():
    with mjpeg_server("--fps", FPS) as server, WatchedReader(f"http://127.0.0.1:{server.port}/cam") as cam:
        assert cam.wait_until_up()
        server.send("garbage 30")
        assert cam.until(lambda: cam.state == "DOWN")
        assert cam.wait_until_up(timeout_s=20)


def test_a_size_that_changes_in_the_stream_is_followed(other):
    with mjpeg_server("--fps", FPS) as server, WatchedReader(f"http://127.0.0.1:{server.port}/cam") as cam:
        assert cam.wait_until_up()
        server.send("size 640x480")
        assert cam.until(lambda: cam.frames[-1].size == (640, 480))
        assert cam.wait_for_frames(FPS)
        assert [state for state, _ in cam.states] == ["UP"]


STOP_WHILE_BLOCKED = """
import signal, sys, threading
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy, FrameBuffer
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.stats import StreamStats
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
stats = StreamStats("cam")
reader = Reader("cam", sys.argv[1], FrameBuffer(DropPolicy("latest"), stats).put, stats, stall_s=3.0)
reader.start()
while not stopped.wait(0.02):
    print(stats.state, stats.snapshot()["seen"], flush=True)
reader.stop()
assert reader.join(4)
print("hangs", reader.reading_threads, flush=True)
for _ in range(60):
    threading.Event().wait(0.1)
    if not reader.reading_threads:
        sys.exit(print("returned"))
"""


def test_a_process_stops_while_a_read_is_blocked(proxy):
    command = [sys.executable, "-c", STOP_WHILE_BLOCKED, address(proxy)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, preexec_fn=default_signals, **pipes)
    assert until(lambda: process.stdout.readline().startswith("UP"), 20)
    proxy.send("stall")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)  # 5 s, twice
    assert process.returncode == 0, err
    assert out.splitlines()[-2:] == ["hangs 1", "returned"]
    assert "hunter2" not in out + err


def test_repeated_faults_leave_no_threads_and_no_open_files(proxy):
    import psutil

    with WatchedReader(address(proxy), backoff=(0.01, 0.05)) as cam:
        assert cam.wait_until_up()
        process = psutil.Process()
        before = process.num_threads(), process.num_fds()
        for _ in range(10):
            proxy.send("cut")
            assert cam.until(lambda: cam.state != "UP", 2 * STALL_S)
            assert cam.wait_until_up(1)
        assert until(lambda: process.num_threads() <= before[0] + 1)
        assert until(lambda: process.num_fds() <= before[1] + 1)
