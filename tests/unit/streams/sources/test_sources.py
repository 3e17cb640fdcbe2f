from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.sources import SourceLost, check_address, is_live, open_source
from tests.cameras.clips import write_clip


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://10.0.0.7/cam", "is not a source"),
        ("rtsp://", "names no host"),
        ("rtsp://admin:secret@", "names no host"),
        ("rtsp://10.0.0.7:port/cam", "names no host"),
        ("rtsp://a:secret@c d/x", "names no host"),
        ("rtsp://a:secret@c\td/x", "has a character that is not allowed in an address"),
        ("rtsp://a:secret@h:/x", "names no host"),
        ("rtsp://a:secret@h:99999/x", "names no host"),
        ("rtsp://a:secret@[::1/x", "names no host"),
        ("http://\ud800/secret", "has a character that is not allowed in an address"),
        ("rtsp://h/secret\x1b[2J", "has a character that is not allowed in an address"),
        ("rtsp://h/" + "secret" * 400, "longer than 2048 bytes"),
        ("rtsp://h/" + "ü" * 1500, "longer than 2048 bytes"),
        ("/no/such/" + "x" * 3000, "longer than 2048 bytes"),
        ("9" * 5000, "longer than 2048 bytes"),
        ("99999", "a camera number must be from 0 to 9999, got 99999"),
        (-1, "a camera number must be from 0 to 9999, got -1"),
        ("http://camera /x", "names no host"),
        ("http://camera..local/x", "names no host"),
        (f"http://{'c' * 64}.local/x", "names no host"),
        ("no/such/file.mp4", "does not exist"),
        ("no/such/*.jpg", "no image or video matches"),
        ("bad\0name.mp4", "does not exist"),
        ("", "is empty"),
        ("test://?fsp=3", "did you mean 'fps'"),
        ("test://?size=big", "invalid size 'big'"),
        ("test://?fps=0", "invalid fps '0'"),
        ("test://?fps=0.4", "invalid fps '0.4'; try fps=15 [(]from 0.5 to 240[)]"),
        ("test://?fps=nan", "invalid fps 'nan'"),
        ("test://?size=999999x9", "invalid size"),
        ("test://somewhere", "takes options only"),
    ],
)
def test_an_invalid_address_is_refused_on_one_line(address, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as caught:
        check_address(address)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["rtsp:/admin:hunter2@h/x", "rtsp:/admin:hunter2@h/x?y=*", "ftp://a:hunter2@h"])
def test_a_typo_in_an_address_shows_no_password(address):
    with pytest.raises(UsageError) as caught:
        check_address(address)
    assert "hunter2" not in str(caught.value) and address[:5] in str(caught.value)


def test_a_text_file_is_not_a_video_and_an_empty_folder_has_no_images(tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(UsageError, match=r"notes\.mp4' is neither an image nor a video: cannot be read: invalid data"):
        check_address(str(tmp_path / "notes.mp4"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there is no image or video in"):
        check_address(str(tmp_path / "empty"))


def test_a_source_that_is_merely_down_passes(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    spaces = "rtsp://u:two words@h/c", "http://h/a b.mp4"
    for address in (7, "0", "rtsp://u:p@10.0.0.7/c", *spaces, "rtsps://h/c", "HTTP://h:8080/c", "https://h", "test://"):
        check_address(address)
        assert is_live(address)
    for address in (clip, tmp_path, tmp_path / "a.png", f"{tmp_path}/*.png"):
        check_address(str(address))
        assert not is_live(str(address))


def test_a_missing_package_is_reported_before_anything_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FGDError, match=r"pip install 'fgd_yolo\[stream\]'"):
        check_address("rtsp://10.0.0.7/cam")


def test_a_file_removed_after_the_check_is_lost(tmp_path):
    for address in (tmp_path / "clip.mp4", tmp_path / "*.png"):
        with pytest.raises(SourceLost):
            open_source(str(address), timeout_s=1)


def test_a_missing_camera_is_lost_with_its_number_and_without_output_of_opencv(capfd):
    with pytest.raises(SourceLost, match="camera 63"):
        open_source(63, timeout_s=1)
    assert capfd.readouterr() == ("", "")


def test_a_pipe_is_refused_at_once_instead_of_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    code = "import sys; from fgd_yolo.streams.sources import check_address; check_address(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "pipe.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "UsageError" in done.stderr and "it is a pipe or a device" in done.stderr


def test_a_video_that_ffmpeg_cannot_decode_is_refused_with_the_reason(tmp_path):
    data = write_clip(tmp_path / "clip.mp4", frames=2).read_bytes()
    (tmp_path / "clip.mp4").write_bytes(data.replace(b"avc1", b"zzzz"))
    with pytest.raises(UsageError, match="its video has a format that FFmpeg cannot decode here"):
        check_address(str(tmp_path / "clip.mp4"))
    with pytest.raises(SourceLost, match="cannot decode here"):
        open_source(str(tmp_path / "clip.mp4"), timeout_s=1)


@pytest.mark.parametrize("address", ["0", "rtsp://admin:hunter2@10.0.0.7/cam", "http://10.0.0.7/cam", "test://"])
def test_a_camera_cannot_have_the_channels_of_a_multispectral_model(address):
    for channels in (1, 3):
        check_address(address, channels=channels)
    with pytest.raises(UsageError, match="delivers 3 channels, but the model takes 4: give image files") as caught:
        check_address(address, channels=4)
    assert "\n" not in str(caught.value) and "hunter2" not in str(caught.value)
