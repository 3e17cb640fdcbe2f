"""Videos, scenes and folders above the budget: refused by their size, before a frame is decoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.streams.sources import BadFrame, SourceEnded, SourceLost, check_address, open_source
from fgd_yolo.streams.sources.demo_scene import SceneSource, scene_truth
from fgd_yolo.streams.sources.video_file import VideoFileSource
from memory import grown_mb

CODECS = {
    "mp4": ("libx264", "yuv420p"),
    "flv": ("libx264", "yuv420p"),
    "mpegts": ("libx264", "yuv420p"),
    "matroska": ("ffv1", "yuv420p"),
    "avi": ("mjpeg", "yuvj420p"),
    "mjpeg": ("mjpeg", "yuvj420p"),
    "gif": ("gif", "gray"),
    "h264": ("libx264", "yuv420p"),
}
ENDINGS = {"mpegts": "ts", "matroska": "mkv"}


def write_video(folder: Path, container: str, side: int, frames: int = 2, width: int | None = None) -> Path:
    path = folder / f"{side}.{ENDINGS.get(container, container)}"
    codec, form = CODECS[container]
    options = {"preset": "ultrafast", "tune": "zerolatency"} if codec == "libx264" else {}
    with av.open(str(path), "w", format=container) as file:
        track = file.add_stream(codec, rate=10, options=options)
        track.width, track.height, track.pix_fmt = width or side, side, form
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((side, width or side), 90, np.uint8), "gray").reformat(
                format=form
            )
            frame.pts, frame.time_base = index, Fraction(1, 10)
            file.mux(track.encode(frame))
        file.mux(track.encode())
    return path


@pytest.mark.parametrize("container", CODECS)
def test_a_video_above_the_budget_is_refused_with_its_size(tmp_path, container):
    path = str(write_video(tmp_path, container, 400))
    source = VideoFileSource(path, PixelBudget(0.16).for_stream())
    assert source.read().pixels.width == 400
    source.close()
    with pytest.raises(SourceLost, match=r"^400 x 400 px are 0\.16 megapixels, above the limit of 0\.1;"):
        VideoFileSource(path, PixelBudget(0.1).for_stream())


def test_a_video_file_above_the_budget_is_refused_before_anything_starts(tmp_path):
    path = str(write_video(tmp_path, "mp4", 400))
    check_address(path, PixelBudget(0.16))
    with pytest.raises(UsageError, match=r"400\.mp4' is too large: 400 x 400 px are 0\.16 megapixels"):
        check_address(path, PixelBudget(0.1))


@pytest.mark.parametrize(("height", "width"), [(218, 334), (2, 130), (66, 34)])
@pytest.mark.parametrize("container", ["mp4", "matroska", "avi", "h264"])
def test_a_video_of_exactly_the_budget_is_read_whatever_its_shape(tmp_path, container, height, width):
    path = write_video(tmp_path, container, height, width=width)
    source = VideoFileSource(str(path), PixelBudget(height * width / 1e6).for_stream())
    seen = source.read().pixels
    assert (seen.height, seen.width) == (height, width)
    source.close()


@pytest.mark.slow
@pytest.mark.parametrize("container", CODECS)
def test_a_video_above_the_budget_takes_no_memory(tmp_path, container):
    path = write_video(tmp_path, container, 6000)
    before = "import av, numpy\nfrom fgd_yolo.runtime.pixel_budget import PixelBudget\n"
    before += "from fgd_yolo.streams.sources import *\n"
    before += "from fgd_yolo.streams.sources.video_file import VideoFileSource"
    code = f"""
try:
    source = VideoFileSource({str(path)!r}, PixelBudget(2).for_stream())
    for _ in range(2):
        try:
            source.read()
        except BadFrame:
            pass
except (SourceLost, SourceEnded):
    pass
"""
    assert grown_mb(code, before) < 36  # a single frame takes 54 MB


def test_a_stream_that_grows_beyond_the_budget_is_lost_and_one_within_continues(tmp_path):
    small, large = (write_video(tmp_path, "h264", side, frames).read_bytes() for side, frames in ((320, 150), (640, 2)))
    path = tmp_path / "grows.h264"
    path.write_bytes(small + large)
    source = open_source(str(path), timeout_s=1, budget=PixelBudget(1))
    sizes = []
    with pytest.raises(SourceEnded):
        while True:
            sizes.append(source.read().pixels.width)
    assert sizes == [320] * 150 + [640] * 2
    source.close()
    source, good = open_source(str(path), timeout_s=1, budget=PixelBudget(0.2)), 0
    with pytest.raises((SourceLost, SourceEnded)):
        while True:
            try:
                assert source.read().pixels.width == 320
                good += 1
            except BadFrame:
                pass
    assert good == 150
    source.close()


def test_an_image_in_a_folder_that_is_too_large_is_a_bad_frame_and_the_next_one_is_read(tmp_path):
    for name, side in (("1.png", 100), ("2.png", 400), ("3.png", 100)):
        cv2.imwrite(str(tmp_path / name), np.zeros((side, side, 3), np.uint8))
    source = open_source(str(tmp_path), timeout_s=1, budget=PixelBudget(0.1))
    assert source.read().pixels.shape == (100, 100, 3)
    with pytest.raises(BadFrame, match=r"^2\.png: 400 x 400 px are 0\.16 megapixels, above the limit of 0\.1"):
        source.read()
    assert source.read().pixels.shape == (100, 100, 3)


def test_scenes_count_together(tmp_path):
    budget = PixelBudget(20)
    first = open_source("test://?size=4096x4096", timeout_s=1, budget=budget)
    with pytest.raises(
        SourceLost, match=r"the streams would have 33\.55\d* megapixels together, above the limit of 20"
    ):
        open_source("test://?size=4096x4096&seed=1", timeout_s=1, budget=budget)
    first.close()
    open_source("test://?size=4096x4096&seed=1", timeout_s=1, budget=budget).close()


@pytest.mark.slow
def test_four_large_scenes_take_less_than_a_tenth_of_a_gigabyte_each_and_a_frame():
    before = "from fgd_yolo.streams.sources import open_source\nimport fgd_yolo.streams.sources.demo_scene, numpy, cv2"
    code = """
sources = [open_source(f"test://?size=4096x4096&seed={seed}", timeout_s=1) for seed in range(4)]
frames = [source.read().pixels for source in sources]
assert {frame.shape for frame in frames} == {(4096, 4096, 3)}
"""
    picture_mb = 4096 * 4096 * 3 / 1e6
    assert grown_mb(code, before) < 4 * (100 + picture_mb) + 2 * picture_mb


def test_a_large_scene_has_its_size_and_its_truth_in_its_own_pixels():
    address = "test://?size=4001x2600&fps=1&seed=3"
    source = SceneSource(address, PixelBudget().for_stream())
    frame = source._scene.expose(source._scene.paint(20.0)[0], 0)
    assert frame.shape == (2600, 4001, 3)
    truth = scene_truth(address, 20.0)
    assert truth
    for left, top, right, bottom in (one["xyxy"] for one in truth):
        assert 0 <= left < right <= 4001 and 0 <= top < bottom <= 2600
    assert max(one["xyxy"][2] for one in truth) > 1500


@pytest.mark.parametrize("suffix", ["webp", "avif"])
def test_an_animated_image_above_the_budget_is_refused_with_its_size(tmp_path, suffix):
    from PIL import Image

    first, second = [Image.new("RGB", (400, 300), (grey, grey, grey)) for grey in (20, 200)]
    first.save(tmp_path / f"moves.{suffix}", save_all=True, append_images=[second], duration=40)
    path = str(tmp_path / f"moves.{suffix}")
    check_address(path, PixelBudget(0.5))
    with pytest.raises(UsageError, match=r"is too large: 400 x 300 px are 0\.12 megapixels"):
        check_address(path, PixelBudget(0.1))
    with pytest.raises(SourceLost, match=r"400 x 300 px are 0\.12 megapixels"):
        open_source(path, timeout_s=1, budget=PixelBudget(0.1))
    source = open_source(str(tmp_path / "*"), timeout_s=1, budget=PixelBudget(0.1))
    with pytest.raises(BadFrame, match=rf"moves\.{suffix}: 400 x 300 px are 0\.12 megapixels"):
        source.read()
