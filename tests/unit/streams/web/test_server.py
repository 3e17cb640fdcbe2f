from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.web import bind, create_app, serve
from fgd_yolo.streams.web.access_control import is_loopback
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.server import WebServer, split_address
from web_pipeline import FakePipeline

TOKEN = "correct-horse-battery"


def app(**options):
    return create_app(FakePipeline("door"), LatestFrames(), **options)


def get(url, **options):
    return httpx.get(url, trust_env=False, **options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_on_loopback_no_token_is_needed(host):
    with serve(app(), host, 0) as server:
        assert server.url == f"http://{host}:{server.port}/"
        assert get(f"{server.url}healthz").text == "alive\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_an_address_that_others_can_reach_needs_a_token(host):
    with pytest.raises(UsageError, match="needs a token, since others can reach it") as refused:
        bind(host, 0)
    assert refused.value.exit_code == 2
    with pytest.raises(UsageError, match="8 or more"):
        bind(host, 0, "")


def test_with_a_token_all_addresses_are_served():
    with serve(app(token=TOKEN), "0.0.0.0", 0, TOKEN) as server:
        assert TOKEN not in server.url
        assert get(f"{server.url}stats").status_code == 401
        assert get(f"{server.url}stats", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_port_in_use_is_an_error_of_one_line_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(FGDError, match=f"cannot listen on 127.0.0.1 port {port}: it is in use") as refused:
            bind("127.0.0.1", port)
    assert refused.value.exit_code == 1
    assert "\n" not in str(refused.value)


def test_the_port_is_bound_before_the_start_and_free_after_the_stop():
    server = bind("127.0.0.1", 0)
    with pytest.raises(FGDError, match="it is in use"):
        bind("127.0.0.1", server.port)
    server.stop()
    bind("127.0.0.1", server.port).stop()
    again = serve(app(), "127.0.0.1", server.port)
    assert get(f"{again.url}healthz").status_code == 200
    again.stop()
    again.stop()
    bind("127.0.0.1", server.port).stop()


def test_an_unknown_host_is_an_error_of_one_line():
    with pytest.raises(UsageError, match=r"the web host 'no\.such\.host' is unknown"):
        bind("no.such.host", 0)


@pytest.mark.parametrize(
    ("token", "message"),
    [(None, "needs a token"), (TOKEN, "192.0.2.7 is not an address of this machine; choose another")],
)
def test_an_address_of_another_machine_is_an_error_of_one_line(token, message):
    code = f"from fgd_yolo.streams.web import bind; bind('192.0.2.7', 0, {token!r})"  # looked up without the guard
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert message in output.stderr.splitlines()[-1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.200.0.1", "::1"])
def test_loopback_addresses_are_recognized(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "128.0.0.1", "192.168.0.1", "fe80::1", "localhost.evil", ""])
def test_all_other_addresses_are_not_loopback(host):
    assert not is_loopback(host)


def test_signals_stay_with_the_program():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with serve(app(), "127.0.0.1", 0) as server:
        assert get(f"{server.url}healthz").status_code == 200
        assert {number: signal.getsignal(number) for number in before} == before


def test_the_thread_ends_with_the_stop_also_while_a_viewer_is_connected():
    server = serve(app(), "127.0.0.1", 0)
    with httpx.Client(trust_env=False) as client, client.stream("GET", f"{server.url}events") as response:
        next(response.iter_bytes())
        server.stop()
        assert "web server" not in {thread.name for thread in threading.enumerate()}


def test_a_request_before_the_start_is_answered_after_it():
    server = bind("127.0.0.1", 0)
    responses = []
    asking = threading.Thread(target=lambda: responses.append(get(f"{server.url}healthz").text))
    asking.start()
    time.sleep(0.1)
    server.start(app())
    asking.join(20)
    server.stop()
    assert responses == ["alive\n"]


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("box.local:65535", ("box.local", 65535))],
)
def test_an_address_is_host_and_port(text, address):
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", ":8080", "host", "host:", "host:x", "host:65536", "host:-1"])
def test_anything_else_is_an_invalid_address(text):
    with pytest.raises(UsageError, match=r"is not HOST:PORT, such as 127\.0\.0\.1:8080"):
        split_address(text)


@pytest.mark.parametrize("text", ["admin:hunter2@cam:80", "admin:hunter2@cam:port", "http://admin:hunter2@cam:80"])
def test_a_login_in_the_address_of_the_page_is_not_repeated(text):
    with pytest.raises(UsageError) as caught:
        WebServer(*split_address(text))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_an_error_of_one_line(package):
    code = f"""
import sys
sys.modules[{package!r}] = None
from fgd_yolo.errors import FGDError
from fgd_yolo.streams.web import create_app, bind
from fgd_yolo.streams.web.latest_frames import LatestFrames
try:
    create_app(None, LatestFrames())
    bind("127.0.0.1", 0)
except FGDError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout == f"{package} is not installed; run pip install 'fgd_yolo[web]'\n", output.stderr
