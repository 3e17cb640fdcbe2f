"""Cameras over HTTP, on loopback: logins, redirects, and responses that are invalid or endless."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import threading
import time

import cv2
import numpy as np
import pytest

from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.streams.sources import BadFrame, SourceLost, open_source
from memory import grown_mb
from tests.cameras.http_server import serving, start_response

JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), (200, 90, 30), np.uint8))[1].tobytes()
MULTIPART = "multipart/x-mixed-replace; boundary=frame"
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(JPEG), JPEG)


def camera(handler):
    start_response(handler, MULTIPART)
    for _ in range(100):
        handler.wfile.write(PART)
        time.sleep(0.01)


def first_frame(address, timeout_s=2.0, budget=None):
    source = open_source(address, timeout_s=timeout_s, budget=budget)
    try:
        return source.read().pixels
    finally:
        source.close()


def test_the_pixels_of_a_camera_are_those_of_its_jpegs():
    with serving(camera) as address:
        seen = first_frame(f"{address}/cam").to_ndarray(format="bgr24")
    assert np.abs(seen.astype(int) - cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)).max() <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (217, 333), (4001, 5), (1080, 1920), (37, 53)])
def test_a_camera_of_any_size_is_read(size):
    jpeg = cv2.imencode(".jpg", np.full((*size, 3), 90, np.uint8))[1].tobytes()

    def odd(handler):
        start_response(handler, MULTIPART)
        for _ in range(3):
            handler.wfile.write(b"--frame\r\n\r\n" + jpeg + b"\r\n")

    with serving(odd) as address:
        source = open_source(address, timeout_s=2)
        for _ in range(3):
            seen = source.read().pixels.to_ndarray(format="bgr24")
            assert seen.shape == (*size, 3) and abs(seen.mean() - 90) < 3
        source.close()


def test_a_camera_without_its_first_boundary_is_read():
    def esp32(handler):
        start_response(handler, MULTIPART)
        handler.wfile.write(PART.partition(b"\r\n")[2] + 5 * PART)

    with serving(esp32) as address:
        source = open_source(f"{address}/stream", timeout_s=2)
        assert [source.read().pixels.width for _ in range(6)] == [64] * 6
        with pytest.raises(SourceLost, match="closed"):
            source.read()
        source.close()


def basic(handler) -> bool:
    wanted = "Basic " + base64.b64encode(b"admin:p@ss/w:rd").decode()
    return handler.headers.get("Authorization") == wanted


def digest(handler) -> bool:
    """RFC 2617 with `qop=auth`, as plain arithmetic."""
    given = dict(re.findall(r'(\w+)="?([^",]+)"?', handler.headers.get("Authorization", "")))
    if "response" not in given:
        return False
    first, second = (hashlib.md5(text.encode()).hexdigest() for text in ("admin:cam:p@ss/w:rd", f"GET:{handler.path}"))
    chain = f"{first}:n0nce:{given['nc']}:{given['cnonce']}:auth:{second}"
    return given["response"] == hashlib.md5(chain.encode()).hexdigest()


LOGINS = {"basic": ('Basic realm="cam"', basic), "digest": ('Digest realm="cam", nonce="n0nce", qop="auth"', digest)}


@pytest.mark.parametrize("kind", LOGINS)
def test_a_login_is_sent_as_the_camera_asks_for_it_and_not_before(kind):
    challenge, is_good = LOGINS[kind]
    seen = []

    def guarded(handler):
        seen.append(handler.headers.get("Authorization"))
        if is_good(handler):
            camera(handler)
        else:
            start_response(handler, "text/html", 401, WWW_Authenticate=challenge)
            handler.wfile.write(b"<p>log in</p>")

    with serving(guarded) as address:
        place = address.removeprefix("http://")
        assert first_frame(f"http://admin:p%40ss%2Fw%3Ard@{place}/cam?x=1").width == 64
        assert seen[0] is None and len(seen) == 2
        with pytest.raises(SourceLost, match="401") as lost:
            first_frame(f"http://admin:wrong-one@{place}/cam")
        assert "wrong-one" not in str(lost.value)
        with pytest.raises(SourceLost, match="401"):
            first_frame(f"{address}/cam")


@pytest.mark.parametrize("kind", LOGINS)
def test_a_login_is_not_sent_to_another_server_after_a_redirect(kind):
    seen = []

    def stranger(handler):
        seen.append(handler.headers.get("Authorization"))
        start_response(handler, "text/html", 401, WWW_Authenticate=LOGINS[kind][0])

    with serving(stranger) as elsewhere:

        def lead(handler):
            start_response(handler, "text/html", 302, Location=f"{elsewhere}/cam")

        with serving(lead) as address, pytest.raises(SourceLost, match="401"):
            first_frame(f"{address.replace('://', '://admin:p%40ss%2Fw%3Ard@')}/cam")
    assert seen == [None]


def test_a_redirect_is_followed_and_its_endless_body_is_not_read():
    def moved(handler):
        if handler.path == "/new":
            camera(handler)
            return
        start_response(handler, "text/html", 302, Location="/new")
        while True:
            handler.wfile.write(b"endless" * 1000)

    with serving(moved) as address:
        assert first_frame(f"{address}/old").width == 64


def test_no_library_logs_an_address_with_its_token(caplog):
    caplog.set_level(logging.DEBUG)
    with serving(camera) as address:
        first_frame(f"{address.replace('://', '://admin:hunter2@')}/cam?token=hunter2")
    assert "hunter2" not in caplog.text


def test_a_redirect_loop_ends():
    with (
        serving(lambda handler: start_response(handler, "text/html", 302, Location="/again")) as address,
        pytest.raises(SourceLost, match="more than 5 times"),
    ):
        first_frame(address)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "rtsp://127.0.0.1/x", "ftp://127.0.0.1/x"])
def test_a_redirect_to_another_kind_of_address_is_not_followed(target):
    with (
        serving(lambda handler: start_response(handler, "text/html", 302, Location=target)) as address,
        pytest.raises(SourceLost),
    ):
        first_frame(address)


def test_a_camera_that_sends_too_slowly_is_lost():
    def dripping(handler):
        start_response(handler, MULTIPART)
        handler.wfile.write(PART)
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.05)

    with serving(dripping) as address:
        source = open_source(address, timeout_s=0.5)
        assert source.read().pixels.width == 64
        with pytest.raises(SourceLost, match=r"no frame for 0\.5 s"):
            source.read()
        source.close()


def test_a_camera_whose_response_does_not_start_is_lost_although_it_sends_bytes():
    def dripping(handler):
        start_response(handler, "text/plain")
        for _ in range(12):
            handler.wfile.write(b"x")
            time.sleep(0.1)

    with serving(dripping) as address, pytest.raises(SourceLost, match=r"its response did not start within 0\.5 s"):
        open_source(address, timeout_s=0.5)


def test_a_camera_that_falls_silent_is_lost():
    silence = threading.Event()

    def silent(handler):
        start_response(handler, MULTIPART)
        handler.wfile.write(PART)
        silence.wait(20)

    with serving(silent) as address:
        source = open_source(address, timeout_s=0.3)
        source.read()
        with pytest.raises(SourceLost, match=r"no data for 0\.3 s"):
            source.read()
        source.close()
        silence.set()


def test_a_part_that_is_not_a_jpeg_is_a_bad_frame_and_the_next_one_is_read():
    def mixed(handler):
        start_response(handler, MULTIPART)
        handler.wfile.write(b"--frame\r\nContent-Length: 4\r\n\r\nnope\r\n" + PART)

    with serving(mixed) as address:
        source = open_source(address, timeout_s=1)
        with pytest.raises(BadFrame, match="not a JPEG"):
            source.read()
        assert source.read().pixels.width == 64
        source.close()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".bmp"])
def test_a_still_image_is_read_once_and_then_lost_like_a_camera_that_closed(suffix):
    image = cv2.imencode(suffix, np.full((48, 64, 3), 90, np.uint8))[1].tobytes()

    def still(handler):
        start_response(handler, "image/*", Content_Length=str(len(image)))
        handler.wfile.write(image)

    with serving(still) as address:
        source = open_source(address, timeout_s=1)
        seen = source.read().pixels
        assert (seen.shape[1] if isinstance(seen, np.ndarray) else seen.width) == 64
        with pytest.raises(SourceLost, match="closed"):
            source.read()
        source.close()


def test_a_camera_above_the_budget_reports_its_size_and_one_that_grows_is_lost():
    large = cv2.imencode(".jpg", np.zeros((100, 200, 3), np.uint8))[1].tobytes()

    def growing(handler):
        start_response(handler, MULTIPART)
        handler.wfile.write(PART + b"--frame\r\n\r\n" + large + b"\r\n" + PART)

    with serving(growing) as address:
        source = open_source(address, timeout_s=1, budget=PixelBudget(0.01))
        assert source.read().pixels.width == 64
        with pytest.raises(SourceLost, match=r"^200 x 100 px are 0\.02 megapixels, above the limit of 0\.01; raise"):
            source.read()
        source.close()
        with pytest.raises(SourceLost, match=r"^64 x 48 px"):
            first_frame(address, budget=PixelBudget(0.001))


def test_closed_cameras_release_their_share_of_the_budget():
    budget = PixelBudget(0.0031)  # of one camera of 64 x 48 px
    with serving(camera) as address:
        for _ in range(3):
            source = open_source(address, timeout_s=1, budget=budget)
            source.read()
            with pytest.raises(SourceLost, match=r"the streams would have 0\.006144 megapixels together"):
                first_frame(address, budget=budget)
            source.close()


def endless(content_type, start, more):
    def respond(handler):
        start_response(handler, content_type)
        handler.wfile.write(start)
        while True:
            handler.wfile.write(more)

    return respond


PNG = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
ENDLESS = {
    "JPEG": ("image/jpeg", JPEG[:-2], b"\x55" * 65536),
    "PNG": ("image/png", PNG[:60], b"\x55" * 65536),
    "part": (MULTIPART, PART[:-4], b"\x55" * 65536),
    "length": (MULTIPART, b"--frame\r\nContent-Length: 2000000000\r\n\r\n" + JPEG[:-2], b"\x55" * 65536),
    "header lines": (MULTIPART, b"--frame\r\n", b"X-More: 1\r\n" * 5000),
    "boundaries": (MULTIPART, b"", b"--frame\r\n\r\n" * 5000),
    "playlist": ("application/vnd.apple.mpegurl", b"#EXTM3U\n", b"#EXTINF:1,\na.ts\n" * 5000),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ENDLESS)
def test_an_endless_response_takes_little_memory_and_is_lost(what):
    before = """
import av, httpx, numpy, cv2
from fgd_yolo.streams.sources import open_source, SourceLost, BadFrame
import fgd_yolo.streams.sources.network, fgd_yolo.streams.sources.mjpeg, fgd_yolo.streams.sources.snapshot
"""
    code = """
lost = None
try:
    source = open_source({address!r}, timeout_s=3)
    for _ in range(20):
        try:
            source.read()
        except BadFrame:
            pass
except SourceLost as error:
    lost = str(error)
assert lost, "never lost"
"""
    with serving(endless(*ENDLESS[what])) as address:
        assert grown_mb(code.format(address=address), before) < 30


@pytest.mark.parametrize("head", [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200_000])
def test_a_response_that_is_not_http_is_reported(head):
    def respond(handler):
        handler.wfile.write(head)

    with serving(respond) as address, pytest.raises(SourceLost) as lost:
        first_frame(address)
    assert "\n" not in str(lost.value) and str(lost.value)
