"""Real cameras and videos over the network, on loopback."""

from __future__ import annotations

import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import quote

import av
import numpy as np
import pytest

from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.streams.sources import SourceEnded, SourceLost, network, open_source
from tests.cameras.clips import frame_number, write_clip
from tests.cameras.processes import mjpeg_server
from tests.cameras.pytest_helpers import rtsp_server
from tests.cameras.watched_reader import WatchedReader

pytestmark = pytest.mark.slow
FPS = 15
PASSWORD = "p@ss/w%rd hunter2"


def test_rtsp_gives_every_frame_with_its_size_its_time_and_hardly_older_than_one_period():
    with (
        rtsp_server("--size", "640x360", "--fps", FPS) as server,
        WatchedReader(f"rtsp://127.0.0.1:{server.port}/cam") as cam,
    ):
        assert cam.wait_until_up(2 * FPS)
        seen = cam.frames[-2 * FPS :]
        assert {one.size for one in seen} == {(640, 360)}
        assert all(one.age_s < 0.5 for one in cam.frames[:5])  # FFmpeg's defaults start with 1.9 s
        assert np.diff([one.pts for one in seen]) == pytest.approx(1 / FPS, abs=0.5 / FPS)
        # FFmpeg knows that an H.264 frame is complete when the next one starts: one period. OpenCV takes two.
        assert np.median([one.age_s for one in seen]) < 1.6 / FPS
        assert [one.index for one in seen] == list(range(seen[0].index, seen[0].index + len(seen)))


def test_a_frame_over_rtsp_is_not_converted_and_its_rate_is_known():
    with rtsp_server("--fps", FPS) as server:
        source = open_source(f"rtsp://127.0.0.1:{server.port}/cam", timeout_s=3)
        frame = source.read()
        assert (source.live, source.fps, frame.pixels.format.name) == (True, FPS, "yuv420p")
        times = [frame.pts, *(source.read().pts for _ in range(3))]
        assert [time for time in times if time is not None][:3] == pytest.approx([0, 1 / FPS, 2 / FPS], abs=0.5 / FPS)
        source.close()


def test_jpeg_over_rtsp_works_too():
    address = "rtsp://127.0.0.1:{}/cam"
    with rtsp_server("--codec", "jpeg", "--fps", FPS) as server, WatchedReader(address.format(server.port)) as cam:
        assert cam.wait_until_up(FPS)
        assert cam.frames[-1].size == (320, 240)
        assert cam.stats.snapshot()["dropped"].get("bad frame", 0) == 0


def test_a_camera_that_others_watch_opens_in_the_middle_of_its_frames():
    with rtsp_server("--fps", FPS, "--gop", 90) as server:
        address = f"rtsp://127.0.0.1:{server.port}/cam"
        with WatchedReader(address, "first") as first:
            assert first.wait_until_up(5)
            with WatchedReader(address, "second") as second:
                assert second.wait_until_up(5, timeout_s=20)
                assert all(one.size == (320, 240) and one.age_s < 1 for one in second.frames[-3:])


def test_the_first_key_frame_is_not_waited_for_twice():
    with rtsp_server("--fps", FPS, "--gop", 10 * FPS) as server:  # the next one comes after ten seconds
        began = time.monotonic()
        source = open_source(f"rtsp://127.0.0.1:{server.port}/cam", timeout_s=3)
        source.read()
        source.close()
        assert time.monotonic() - began < 5


def test_a_camera_that_the_quick_options_do_not_open_is_opened_without_them(monkeypatch):
    monkeypatch.setattr(network, "_LOW_DELAY", {"initial_pause": "1"})  # it opens, but no frame ever comes
    with rtsp_server("--fps", FPS) as server:
        source = open_source(f"rtsp://127.0.0.1:{server.port}/cam", timeout_s=1)
        assert source.read().pixels.width == 320
        source.close()


@pytest.mark.parametrize("written", [PASSWORD, quote(PASSWORD, safe="")], ids=["as it is", "encoded"])
def test_a_password_with_any_character_opens_a_camera(written):
    with rtsp_server("--user", "admin", "--password", PASSWORD) as server:
        source = open_source(f"rtsp://admin:{written}@127.0.0.1:{server.port}/cam", timeout_s=3)
        assert source.read().pixels.width == 320
        source.close()


PATH = "/user=admin&password=p@ss&channel=1"


@pytest.mark.parametrize("login", ["", "admin:right@", "admin:p@ss/word@"])
def test_an_at_sign_in_the_path_of_an_rtsp_camera_is_no_login(login):
    options = ["--user", "admin", "--password", login[6:-1]] if login else []
    with rtsp_server("--path", PATH, *options) as server:
        source = open_source(f"rtsp://{login}127.0.0.1:{server.port}{PATH}", timeout_s=3)
        assert source.read().pixels.width == 320
        source.close()


@pytest.mark.parametrize("login", ["", "admin:x@", "admin:p@ss/word@"])
@pytest.mark.parametrize("rest", ["/@yard/plain.mp4", "/a@b/plain.mp4?mail=me@example.com"])
def test_an_at_sign_in_the_path_of_a_web_address_is_no_login(tmp_path, rest, login):
    clip = tmp_path / rest.partition("?")[0].removeprefix("/")
    clip.parent.mkdir()
    write_clip(clip, frames=3)
    with mjpeg_server("--folder", tmp_path) as server:
        address = f"http://{login}127.0.0.1:{server.port}{rest}"
        source = open_source(address, timeout_s=3)
        assert frame_number(source.read().pixels) == 0
        source.close()


def test_a_wrong_password_is_reported_without_it(capfd):
    with rtsp_server("--user", "admin", "--password", "right") as server:
        address = f"rtsp://admin:hunter2x@127.0.0.1:{server.port}/cam?token=hunter2y"
        with WatchedReader(address) as cam:
            assert cam.until(lambda: cam.state == "DOWN")
            assert "401" in cam.stats.reason
            assert cam.until(lambda: len(cam.states) > 3)
    assert "hunter2" not in str(cam.states) + "".join(capfd.readouterr())


def test_a_path_that_the_camera_does_not_have_is_reported():
    with rtsp_server() as server, pytest.raises(SourceLost, match="404"):
        open_source(f"rtsp://127.0.0.1:{server.port}/other", timeout_s=3)


def test_a_refused_connection_is_reported_at_once(capfd):
    with mjpeg_server() as server:
        port = server.port
    for scheme in ("rtsp", "rtsps", "http", "https"):
        began = time.monotonic()
        with pytest.raises(SourceLost, match=r"^connection refused$"):
            open_source(f"{scheme}://admin:hunter2@127.0.0.1:{port}/cam", timeout_s=3)
        assert time.monotonic() - began < 3
    assert capfd.readouterr() == ("", "")


def test_mjpeg_comes_at_once_and_has_no_invented_time():
    with mjpeg_server("--fps", FPS) as server:
        source = open_source(f"http://127.0.0.1:{server.port}/cam", timeout_s=3)
        assert (source.live, source.fps, source.read().pts) == (True, None, None)
        source.close()
        with WatchedReader(f"http://127.0.0.1:{server.port}/cam") as cam:
            assert cam.wait_until_up(FPS)
            assert np.median([one.age_s for one in cam.frames[-FPS:]]) < 0.5 / FPS


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for this machine, with its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path / "camera.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=camera -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-keyout", path, "-out", tmp_path / "c.pem"], check=True, stderr=-3)
    path.write_text(path.read_text() + (tmp_path / "c.pem").read_text())
    return path


def test_a_camera_over_https_is_read_and_its_certificate_not_checked(certificate):
    with mjpeg_server("--fps", FPS) as plain, tls_in_front_of(plain.port, certificate) as port:
        with WatchedReader(f"https://127.0.0.1:{port}/cam") as cam:
            assert cam.wait_until_up(FPS)
            assert cam.frames[-1].size == (320, 240)
        checked = {"tls_verify": "1"}  # FFmpeg's own option, which is off by default
        with pytest.raises(OSError):
            av.open(f"https://127.0.0.1:{port}/cam", options=checked, timeout=3)
        with av.open(f"https://127.0.0.1:{port}/cam", options={**checked, "ca_file": str(certificate)}) as container:
            assert next(container.decode(video=0)).width == 320


def test_a_camera_without_tls_is_down_and_the_reason_is_reported():
    with (
        mjpeg_server("--fps", FPS) as server,
        WatchedReader(f"https://admin:hunter2@127.0.0.1:{server.port}/cam") as cam,
    ):
        assert cam.until(lambda: cam.state == "DOWN")
        assert cam.stats.reason and "hunter2" not in cam.stats.reason


@contextmanager
def tls_in_front_of(port, certificate):
    """Forward TLS connections to a plain port of this machine; return their port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Forward(socketserver.BaseRequestHandler):
        def handle(self):
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection(("127.0.0.1", port)) as camera,
            ):
                camera.sendall(client.recv(4096))
                while data := camera.recv(65536):
                    client.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_video_over_http_is_played_at_its_own_speed_to_its_end(tmp_path):
    write_clip(tmp_path / "clip.mp4", frames=15, fps=FPS)
    with mjpeg_server("--folder", tmp_path) as server:
        source = open_source(f"http://127.0.0.1:{server.port}/clip.mp4", timeout_s=3)
        began, frames, ages_s = time.monotonic(), [], []
        with pytest.raises(SourceEnded):
            while True:
                frames.append(source.read())
                ages_s.append(time.monotonic() - frames[-1].arrived)
        source.close()
    assert [frame_number(frame.pixels) for frame in frames] == list(range(15))
    assert time.monotonic() - began > 13 / FPS
    assert all(frame.arrived <= frame.decoded for frame in frames)
    assert np.median(ages_s) < 0.5 / FPS  # the wait until a frame is due is not part of its age


def test_a_pause_in_a_video_over_http_does_not_count_as_silence(tmp_path):
    write_clip(tmp_path / "clip.mp4", frames=21, fps=10, skipped=range(3, 19))
    with (
        mjpeg_server("--folder", tmp_path) as server,
        WatchedReader(f"http://127.0.0.1:{server.port}/clip.mp4") as clip,
    ):
        assert clip.until(lambda: clip.state in ("DOWN", "ENDED"))
        assert [state for state, _ in clip.states] == ["UP", "ENDED"]
        assert [one.pts for one in clip.frames] == pytest.approx([0, 0.1, 0.2, 1.9, 2.0])
        *_, pause_s, period_s = np.diff([one.arrived for one in clip.frames])
        assert 2 * period_s < pause_s  # what comes after it is at its own speed again


def test_a_response_that_is_not_a_video_is_reported(tmp_path):
    (tmp_path / "index.html").write_text("<p>log in first</p>")
    with mjpeg_server("--folder", tmp_path) as server:
        for path, message in (("", "not with video"), ("nothing.mp4", "404")):
            with pytest.raises(SourceLost, match=message):
                open_source(f"http://127.0.0.1:{server.port}/{path}", timeout_s=3)


def test_cameras_and_videos_above_the_budget_are_reported_with_their_size(tmp_path):
    write_clip(tmp_path / "clip.mp4", frames=15, fps=FPS)
    write_clip(tmp_path / "clip.flv", frames=15, fps=FPS)
    message = r"^320 x 240 px are 0\.0768 megapixels, above the limit of 0\.07; raise --max-megapixels"
    with mjpeg_server("--folder", tmp_path) as web, rtsp_server("--fps", FPS) as rtsp:
        for address in (f"http://127.0.0.1:{web.port}/{name}" for name in ("cam", "clip.mp4", "clip.flv")):
            with pytest.raises(SourceLost, match=message):
                open_source(address, timeout_s=3, budget=PixelBudget(0.07)).read()
            open_source(address, timeout_s=3, budget=PixelBudget(0.08)).close()
        with pytest.raises(SourceLost, match=message):
            open_source(f"rtsp://127.0.0.1:{rtsp.port}/cam", timeout_s=3, budget=PixelBudget(0.07))


def test_an_h264_file_can_be_sent_over_rtsp(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=60, fps=FPS)
    with rtsp_server("--file", clip) as server:
        source = open_source(f"rtsp://127.0.0.1:{server.port}/cam", timeout_s=3)
        assert [frame_number(source.read().pixels) for _ in range(10)] == list(range(10))
        source.close()
