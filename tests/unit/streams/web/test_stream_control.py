from __future__ import annotations

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.web import create_app
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.stream_control import MAX_STREAMS, StreamSettings
from web_pipeline import FakePipeline, WebClient

SECRET = "hunter2secret"
ADDRESS = f"rtsp://admin:{SECRET}@10.0.0.7/cam"


class Telltale(FakePipeline):
    """A pipeline that repeats the address, and even the password alone, in its error."""

    def add(self, address, name=None, *, policy=None):
        raise UsageError(f"{address} does not answer to {SECRET}")


def client(pipeline, **options):
    return WebClient(create_app(pipeline, LatestFrames(), **options))


def add(pipeline, content, **options):
    return client(pipeline, **options).post("/streams", json=content)


@pytest.mark.parametrize(
    "address",
    [
        *("/etc/passwd", "/no/such/file", "passwd", "..", "~", "*.jpg", "C:\\video.mp4", "-1", "concat:a|b", "data:x"),
        *("/dev/video0", "subfile,,start,0,end,9,,:/etc/passwd", "pipe:0", "fd:3", "video.mp4\0"),
    ],
)
def test_the_page_can_neither_read_files_nor_learn_which_exist(address):
    pipeline = FakePipeline()
    response = add(pipeline, {"address": address})
    assert response.status_code == 400
    assert response.json()["error"].startswith(("files and folders cannot be opened", "the address is missing"))
    assert pipeline.streams == {}


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "FILE:///etc/passwd", "ftp://host/a", "cache:http://a", "rtsp://", "rtsp://a\0b/c"],
)
def test_unknown_schemes_are_refused(address):
    pipeline = FakePipeline()
    assert add(pipeline, {"address": address}).status_code == 400
    assert pipeline.streams == {}


@pytest.mark.parametrize("address", ["test://", "rtsp://10.0.0.7/cam", "https://host/stream.mjpg"])
def test_a_camera_is_added_with_its_name_and_policy(address):
    pipeline = FakePipeline()
    response = add(pipeline, {"address": f" {address} ", "name": "yard 2", "policy": "max-age=500"})
    assert response.status_code == 201
    assert response.json() == {"version": 1, "kind": "stream", "name": "yard 2"}
    assert pipeline.added == [(address, "yard 2", "max-age=500")]


def test_a_change_is_reported_at_once():
    page = client(FakePipeline("door"))
    assert set(page.get("/stats").json()["streams"]) == {"door"}
    page.post("/streams", json={"address": "test://", "name": "yard"})
    assert set(page.get("/stats").json()["streams"]) == {"door", "yard"}
    page.request("DELETE", "/streams", json={"name": "door"})
    assert set(page.get("/stats").json()["streams"]) == {"yard"}


def test_a_camera_number_is_a_number_and_empty_fields_count_as_absent():
    pipeline = FakePipeline()
    assert add(pipeline, {"address": "0", "name": "", "policy": ""}).status_code == 201
    assert pipeline.added == [(0, "camera0", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"address": "test://", "name": "door"}, "exists already"),
        ({"address": "test://", "name": "../x"}, "a name is"),
        ({"address": "test://", "name": "<b>x</b>"}, "a name is"),
        ({"address": "test://", "name": "x" * 65}, "a name is"),
        ({"address": "test://", "policy": "oldest"}, "unknown policy 'oldest'"),
        ({"address": "test://", "speed": "9"}, "the request must be"),
        ({"address": 0}, "the request must be"),
        ({"address": ["test://"]}, "the request must be"),
        ({"address": ""}, "the address is missing"),
        ({}, "the address is missing"),
        ([], "the request must be"),
    ],
)
def test_an_invalid_request_is_answered_with_one_line(content, message):
    pipeline = FakePipeline("door")
    response = add(pipeline, content)
    assert response.status_code == 400
    assert message in response.json()["error"]
    assert "\n" not in response.json()["error"]
    assert list(pipeline.streams) == ["door"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe"])
def test_a_body_that_is_not_json_is_refused(body):
    response = client(FakePipeline()).post("/streams", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]) == (400, "the request body is not JSON")


def test_a_body_without_an_end_is_refused():
    response = add(FakePipeline(), {"address": "test://" + "x" * 20_000})
    assert (response.status_code, response.json()["error"]) == (400, "the request body is longer than 16384 bytes")


def test_no_response_has_the_password():
    pipeline = FakePipeline("door")
    page = client(pipeline, settings={"door": StreamSettings(ADDRESS)})
    pipeline.streams["door"].set_state("DOWN", f"{ADDRESS} is unreachable")
    output = add(Telltale(), {"address": ADDRESS}).text
    output += page.post("/streams", json={"address": ADDRESS, "name": SECRET * 9}).text
    for path in ("/stats", "/metrics", "/readyz"):
        output += page.get(path).text
    assert "10.0.0.7" in output
    assert SECRET not in output


def test_the_number_of_streams_is_limited():
    pipeline = FakePipeline(*map(str, range(MAX_STREAMS - 1)))
    assert add(pipeline, {"address": "test://", "name": "last"}).status_code == 201
    assert f"there are {MAX_STREAMS} streams already" in add(pipeline, {"address": "test://"}).json()["error"]


def test_a_stream_is_removed():
    pipeline = FakePipeline("door", "yard")
    assert client(pipeline).request("DELETE", "/streams", json={"name": "door"}).status_code == 200
    assert list(pipeline.streams) == ["yard"]


def test_a_stopped_stream_is_started_again_as_it_was_added():
    pipeline = FakePipeline("door")
    page = client(pipeline, settings={"door": StreamSettings(ADDRESS, "every")})
    assert page.get("/stats").json()["stopped"] == []
    assert page.post("/streams/stop", json={"name": "door"}).status_code == 200
    assert pipeline.streams == {}
    assert page.get("/stats").json()["stopped"] == ["door"]
    assert "is stopped" in page.post("/streams", json={"address": "test://", "name": "door"}).json()["error"]
    assert page.post("/streams/start", json={"name": "door"}).status_code == 200
    assert pipeline.added == [(ADDRESS, "door", "every")]
    assert page.get("/stats").json()["stopped"] == []
    assert page.post("/streams/start", json={"name": "door"}).status_code == 404


def test_a_default_name_is_never_that_of_a_stopped_stream():
    pipeline = FakePipeline("camera0", "camera0-3")
    page = client(pipeline, settings={"camera0": StreamSettings(0, "every")})
    page.post("/streams/stop", json={"name": "camera0"})
    assert page.post("/streams", json={"address": "0"}).json()["name"] == "camera0-2"
    assert page.post("/streams", json={"address": "0"}).json()["name"] == "camera0-4"
    assert page.post("/streams/stop", json={"name": "camera0-2"}).status_code == 200
    assert page.post("/streams/start", json={"name": "camera0"}).status_code == 200
    assert pipeline.added[-1] == (0, "camera0", "every")
    assert page.request("DELETE", "/streams", json={"name": "camera0"}).status_code == 200
    assert set(pipeline.streams) == {"camera0-3", "camera0-4"}


def test_a_stopped_stream_can_be_removed_for_good():
    pipeline = FakePipeline("door")
    page = client(pipeline, settings={"door": StreamSettings(ADDRESS)})
    page.post("/streams/stop", json={"name": "door"})
    assert page.request("DELETE", "/streams", json={"name": "door"}).status_code == 200
    assert page.get("/stats").json()["stopped"] == []
    assert page.post("/streams/start", json={"name": "door"}).status_code == 404


def test_a_stream_with_unknown_settings_can_be_removed_but_not_stopped():
    pipeline = FakePipeline("door")
    assert client(pipeline).post("/streams/stop", json={"name": "door"}).status_code == 404
    assert list(pipeline.streams) == ["door"]


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("POST", "/stop"), ("POST", "/start")])
def test_an_unknown_stream_is_an_error(method, path):
    page = client(FakePipeline("door"))
    assert page.request(method, f"/streams{path}", json={"name": "other"}).status_code == 404
    assert page.request(method, f"/streams{path}", json={"name": 1}).status_code == 400
    assert page.request(method, f"/streams{path}", json=["door"]).status_code == 400
