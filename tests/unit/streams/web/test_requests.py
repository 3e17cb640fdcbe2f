"""Whatever a client sends to the page, the response is 4xx, never 5xx, and the page continues."""

from __future__ import annotations

import json
import socket

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.sources import check_address
from fgd_yolo.streams.web import bind, create_app
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.requests import AddStream, read_body
from web_pipeline import FakePipeline, WebClient

JSON = {"Content-Type": "application/json"}
SECRET = "hunter2secret"
BODIES = [
    *(
        b"",
        b"{",
        b"[" * 16_000,
        b"[" * 16_384,
        b'{"a":' * 3000,
        b"\xff\xfe",
        b"null",
        b"1",
        b'"door"',
        b"9" * 5000,
        b"NaN",
        b"1e999",
    ),
    *(
        b'{"address": "http://\\ud800/"}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"\\ud800": 1}',
        b'{"name": NaN}',
    ),
    *(
        b'{"address": null}',
        b'{"name": null}',
        b'{"name": ["door"]}',
        b'{"name": {"a": 1}}',
        b'{"address": true}',
        b'{"name": ' + b"9" * 5000 + b"}",
    ),
]
ADDRESSES = [
    *(
        "http://\ud800/",
        "http://h/\u202e",
        "http://h/\x1b[2J",
        "rtsp://h/\0",
        "\0",
        "rtsp://[",
        "http://[::1",
        "rtsp://h:99999/x",
        "rtsp://h:٣/x",
    ),
    *(
        "9" * 5000,
        "99999",
        "²",
        "test://?size=" + "9" * 1900,
        "test://?seed=" + "9" * 2000,
        "test://?" + "a&" * 1000,
        "test://?\ud800=1",
    ),
    *(
        "rtsp://" + "a" * 3000,
        "rtsp://h/" + "pass" * 3000,
        "rtsp://a:" + "b@" * 1000,
        "http://" + "a." * 1000,
        " ",
        "\u2028",
    ),
]
QUERIES = [
    *(
        "stream=" + "pass" * 500,
        "stream=" + "x" * 300,
        "stream=%ED%A0%80",
        "stream=%00",
        "stream=door&after=" + "9" * 300,
    ),
    *(
        "stream=door&after=-1",
        "stream=door&after=x",
        "stream=door&after=1e9",
        "stream=door&after=%F0%9D%9F%8F%F0",
        "after=" + "9" * 19,
    ),
]
HEADERS = [
    *(
        {"Origin": "http://["},
        {"Origin": "http://\x80"},
        {"Origin": "//"},
        {"Origin": "http://[::1"},
        {"Origin": "x" * 9000},
    ),
    *({"Host": "["}, {"Host": "[::1"}, {"Host": "a" * 9000}, {"Host": "localhost:" + "9" * 5000}, {"Host": "\u00b2"}),
    *(
        {"Cookie": 'fgd_yolo_view="' + "\\" * 60_000 + '"'},
        {"Cookie": "=;" * 4000},
        {"Authorization": "Bearer " + "\xff" * 100},
    ),
    *({"Sec-Fetch-Site": "\xff"}, {"Accept": "text/html;" * 2000}, {"Referer": "rtsp://" * 3000}),
]


def client(**options):
    pipeline, frames = FakePipeline("door"), LatestFrames()
    pipeline.deliver(frames, "door", 0)
    return pipeline, WebClient(create_app(pipeline, frames, **options))


def still_works(pipeline, page):
    assert list(pipeline.streams) == ["door"]
    for path in ("/stats", "/metrics", "/readyz"):
        response = page.get(path)
        assert (response.status_code, "door" in response.text or path == "/readyz") == (200, True)


@pytest.mark.parametrize("body", BODIES)
def test_no_body_causes_a_server_error(body, capsys):
    pipeline, page = client()
    for method, path in (("POST", ""), ("DELETE", ""), ("POST", "/stop"), ("POST", "/start")):
        response = page.request(method, f"/streams{path}", content=body, headers=JSON)
        assert response.status_code == 400
        assert "\n" not in response.json()["error"] and len(response.json()["error"]) < 300
    still_works(pipeline, page)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_can_never_work_is_refused_and_the_page_continues(address):
    pipeline, page = client()
    response = page.request("POST", "/streams", content=json.dumps({"address": address}).encode(), headers=JSON)
    assert response.status_code == 400
    assert "\n" not in response.json()["error"]
    still_works(pipeline, page)


@pytest.mark.parametrize("address", ["ftp://10.0.0.7/x", "rtsp://10.0.0.7:99999/x", "rtsp://admin:p@ss/word@cam/x"])
def test_the_page_gives_the_same_advice_for_an_address_as_the_command_line(address):
    response = client()[1].request("POST", "/streams", content=json.dumps({"address": address}).encode(), headers=JSON)
    with pytest.raises(UsageError) as caught:
        check_address(address)
    assert response.json()["error"] == str(caught.value)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("path", ["/video", "/frame"])
def test_no_query_causes_a_server_error(path, query, capsys):
    pipeline, page = client()
    if path == "/video" and query.startswith("stream=door"):
        query = query.replace("stream=door", "stream=other")  # the video of the door would never end
    response = page.get(f"{path}?{query}")
    assert response.status_code in (204, 400, 404)
    assert (response.status_code == 400) or "after" not in query or path == "/video"
    still_works(pipeline, page)
    assert capsys.readouterr().err == ""


def test_the_index_of_a_frame_is_a_number_or_empty():
    _, page = client()
    assert page.get("/frame?stream=door&after=").status_code == 200
    assert page.get("/frame?stream=door&after=7").status_code == 200
    assert page.get("/frame?stream=door&after=0").status_code == 204
    assert page.get("/frame?stream=door&after=" + "9" * 1000).status_code == 400


@pytest.mark.parametrize("path", ["/", "/stats", "/video", "/frame", "/no/such/path", "/healthz"])
def test_an_address_above_two_kilobytes_is_refused_before_it_is_parsed(path):
    for token in (None, "correct-horse-battery"):
        _, page = client(token=token)
        assert page.get(f"{path}?stream={'pass' * 4000}").status_code == 414
        assert page.get(f"/x{path}/{'pass' * 600}").status_code == 414


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: str(headers)[:40])
@pytest.mark.parametrize("token", [None, "correct-horse-battery"])
def test_no_header_causes_a_server_error(headers, token, capsys):
    _, page = client(token=token)
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    for method, path in (("GET", "/stats"), ("POST", "/streams"), ("GET", "/healthz")):
        response = page.request(method, path, headers={**JSON, **encoded}, content=b"{}" if method == "POST" else None)
        assert response.status_code < 500
    assert capsys.readouterr().err == ""


def test_an_invalid_origin_changes_nothing():
    pipeline, page = client()
    response = page.post("/streams", json={"address": "test://"}, headers={"Origin": "http://["})
    assert response.status_code == 403
    still_works(pipeline, page)


@pytest.mark.parametrize("name", ["rtsp:..a", "token", "1.5", "Tür 2"])
def test_a_name_of_letters_digits_dots_dashes_and_spaces_is_used_unchanged(name):
    body = json.dumps({"address": "test://", "name": name}).encode()
    if ":" in name:
        with pytest.raises(UsageError, match="a name is"):
            read_body(AddStream, body)
    else:
        assert read_body(AddStream, body).name == name


def test_a_request_shows_no_address_when_it_is_printed():
    assert SECRET not in repr(read_body(AddStream, json.dumps({"address": f"rtsp://a:{SECRET}@h"}).encode()))


def test_an_unnamed_camera_is_named_and_shown_by_host_and_port_alone():
    pipeline, page = client()
    address = f"rtsp://admin:{SECRET}@10.0.0.7:554/0/{SECRET}?login=a:{SECRET}"
    names = [page.post("/streams", json={"address": address}).json()["name"] for _ in range(2)]
    assert names == ["10.0.0.7-554", "10.0.0.7-554-2"]
    pipeline.source["address"] = address  # as from a pipeline that does not hide it
    output = page.get("/stats").text + page.get("/metrics").text + page.get("/readyz").text
    assert SECRET not in output and "admin" not in output
    assert page.get("/stats").json()["streams"]["10.0.0.7-554"]["address"] == "rtsp://10.0.0.7:554"


def test_a_real_server_answers_a_hostile_link_and_continues():
    pipeline, frames = FakePipeline("door"), LatestFrames()
    with bind("127.0.0.1", 0) as server:
        server.start(create_app(pipeline, frames))
        for query in ("pass" * 500, "pass" * 4000, "%ED%A0%80", "a:b@" * 400, "rtsp://" * 200):
            head = f"GET /video?stream={query} HTTP/1.1\r\nHost: localhost:{server.port}\r\nConnection: close\r\n"
            foreign = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\r\n"
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
                link.sendall((head + foreign).encode())
                assert b" 4" in link.recv(100)[:12]
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
            link.sendall(f"GET /stats HTTP/1.1\r\nHost: localhost:{server.port}\r\nConnection: close\r\n\r\n".encode())
            assert b" 200" in link.recv(100)[:12]
