from __future__ import annotations

import hmac

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.web import create_app
from fgd_yolo.streams.web.access_control import COOKIE, AccessControl
from fgd_yolo.streams.web.latest_frames import LatestFrames
from web_pipeline import FakePipeline, WebClient

TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATHS = [
    "/",
    "/page.js",
    "/plots.js",
    "/page.css",
    "/stats",
    "/metrics",
    "/readyz",
    "/events",
    "/video?stream=door",
    "/frame",
]
JSON = {"Content-Type": "application/json"}


class Broken(FakePipeline):
    def stats(self):
        raise RuntimeError("cannot reach rtsp://admin:hunter2secret@10.0.0.7/cam")


def client(token=None, pipeline=None, address="http://localhost:8080"):
    app = create_app(pipeline or FakePipeline("door"), LatestFrames(), token=token)
    return WebClient(app, address)


@pytest.mark.parametrize("path", [*PATHS, "/no/such/path", "/streams"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong-token"}, {"Authorization": f"Basic {TOKEN}"}, {"Cookie": f"{COOKIE}={TOKEN}"}],
    ids=["none", "wrong", "basic", "token as cookie"],
)
def test_nothing_is_shown_without_the_right_token(path, headers):
    for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
        response = client(TOKEN).request(method, path, headers=headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert "Set-Cookie" not in response.headers
        assert TOKEN not in response.text


@pytest.mark.parametrize("host", ["a/healthz?", "localhost/healthz?", "a/healthz#", "localhost:1/healthz?x="])
def test_a_host_that_looks_like_the_public_path_grants_no_access(host):
    assert client(TOKEN).get("/stats", headers={"Host": host}).status_code == 401


def test_healthz_needs_no_token():
    assert client(TOKEN).get("/healthz").text == "alive\n"
    assert client(TOKEN).get("/healthz", headers={"Authorization": "Bearer wrong-token"}).status_code == 200
    assert client(TOKEN).post("/healthz").status_code == 401


@pytest.mark.parametrize("path", ["/", "/page.js", "/plots.js", "/page.css", "/stats", "/metrics"])
def test_the_right_token_in_the_header_grants_access(path):
    assert client(TOKEN).get(path, headers=BEARER).status_code == 200


def test_a_token_in_the_address_becomes_a_cookie_that_is_not_the_token():
    browser = client(TOKEN)
    response = browser.get(f"/?token={TOKEN}")
    cookie = response.headers["Set-Cookie"]
    assert response.status_code == 200
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    later = browser.get("/stats")
    assert later.status_code == 200
    assert "Set-Cookie" not in later.headers


def test_the_cookie_of_another_token_grants_no_access():
    browser = client(TOKEN)
    browser.get(f"/?token={TOKEN}")
    assert client("another-long-token").get("/", headers={"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}).is_error


def test_a_wrong_token_in_the_address_is_refused_although_the_cookie_is_right():
    browser = client(TOKEN)
    browser.get(f"/?token={TOKEN}")
    refused = browser.get("/stats?token=wrong-token")
    assert refused.status_code == 401
    assert "Set-Cookie" not in refused.headers
    assert browser.get("/stats", headers={"Authorization": "Bearer wrong-token"}).status_code == 401


def test_a_token_in_the_address_changes_nothing():
    pipeline = FakePipeline("door")
    response = client(TOKEN, pipeline).post(f"/streams?token={TOKEN}", json={"address": "test://"})
    assert response.status_code == 401
    assert list(pipeline.streams) == ["door"]


def test_a_wrong_token_in_the_address_becomes_no_cookie():
    browser = client(TOKEN)
    for path in ("/?token=wrong-token", "/healthz?token=wrong-token", "/no/such/path?token="):
        for headers in ({}, BEARER):
            assert "Set-Cookie" not in browser.get(path, headers=headers).headers
    assert browser.get("/stats").status_code == 401


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared, compare = [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, two: compared.append(one) or compare(one, two))
    client(TOKEN).get("/stats", headers={"Authorization": "Bearer wrong-token"})
    client(TOKEN).get("/stats?token=wrong-query")
    client(TOKEN).get("/stats", headers={"Cookie": f"{COOKIE}=wrong-cookie"})
    assert compared == [b"wrong-token", b"wrong-query", b"wrong-cookie"]


def test_a_token_that_is_not_ascii_is_wrong_and_no_server_error():
    assert client(TOKEN).get("/stats", headers={"Authorization": "Bearer größe".encode()}).status_code == 401
    assert client(TOKEN).get("/stats?token=%ff%fe").status_code == 401


def test_a_browser_without_the_token_gets_a_form_for_it():
    response = client(TOKEN).get("/", headers={"Accept": "text/html"})
    assert response.status_code == 401
    assert 'name="token"' in response.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.5", "", "["])
def test_without_a_token_another_host_name_is_refused(host):
    for path in ("/", "/stats", "/healthz"):
        assert client().get(path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9000", "127.8.8.8", "[::1]:8080"])
def test_without_a_token_names_of_this_machine_are_accepted(host):
    assert client().get("/stats", headers={"Host": host}).status_code == 200


def test_with_a_token_any_host_name_is_accepted():
    assert client(TOKEN, address="http://box.example:8080").get("/stats", headers=BEARER).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
    ids=str,
)
def test_a_page_of_another_site_changes_nothing(headers):
    for token, extra in ((None, {}), (TOKEN, BEARER)):
        pipeline = FakePipeline("door")
        for method, path in (("POST", "/streams"), ("DELETE", "/streams"), ("POST", "/streams/stop")):
            body = {"address": "test://", "name": "door"}
            assert client(token, pipeline).request(method, path, json=body, headers=headers | extra).status_code == 403
        assert list(pipeline.streams) == ["door"]


def test_a_page_of_another_site_cannot_embed_a_frame_but_a_link_works():
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert client().get("/frame", headers=foreign | {"Sec-Fetch-Mode": "no-cors"}).status_code == 403
    assert client().get("/", headers=foreign | {"Sec-Fetch-Mode": "navigate"}).status_code == 200


def test_the_page_itself_and_programs_can_change_streams():
    same = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
    assert client().post("/streams", json={"address": "test://", "name": "a"}, headers=same).status_code == 201
    assert client().post("/streams", json={"address": "test://", "name": "b"}).status_code == 201


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_of_another_site_could_send_changes_nothing(kind):
    pipeline = FakePipeline("door")
    for method in ("POST", "DELETE"):
        body = b'{"address": "test://", "name": "door"}'
        response = client(pipeline=pipeline).request(method, "/streams", content=body, headers={"Content-Type": kind})
        assert response.status_code == 415
    assert list(pipeline.streams) == ["door"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/no/such/path", "/stats"])
@pytest.mark.parametrize("pipeline", [FakePipeline("door"), Broken("door")], ids=["well", "broken"])
def test_every_response_has_the_security_headers(path, pipeline):
    for token in (None, TOKEN):
        headers = client(token, pipeline).get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


def test_an_unexpected_error_is_one_line_in_the_log_without_the_password(capsys):
    response = client(pipeline=Broken("door")).get("/stats")
    output = capsys.readouterr().err
    assert response.status_code == 500
    assert "hunter2secret" not in response.text + output
    assert output.count("\n") == 1
    assert "/stats: RuntimeError: cannot reach rtsp://" in output


@pytest.mark.parametrize("token", ["", " ", "short", "with space in it", "größengleich", "line\nfeed-token"])
def test_a_weak_token_is_refused(token):
    with pytest.raises(UsageError, match="8 or more letters"):
        AccessControl(None, token)
