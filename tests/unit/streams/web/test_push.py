from __future__ import annotations

import json
import socket
import threading
import time

import cv2
import httpx
import numpy as np
import pytest

from fgd_yolo.streams.web import app as web_app
from fgd_yolo.streams.web import create_app, serve
from fgd_yolo.streams.web import server as web_server
from fgd_yolo.streams.web.latest_frames import LatestFrames
from web_pipeline import FakePipeline, result_of

TIMEOUT_S = 30  # upper bound for events that normally happen at once


def until(condition):
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.02)


@pytest.fixture
def frames():
    return LatestFrames()


@pytest.fixture
def server(frames):
    pipeline = FakePipeline("door", "yard")
    with serve(create_app(pipeline, frames), "127.0.0.1", 0) as running:
        yield running


@pytest.fixture
def camera(frames):
    """Gives frames to the observer until the test ends, 50 a second; counts them."""
    ended, given = threading.Event(), []

    def give():
        while not ended.wait(0.02):
            frames(result_of("door", len(given)))
            given.append(time.monotonic())

    thread = threading.Thread(target=give)
    thread.start()
    yield given
    ended.set()
    thread.join()


def watch(server, path="video?stream=door"):
    """Return a connection that requested an endless response and reads none of it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    connection.connect(("127.0.0.1", server.port))
    connection.settimeout(TIMEOUT_S)
    connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def parts(server, wanted):
    """Return the given number of MJPEG parts of the stream `door`, as a multipart reader splits them."""
    parts_read, data = [], b""
    with (
        httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client,
        client.stream("GET", f"{server.url}video?stream=door") as response,
    ):
        kind, _, boundary = response.headers["Content-Type"].partition("; boundary=")
        assert kind == "multipart/x-mixed-replace"
        for chunk in response.iter_bytes():
            data += chunk
            *complete, data = data.split(f"--{boundary}\r\n".encode())
            parts_read += [part for part in complete if part]
            if len(parts_read) >= wanted:
                return parts_read[:wanted]


def test_mjpeg_has_one_frame_per_part_and_each_is_newer(server, frames, camera):
    frame_parts = parts(server, 3)
    greys = []
    for part in frame_parts:
        head, _, body = part.partition(b"\r\n\r\n")
        length = int(head.rpartition(b"Content-Length: ")[2])
        assert head.startswith(b"Content-Type: image/jpeg\r\n")
        assert len(body) == length + 2
        greys.append(int(cv2.imdecode(np.frombuffer(body[:length], np.uint8), 0)[60, 120]))
    assert len(set(greys)) == 3


def test_encoding_starts_with_a_viewer_and_ends_when_the_last_has_left(server, frames, camera):
    until(lambda: len(camera) > 5)
    assert frames.encoded == 0
    viewers = [watch(server), watch(server)]
    until(lambda: frames.encoded > 3)
    for viewer in viewers:
        viewer.close()
    until(lambda: not frames._waiting)
    encoded, given = frames.encoded, len(camera)
    until(lambda: len(camera) > given + 15)
    assert frames.encoded <= encoded + 1


def test_a_viewer_who_leaves_is_noticed_although_no_frame_comes(server, frames):
    viewer = watch(server)
    until(lambda: frames._waiting)
    viewer.close()
    until(lambda: not frames._waiting)
    assert frames.encoded == 0


def test_a_viewer_who_reads_nothing_slows_no_other_client_and_gets_no_backlog(server, frames):
    painted, image = [], np.random.default_rng(0).integers(0, 255, (700, 960, 3), np.uint8)  # 800 kB as JPEG
    frames._draw = lambda result: painted.append(result.frame.index) or image
    stuck = watch(server)
    index = 0

    def encodes_another():
        nonlocal index
        index += 1
        before = len(painted)
        frames(result_of("door", index))
        time.sleep(0.15)
        return len(painted) > before

    until(lambda: not encodes_another())  # the send buffer is full
    assert len(painted) <= 4
    assert httpx.get(f"{server.url}healthz", trust_env=False).status_code == 200
    frames._draw = LatestFrames()._draw
    frames(result_of("door", 5000))
    assert httpx.get(f"{server.url}frame?stream=door", trust_env=False).headers["X-Frame-Index"] == "5000"
    stuck.close()


def test_a_viewer_that_receives_nothing_for_long_is_disconnected(frames, camera, monkeypatch):
    monkeypatch.setattr(web_app, "MAX_VIEWERS", 1)
    monkeypatch.setattr(web_server, "_UNACKNOWLEDGED_MS", 500)
    image = np.random.default_rng(0).integers(0, 255, (700, 960, 3), np.uint8)
    frames._draw = lambda result: image
    with serve(create_app(FakePipeline("door"), frames), "127.0.0.1", 0) as server, watch(server) as stuck:
        until(lambda: frames.encoded > 1)
        assert httpx.get(f"{server.url}frame?stream=door", trust_env=False).status_code == 503
        until(lambda: httpx.get(f"{server.url}frame?stream=door", trust_env=False).status_code == 200)
        assert stuck.fileno() > 0


def test_a_frame_is_sent_once_although_no_other_comes(server, frames):
    frames(result_of("door", 0))
    with watch(server) as viewer:
        data = b""
        while data.count(b"--fgd-yolo-frame") < 2:
            data += viewer.recv(1 << 16)
        viewer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            viewer.recv(1 << 16)
    assert frames.encoded == 1


def test_the_number_of_viewers_is_bounded_and_a_slot_is_released(frames, camera, monkeypatch):
    monkeypatch.setattr(web_app, "MAX_VIEWERS", 2)
    with serve(create_app(FakePipeline("door"), frames), "127.0.0.1", 0) as server:
        viewers = [watch(server), watch(server, "events")]
        for viewer in viewers:
            assert viewer.recv(12) == b"HTTP/1.1 200"
        for path in ("video?stream=door", "events", "frame?stream=door"):
            with watch(server, path) as refused:
                response = b""
                while b"already" not in response:
                    response += refused.recv(4096) or pytest.fail(f"the connection was closed: {response}")
                assert response.startswith(b"HTTP/1.1 503")
        assert httpx.get(f"{server.url}healthz", trust_env=False).status_code == 200
        viewers[0].close()
        until(lambda: httpx.get(f"{server.url}frame?stream=door", trust_env=False).status_code == 200)
        viewers[1].close()


def test_the_status_is_sent_as_events(server, frames):
    with (
        httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client,
        client.stream("GET", f"{server.url}events") as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        lines = (line for line in response.iter_lines() if line)
        events = [json.loads(next(lines).removeprefix("data: ")) for _ in range(2)]
    assert set(events[1]["streams"]) == {"door", "yard"}
    assert events[1]["stopped"] == []
    assert "histogram" not in json.dumps(events)


def test_a_head_request_for_an_endless_response_ends(server):
    for path in ("video?stream=door", "events"):
        with watch(server, "healthz") as connection:
            for request in (f"HEAD /{path}", "GET /healthz"):
                connection.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            data = b""
            while data.count(b"alive") < 2:
                data += connection.recv(1 << 16) or pytest.fail("the connection was closed")
            assert data.count(b"HTTP/1.1 200") == 3, "the first response, the head and the one after it"


def test_the_video_of_an_unknown_stream_is_not_found(server):
    assert httpx.get(f"{server.url}video?stream=other", trust_env=False).status_code == 404
    assert httpx.get(f"{server.url}video", trust_env=False).status_code == 404


def test_a_frame_is_not_sent_twice(server, frames):
    frames(result_of("door", 4))
    first = httpx.get(f"{server.url}frame?stream=door&after=", trust_env=False)
    assert (first.status_code, first.headers["Content-Type"]) == (200, "image/jpeg")
    assert first.headers["X-Frame-Index"] == "4"
    assert httpx.get(f"{server.url}frame?stream=door&after=4", trust_env=False).status_code == 204
    assert httpx.get(f"{server.url}frame?stream=other", trust_env=False).status_code == 204
