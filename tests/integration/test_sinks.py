from __future__ import annotations

import base64
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.sinks import SinkQueue, SinkUnavailable
from fgd_yolo.streams.sinks.webhook import WebhookSink
from fgd_yolo.streams.sinks.window import WindowSink
from signals import default_signals
from stream_results import LONG_S, make_result

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
BLOCK = ((1, 0.9, (8, 8, 24, 20)),)
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}

RECORDER = """
import os, signal, sys, time
import numpy as np
from fgd_yolo.streams.sinks import SinkQueue
from fgd_yolo.streams.sinks.mp4 import Mp4Sink
from stream_results import make_result

random = np.random.default_rng(0)
images = [random.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(8)]
queue = SinkQueue(Mp4Sink(sys.argv[1], annotated=False), frames=64)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
for index in range(100_000):
    while not queue.put(make_result("door", index, (), image=images[index % 8], pts=index / 25)):
        time.sleep(0.001)
    if index == 150:
        print("going", flush=True)
    if stopped:
        break
    time.sleep(0.002)
queue.close(5)
print(queue.snapshot()["written"], flush=True)
"""


def count_frames(path: Path) -> tuple[int, list[float]]:
    with av.open(str(path)) as file:
        times = [frame.time for frame in file.decode(video=0)]
    return len(times), times


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_recording_of_a_process_that_ends_by_a_signal_plays(tmp_path, end):
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=default_signals,
    )
    try:
        assert process.stdout.readline() == "going\n"
        time.sleep(0.5)
        process.send_signal(end)
        output = process.stdout.read()
        process.wait(LONG_S)
    finally:
        process.kill()
        process.stdout.close()
    [path] = tmp_path.rglob("*.mp4")
    count, times = count_frames(path)
    assert times == pytest.approx([index / 25 for index in range(count)], abs=2e-5)
    if end == signal.SIGKILL:
        assert count >= 100  # of the 150 that were handed over, 64 may have waited in the queue
    else:
        assert process.returncode == 0 and count == int(output)
        with av.open(str(path)) as file:
            assert file.streams.video[0].frames == count  # an ordinary MP4 with an index


def test_a_full_disk_costs_one_sink_and_nothing_else(tmp_path):
    code = f"""if True:
        import resource, time
        import numpy as np
        from fgd_yolo.streams.sinks import SinkQueue
        from fgd_yolo.streams.sinks.callback import CallbackSink
        from fgd_yolo.streams.sinks.mp4 import Mp4Sink
        from stream_results import make_result

        random = np.random.default_rng(0)
        seen = []
        video = SinkQueue(Mp4Sink({str(tmp_path)!r}, annotated=False), frames=400)
        other = SinkQueue(CallbackSink(lambda result: seen.append(result.frame.index)), frames=400)
        for limit in (200_000, resource.RLIM_INFINITY):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            for index in range(150):
                noise = random.integers(0, 255, (96, 128, 3), dtype=np.uint8)
                result = make_result("door", index, (), image=noise, pts=index / 25)
                video.put(result), other.put(result)
            while video.snapshot()["waiting"]:
                time.sleep(0.01)
            time.sleep(5.1)  # the pause after an error
        print(video.close(30), other.close(30), len(seen))
        counted = video.snapshot()
        print(counted["written"], counted["dropped"]["error"], sum(counted["dropped"].values()))
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=ENVIRONMENT, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "True True 300"
    written, errors, dropped = map(int, second.split())
    assert errors == dropped > 1 and written + dropped == 300
    assert done.stderr.count("File too large") == 1 and done.stderr.count("recording paused after a disk error") == 1
    before, after = sorted(tmp_path.rglob("*.mp4"), key=lambda path: path.stat().st_mtime_ns)
    assert before.stat().st_size <= 200_000
    counts = [count_frames(path)[0] for path in (before, after)]
    assert counts[1] == 150  # it recovered by itself
    assert counts[0] > 0 and written - 13 <= sum(counts) <= written  # half a second waits for the disk


class Receiver(ThreadingHTTPServer):
    """A web server that records requests and responds with the given status, else with 200."""

    daemon_threads = True

    def __init__(self):
        self.bodies: queue.Queue = queue.Queue()
        self.statuses: list[int] = []
        self.headers: list = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://user:hunter2@127.0.0.1:{self.server_address[1]}/hook?token=abcdef"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.server.headers.append(self.headers)
        if status == 200:
            self.server.bodies.put(json.loads(body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def test_a_webhook_gets_results_with_objects_and_gaps(receiver):
    sink = WebhookSink(receiver.url)
    sink.write(make_result(index=1))
    sink.write(make_result(index=2, objects=()))
    last = make_result(index=3, objects=())
    last.zones = {"zones": {}, "lines": {}, "events": [{"event": "lost", "zone": "yard", "tracker_id": 1}]}
    sink.write(last)
    sink.gap("door", "refused")
    sink.close()
    bodies = [receiver.bodies.get(timeout=LONG_S) for _ in range(3)]
    assert (bodies[0]["index"], bodies[0]["objects"][0]["class_name"]) == (1, "block")
    assert (bodies[1]["index"], bodies[1]["zones"]["events"][0]["event"]) == (3, "lost")
    assert (bodies[2]["kind"], bodies[2]["reason"]) == ("gap", "refused")
    assert receiver.bodies.empty()
    assert receiver.headers[0]["Authorization"].startswith("Basic ")
    assert receiver.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("password", ["p@ss/w?rd#1", "p/w:d", "w%rd", "two words"])
@pytest.mark.parametrize("path", ["/@yard/hook", "/hook?to=me@example.com"])
def test_a_webhook_whose_password_is_not_percent_encoded_reaches_its_server(receiver, password, path):
    port = receiver.server_address[1]
    sink = WebhookSink(f"http://user:{password}@127.0.0.1:{port}{path}")
    sink.write(make_result(index=1))
    sink.close()
    assert receiver.bodies.get(timeout=LONG_S)["index"] == 1
    login = base64.b64encode(f"user:{password}".encode()).decode()
    assert receiver.headers[0]["Authorization"] == f"Basic {login}"
    assert receiver.headers[0]["Host"] == f"127.0.0.1:{port}"


def test_a_webhook_with_an_at_sign_in_its_path_has_no_login(receiver):
    sink = WebhookSink(f"http://127.0.0.1:{receiver.server_address[1]}/@yard/hook")
    sink.write(make_result(index=1))
    sink.close()
    assert receiver.bodies.get(timeout=LONG_S)["index"] == 1
    assert "Authorization" not in receiver.headers[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", [bytes(1 << 16), b"x"], ids=["fast", "dripping"])
def test_a_server_whose_response_never_ends_does_not_block_the_sink(receiver, block, monkeypatch):
    sent = []

    def respond_without_end(self):
        receiver.bodies.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):  # it has seen enough
            while True:
                self.wfile.write(block)
                sent.append(len(block))
                time.sleep(0.1 if len(block) == 1 else 0)

    monkeypatch.setattr(receiver.RequestHandlerClass, "do_POST", respond_without_end)
    sink = WebhookSink(receiver.url)
    for index in (1, 2):
        sink.write(make_result(index=index))
        assert receiver.bodies.get(timeout=LONG_S)["index"] == index
    sink.close()
    assert sum(sent) < 32 << 20, "no more than what fits into the system's buffers"


def test_a_request_to_a_busy_server_is_retried(receiver):
    receiver.statuses = [503, 429]
    sink = WebhookSink(receiver.url)
    sink.write(make_result(index=1))
    assert receiver.bodies.get(timeout=LONG_S)["index"] == 1
    receiver.statuses = [500, 500, 500]
    with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1:\d+ responds with status 500, 3 times"):
        sink.write(make_result(index=2))
    assert receiver.statuses == [] and receiver.bodies.empty()
    sink.close()


def test_a_rejected_request_is_not_retried_and_no_secret_is_printed(receiver, capfd):
    receiver.statuses = [404]
    sink = SinkQueue(WebhookSink(receiver.url))
    sink.put(make_result(index=1))
    sink.put(make_result(index=2))
    assert sink.close(LONG_S)
    assert receiver.bodies.get(timeout=LONG_S)["index"] == 2
    assert sink.snapshot()["dropped"] == {"error": 1}
    output = capfd.readouterr().err
    assert (
        "rejects the request with status 404" in output
        and sink.name == f"webhook 127.0.0.1:{receiver.server_address[1]}"
    )
    assert "hunter2" not in output and "abcdef" not in output


def test_a_webhook_that_rejects_every_post_stays_failed_although_the_last_result_is_skipped(receiver):
    receiver.statuses = [404, 404]
    sink = SinkQueue(WebhookSink(receiver.url))
    for index, objects in enumerate([BLOCK, (), BLOCK, ()]):
        sink.put(make_result(index=index, objects=objects))
    assert sink.close(LONG_S)
    counted = sink.snapshot()
    assert (counted["written"], counted["skipped"], counted["dropped"]) == (0, 2, {"error": 2})
    assert "rejects the request with status 404" in counted["failure"]


def test_an_unreachable_or_hanging_server_costs_a_bounded_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        sink = WebhookSink(f"http://127.0.0.1:{port}/", timeout_s=0.1)
        with pytest.raises(SinkUnavailable, match=r"cannot be reached \(ReadTimeout\), 3 times"):
            sink.write(make_result())
    with pytest.raises(SinkUnavailable, match=r"cannot be reached \(ConnectError\), 3 times"):
        sink.write(make_result())
    sink.close()


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "http:///path", "door", "http://x:notaport/", "http://[::1", "http://u:p@a/b@c"]
)
def test_an_invalid_webhook_address_is_refused_without_being_repeated(url):
    with pytest.raises(UsageError, match="must be http://HOST") as error:
        WebhookSink(url)
    assert url not in str(error.value)


def test_without_a_screen_a_window_is_an_error_of_one_line_and_the_process_continues(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(FGDError, match=r"no window can be opened: there is no screen.*--web.*--save"):
        WindowSink()
