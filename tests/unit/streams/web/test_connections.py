"""Clients that hold connections, send slowly or never read: the page stays reachable for all others."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import httpx
import numpy as np
import pytest

from fgd_yolo.streams.web import connections, create_app, serve
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.push import ViewerSlots
from web_pipeline import FakePipeline, result_of

pytestmark = pytest.mark.slow

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
GET, POST = b"GET /healthz HTTP/1.1\r\n" + HOST, b"POST /streams HTTP/1.1\r\n" + HOST + JSON
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
PARTS_OF_REQUESTS = {
    "nothing": b"",
    "part of a head": b"GET / HTTP/1.1\r\n" + HOST,
    "a line without an end": b"G" * 1000,
    "part of a body": POST + b"Content-Length: 100\r\n\r\n{",
    "chunks without an end": POST + CHUNKED + b"1\r\n{\r\n",
    "a body after its response": b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n",
    "a body behind a request to read": GET + b"Content-Length: 1000000\r\n\r\n",
    "an idle connection": GET + b"\r\n",
    "a second head": GET + b"\r\nGET / HT",
    "waiting for 100 Continue": POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
}
SERVER = """
import resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
from fgd_yolo.streams.web import create_app, serve
from fgd_yolo.streams.web.latest_frames import LatestFrames
from web_pipeline import FakePipeline
import os, threading

pipeline, frames = FakePipeline("door"), LatestFrames()
server = serve(create_app(pipeline, frames), "127.0.0.1", 0)
moving = threading.Event()

def move():
    index = 0
    while not moving.wait(0.05):
        pipeline.deliver(frames, "door", index)
        index += 1

threading.Thread(target=move, daemon=True).start()
held = []
print(server.port, flush=True)
for line in sys.stdin:
    if line == "take all descriptors\\n":
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
    else:
        while held:
            os.close(held.pop())
    print("done", flush=True)
server.stop()
print([thread.name for thread in threading.enumerate() if thread.name == "web server"], flush=True)
"""
FLOOD = """
import socket, sys

held = []
while True:
    try:
        held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5))
    except OSError:
        continue
    if len(held) == 1000:
        print("going", flush=True)
    if len(held) > 2000:
        held.pop(0).close()
"""


@pytest.fixture
def page():
    """The page of one stream, with deadlines of a second."""
    pipeline, frames = FakePipeline("door"), LatestFrames()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "REQUEST_TIMEOUT_S", 1.0)
        patch.setattr(connections, "SEND_TIMEOUT_S", 1.0)
        patch.setattr(connections, "CHECK_PERIOD_S", 0.1)
        with serve(create_app(pipeline, frames), "127.0.0.1", 0) as server:
            pipeline.deliver(frames, "door", 0)
            yield server, frames


class Served:
    """A page in a separate process that may open a given number of files."""

    def __init__(self, limit: int):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        )
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/"

    def tell(self, command: str) -> None:
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> tuple[str, str]:
        """Stop the server, and return what its process printed."""
        return self.process.communicate(timeout=60)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def get(url: str, **options) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30, **options)


def read_to_the_end(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes; a timeout of the connection is an error."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def status_line(response: bytes) -> str:
    return response.split(b"\r\n")[0].decode()


@pytest.mark.parametrize("sent", PARTS_OF_REQUESTS.values(), ids=PARTS_OF_REQUESTS)
def test_the_page_responds_while_600_connections_wait_for_the_rest_of_a_request(sent):
    with serve(create_app(FakePipeline("door"), LatestFrames()), "127.0.0.1", 0) as server, ExitStack() as held:
        for _ in range(600):
            held.enter_context(connect(server.port)).sendall(sent)
        assert get(f"{server.url}healthz").text == "alive\n"
        assert "<html" in get(server.url).text
        assert get(f"{server.url}stats").json()["streams"].keys() == {"door"}


@pytest.mark.parametrize("limit", [1024, 256])
def test_viewers_receive_frames_while_2000_connections_are_opened_and_held(limit):
    with Served(limit) as served, ExitStack() as held:
        viewer = held.enter_context(connect(served.port))
        viewer.sendall(b"GET /video?stream=door HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"200 OK" in viewer.recv(65536)
        parts = list(PARTS_OF_REQUESTS.values())
        for number in range(2000):
            # One that made room for a later one may be closed before its bytes go out.
            with suppress(ConnectionError):
                held.enter_context(connect(served.port)).sendall(parts[number % len(parts)])
            if number % 100 == 99:
                assert get(f"{served.url}healthz").text == "alive\n"
                assert "<html" in get(served.url).text
        seen = b""
        while seen.count(b"Content-Type: image/jpeg") < 10:
            part = viewer.recv(65536)
            assert part, "the viewer was disconnected"
            seen += part
        out, err = served.end()
        assert (out, err) == ("[]\n", "")


@pytest.mark.parametrize("limit", [1024, 256])
def test_new_clients_are_served_while_others_open_connections_without_a_pause(limit):
    with Served(limit) as served:
        with subprocess.Popen([sys.executable, "-c", FLOOD, str(served.port)], stdout=subprocess.PIPE) as flood:
            assert flood.stdout.readline() == b"going\n"
            responses = [get(f"{served.url}healthz").text for _ in range(30)]
            flood.kill()
        assert responses == ["alive\n"] * 30
        assert served.end()[1] == ""


@pytest.mark.parametrize("sent", PARTS_OF_REQUESTS.values(), ids=PARTS_OF_REQUESTS)
def test_a_connection_that_stops_sending_is_closed(page, sent):
    with connect(page[0].port) as connection:
        connection.sendall(sent)
        read_to_the_end(connection)


SLOW = {
    "head": (b"GET / HTTP/1.1\r\n" + HOST + b"X: ", b"a", "HTTP/1.1 408 Request Timeout"),
    "body": (
        POST + b"Content-Length: 9000\r\n\r\n",
        b" ",
        "HTTP/1.1 408 Request Timeout",
    ),
    "chunks": (
        POST + CHUNKED,
        b"1\r\n \r\n",
        "HTTP/1.1 408 Request Timeout",
    ),
    "length of a chunk": (
        POST + CHUNKED + b"1;",
        b"a",
        "HTTP/1.1 408 Request Timeout",
    ),
    "body after the response": (
        b"POST /nothing HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 9000\r\n\r\n",
        b" ",
        "HTTP/1.1 404 Not Found",
    ),
    "body of a viewer": (
        b"GET /events HTTP/1.1\r\n" + HOST + b"Content-Length: 9000\r\n\r\n",
        b" ",
        "HTTP/1.1 200 OK",
    ),
}


@pytest.mark.parametrize(("first_bytes", "more", "response"), SLOW.values(), ids=SLOW)
def test_slow_senders_do_not_extend_the_deadline(page, first_bytes, more, response):
    with connect(page[0].port) as connection:
        connection.sendall(first_bytes)
        connection.settimeout(0.05)
        received, end = b"", time.monotonic() + 30
        while True:
            assert time.monotonic() < end, "it is open for ever"
            try:
                connection.sendall(more)
                part = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not part:
                break
            received += part
    assert status_line(received) == response


def test_a_request_that_takes_its_time_within_the_deadline_is_answered(page):
    with connect(page[0].port) as connection:
        for byte in GET + b"Connection: close\r\n\r\n":
            connection.sendall(bytes([byte]))
            time.sleep(0.005)
        assert read_to_the_end(connection).endswith(b"alive\n")


def test_the_deadline_restarts_with_each_request(page):
    with httpx.Client(trust_env=False) as client:
        addresses = set()
        for _ in range(4):
            response = client.get(f"{page[0].url}healthz")
            addresses.add(response.extensions["network_stream"].get_extra_info("client_addr"))
            time.sleep(0.5)
        assert len(addresses) == 1


TOO_LARGE = {
    "one header": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 10_000 + b"\r\n",
    "the address": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "no end": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000,
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "noise": bytes(range(256)) * 100,
    "empty lines": b"\r\n" * 100,
}


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_that_is_too_large_or_none_is_refused_at_once(sent):
    with serve(create_app(FakePipeline(), LatestFrames()), "127.0.0.1", 0) as server:
        with connect(server.port) as connection:
            with suppress(ConnectionError):
                connection.sendall(sent)
            received = read_to_the_end(connection)
        assert status_line(received or b"HTTP/1.1 400 Bad Request") == "HTTP/1.1 400 Bad Request"
        assert get(f"{server.url}healthz").text == "alive\n"


def test_damaged_chunks_after_a_response_are_no_server_error():
    with Served(1024) as served:
        head = b"POST /x HTTP/1.1\r\n" + HOST + JSON + CHUNKED
        with connect(served.port) as connection:
            connection.sendall(head)
            assert b"404" in connection.recv(65536)
            connection.sendall(b"zz\r\n")
            read_to_the_end(connection)
        with connect(served.port) as connection:
            connection.sendall(head.replace(b"/x", b"/streams"))
        assert get(f"{served.url}healthz").text == "alive\n"
        assert served.end() == ("[]\n", "")


def test_requests_in_one_piece_are_all_answered(page):
    request = GET + b"\r\n"
    with connect(page[0].port) as connection:
        connection.sendall(request * 50 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert read_to_the_end(connection).count(b"alive\n") == 51


def test_the_page_responds_while_all_connections_are_used_by_viewers_that_never_read(page):
    server, _ = page
    with ExitStack() as held:
        for _ in range(64):
            viewer = held.enter_context(connect(server.port))
            viewer.sendall(b"GET /video?stream=door HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b"200 OK" in viewer.recv(15)
        assert get(f"{server.url}video?stream=door").status_code == 503
        assert get(f"{server.url}healthz").text == "alive\n"
        assert "<html" in get(server.url).text


def test_a_viewer_that_does_not_read_loses_the_slot(page, monkeypatch):
    server, frames = page
    left = []
    leave = ViewerSlots.__exit__
    monkeypatch.setattr(ViewerSlots, "__exit__", lambda self, *error: left.append(self.used) or leave(self, *error))
    noise = np.random.default_rng(0).integers(0, 256, (480, 960, 3), np.uint8)
    with connect(server.port) as viewer:
        viewer.sendall(b"GET /video?stream=door HTTP/1.1\r\n" + HOST + b"\r\n")
        index = 0
        end = time.monotonic() + 30
        while not left:
            assert time.monotonic() < end, "it keeps its place"
            index += 1
            result = result_of("door", index, side=480)
            result.frame.image()[:] = noise
            frames(result)
            time.sleep(0.02)
    assert left == [1]


def test_a_client_that_never_reads_its_responses_is_disconnected(page):
    server, _ = page
    with connect(server.port) as connection, pytest.raises(ConnectionError):
        connection.settimeout(0.1)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with suppress(TimeoutError):
                connection.sendall(b"GET /page.js HTTP/1.1\r\n" + HOST + b"\r\n")
    assert get(f"{server.url}healthz").text == "alive\n"


def test_running_out_of_file_descriptors_is_one_line_and_the_page_recovers():
    with Served(256) as served:
        assert get(f"{served.url}healthz").text == "alive\n"
        served.tell("take all descriptors")
        with ExitStack() as held:
            for _ in range(20):
                held.enter_context(connect(served.port))
            time.sleep(1.5)
            served.tell("give them back")
            assert get(f"{served.url}healthz").text == "alive\n"
            assert "<html" in get(served.url).text
        out, err = served.end()
        assert (out, err) == (
            "[]\n",
            "web page: no file descriptors are left; raise the limit (ulimit -n)\n",
        )


@pytest.mark.parametrize(("soft", "most"), [(1024, 512), (256, 128), (10, 8), (resource.RLIM_INFINITY, 512)])
def test_half_of_the_file_descriptors_remain_for_cameras_and_files(monkeypatch, soft, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert connections.max_connections() == most
