from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.sources import BadFrame, SourceEnded, SourceLost, open_source
from tests.cameras.clips import SIZE, encode, frame_number, write_clip


def read_all(source):
    """Return the good frames and the number of bad ones."""
    frames, bad = [], 0
    with pytest.raises((SourceEnded, SourceLost)):
        while True:
            try:
                frames.append(source.read())
            except BadFrame:
                bad += 1
    source.close()
    return frames, bad


def test_every_frame_comes_once_in_order_with_its_time(tmp_path):
    source = open_source(str(write_clip(tmp_path / "clip.mp4", frames=30, fps=15)), timeout_s=1)
    assert (source.live, source.fps) == (False, 15)
    frames, bad = read_all(source)
    assert [frame_number(frame.pixels) for frame in frames] == list(range(30))
    assert [frame.pts for frame in frames] == pytest.approx([index / 15 for index in range(30)])
    assert bad == 0


def test_frames_are_not_converted_and_stamps_are_in_order(tmp_path):
    frames, _ = read_all(open_source(str(write_clip(tmp_path / "clip.mp4", frames=5)), timeout_s=1))
    assert {(frame.pixels.format.name, frame.pixels.width) for frame in frames} == {("yuv420p", SIZE[0])}
    assert all(frame.arrived <= frame.decoded for frame in frames)
    assert all(one.decoded <= other.decoded for one, other in pairwise(frames))


def test_times_start_at_zero_although_those_of_the_file_do_not(tmp_path):
    frames, _ = read_all(open_source(str(write_clip(tmp_path / "clip.ts", frames=5, fps=15)), timeout_s=1))
    assert [frame.pts for frame in frames] == pytest.approx([index / 15 for index in range(5)], abs=1e-4)


def test_a_damaged_file_yields_its_intact_frames_and_counts_the_others(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=60, fps=15)
    data = bytearray(clip.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 300] = bytes(300)
    clip.write_bytes(data)
    frames, bad = read_all(open_source(str(clip), timeout_s=1))
    assert 0 < bad < 30
    assert 30 <= len(frames) <= 60 - bad
    assert frame_number(frames[-1].pixels) == 59


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", frames=3).rename(tmp_path / "http:clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_all(open_source("http:clip.mp4", timeout_s=1))[0]) == 3


# Container, options and rate: raw H.264 declares its rate, the others get FFmpeg's default.
UNTIMED = {
    "b.avi": ("libx264", {"bf": "3", "b-adapt": "0"}),
    "asp.avi": ("mpeg4", {"bf": "2"}),
    "raw.h264": ("libx264", {"container": "h264", "bf": "3"}),
    "raw.bin": ("libx264", {"container": "h264", "bf": "3"}),
    "raw.m4v": ("mpeg4", {"container": "m4v", "bf": "2"}),
    "raw.mjpeg": ("mjpeg", {"container": "mjpeg", "pix_fmt": "yuvj420p"}),
    "raw.jpg": ("mjpeg", {"container": "mjpeg", "pix_fmt": "yuvj420p"}),
}


@pytest.mark.parametrize("name", UNTIMED)
def test_every_frame_of_a_file_without_presentation_times_comes_in_order_at_its_frame_rate(tmp_path, name):
    codec, options = UNTIMED[name]
    source = open_source(str(encode(tmp_path / name, codec, frames=60, **options)), timeout_s=1)
    assert source.fps == 25
    frames, bad = read_all(source)
    assert [frame_number(frame.pixels) for frame in frames] == list(range(60))
    assert [frame.pts for frame in frames] == pytest.approx([index / 25 for index in range(60)])
    assert bad == 0


def test_raw_h264_has_the_frame_rate_that_it_declares(tmp_path):
    write_clip(tmp_path / "raw.h264", frames=6, fps=10)
    frames, _ = read_all(open_source(str(tmp_path / "raw.h264"), timeout_s=1))
    assert [frame.pts for frame in frames] == pytest.approx([index / 10 for index in range(6)])


@pytest.mark.parametrize("name", ["gap.mp4", "gap.mkv", "gap.ts", "gap.flv"])
def test_presentation_times_are_the_files_own_with_b_frames_and_gaps(tmp_path, name):
    indices = [index for index in range(40) if not 11 <= index < 19]
    path = write_clip(tmp_path / name, frames=40, fps=20, skipped=range(11, 19))
    with av.open(str(path)) as file:
        assert any(frame.pict_type == av.video.frame.PictureType.B for frame in file.decode(video=0))
    frames, _ = read_all(open_source(str(path), timeout_s=1))
    assert [frame_number(frame.pixels) for frame in frames] == indices
    assert [frame.pts for frame in frames] == pytest.approx([index / 20 for index in indices], abs=2e-3)


def test_times_of_a_video_copied_out_of_an_avi_rise_too(tmp_path):
    avi = encode(tmp_path / "b.avi", "libx264", bf="3")
    with av.open(str(avi)) as reader, av.open(str(tmp_path / "copy.mkv"), "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
    frames, _ = read_all(open_source(str(tmp_path / "copy.mkv"), timeout_s=1))
    assert [frame_number(frame.pixels) for frame in frames] == list(range(30))
    assert [frame.pts for frame in frames] == pytest.approx([index / 25 for index in range(30)], abs=2e-3)


def test_one_recording_after_the_other_continues_in_time(tmp_path):
    clip = write_clip(tmp_path / "clip.ts", frames=20, fps=10)
    (tmp_path / "both.ts").write_bytes(clip.read_bytes() * 2)
    frames, _ = read_all(open_source(str(tmp_path / "both.ts"), timeout_s=1))
    assert len(frames) == 40
    times = [frame.pts for frame in frames]
    assert all(one < other for one, other in pairwise(times))
    assert times[-1] == pytest.approx(3.9, abs=0.2)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
@pytest.mark.parametrize("name", ["moves.{}", "moves.jpg"])
def test_every_frame_of_an_animation_comes_with_its_time(tmp_path, suffix, name):
    from PIL import Image

    greys = [20, 90, 160, 230]
    first, *others = [Image.fromarray(np.full((48, 64, 3), grey, np.uint8)) for grey in greys]
    path = tmp_path / f"written.{suffix}"
    first.save(path, save_all=True, append_images=others, duration=[40, 100, 40, 40], quality=95)
    source = open_source(str(path.rename(tmp_path / name.format(suffix))), timeout_s=1)
    frames, bad = read_all(source)
    seen = [Frame("door", 0, *frame).image() for frame in frames]
    assert [image.mean() for image in seen] == pytest.approx(greys, abs=3)
    assert {image.shape for image in seen} == {(48, 64, 3)}
    assert [frame.pts for frame in frames] == pytest.approx([0, 0.04, 0.14, 0.18])
    assert (source.live, bad) == (False, 0)


def test_a_still_of_a_format_that_may_move_is_one_frame(tmp_path):
    for suffix in ("png", "webp", "avif", "gif"):
        path = tmp_path / f"still.{suffix}"
        path.write_bytes(cv2.imencode(f".{suffix}", np.full((48, 64, 3), 90, np.uint8))[1].tobytes())
        frames, bad = read_all(open_source(str(path), timeout_s=1))
        assert ([frame.pts for frame in frames], bad) == ([0], 0), suffix


def test_a_truncated_animation_yields_its_complete_frames(tmp_path):
    from PIL import Image

    random = np.random.default_rng(0)
    first, *others = [Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)) for _ in range(4)]
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=40)
    data = (tmp_path / "a.webp").read_bytes()
    for end in (30, 200, len(data) // 2, len(data) - 5):
        (tmp_path / "a.webp").write_bytes(data[:end])
        with suppress(SourceLost):
            frames, _ = read_all(open_source(str(tmp_path / "a.webp"), timeout_s=1))
            assert len(frames) < 4


def test_an_animation_with_a_giant_canvas_is_refused_by_its_header(tmp_path):
    canvas = (16383).to_bytes(3, "little")
    chunk = b"VP8X" + (10).to_bytes(4, "little") + b"\x02\0\0\0" + canvas + canvas
    animation = b"ANIM" + (6).to_bytes(4, "little") + bytes(106)
    size = (len(chunk + animation) + 4).to_bytes(4, "little")
    (tmp_path / "a.webp").write_bytes(b"RIFF" + size + b"WEBP" + chunk + animation)
    with pytest.raises(SourceLost, match=r"^16384 x 16384 px are 268\.435 megapixels, above the limit of 150;"):
        open_source(str(tmp_path / "a.webp"), timeout_s=1)
    with pytest.raises(SourceLost, match=r"^cannot be read: "):
        open_source(str(tmp_path / "a.webp"), timeout_s=1, budget=PixelBudget(1000))


@pytest.mark.parametrize("container", ["mjpeg", "avi"])
def test_a_jpeg_of_thousands_of_scans_in_a_video_is_a_bad_frame_and_the_next_is_read(tmp_path, container):
    grey = np.full((48, 64, 3), 90, np.uint8)
    jpeg = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    bomb = jpeg[:-2] + jpeg[jpeg.rfind(b"\xff\xda") : -2] * 2000 + jpeg[-2:]
    with av.open(str(tmp_path / f"clip.{container}"), "w", format=container) as writer:
        track = writer.add_stream("mjpeg", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "yuvj420p"
        for index, data in enumerate((jpeg, bomb, jpeg)):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts = track, index, index
            packet.time_base = Fraction(1, 25)
            writer.mux(packet)
    frames, bad = read_all(open_source(str(tmp_path / f"clip.{container}"), timeout_s=1))
    assert (len(frames), bad) == (2, 1)
