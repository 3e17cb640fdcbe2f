from __future__ import annotations

import cv2
import numpy as np
import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.media import list_images
from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.sources import BadFrame, SourceEnded, check_address, is_live, open_source
from tests.cameras.clips import ORIENTATIONS, coloured_clip, corners, write_clip
from tests.cameras.stamp import read_stamp


def write(path, value):
    cv2.imwrite(str(path), np.full((6, 8, 3), value, np.uint8))


def test_images_come_once_in_the_order_of_their_names_and_a_broken_one_is_skipped(tmp_path):
    for name, value in (("b.png", 20), ("a.png", 10), ("d.png", 40)):
        write(tmp_path / name, value)
    (tmp_path / "c.png").write_text("no frame")
    source = open_source(str(tmp_path), timeout_s=1)
    assert (source.live, source.fps) == (False, 25)
    assert [source.read().pixels[0, 0, 0] for _ in range(2)] == [10, 20]
    with pytest.raises(BadFrame, match=r"c\.png"):
        source.read()
    last = source.read()
    assert (last.pixels[0, 0, 0], last.pts, last.pixels.shape) == (40, 0.08, (6, 8, 3))
    assert last.arrived <= last.decoded
    with pytest.raises(SourceEnded):
        source.read()


def test_a_pattern_and_a_single_image_of_any_name_are_sources_too(tmp_path):
    write(tmp_path / "a.png", 10)
    write(tmp_path / "b.png", 20)
    (tmp_path / "a.png").rename(tmp_path / "frame[1]")
    assert open_source(f"{tmp_path}/b*", timeout_s=1).read().pixels[0, 0, 0] == 20
    assert open_source(str(tmp_path / "frame[1]"), timeout_s=1).read().pixels[0, 0, 0] == 10


def read_all(source):
    """Return the frames as the detector gets them, their times, and the messages about bad ones."""
    images, times, bad = [], [], []
    while True:
        try:
            frame = source.read()
            images.append(Frame("door", 0, *frame).image())
            times.append(frame.pts)
        except BadFrame as error:
            bad.append(str(error))
        except SourceEnded:
            source.close()
            return images, times, bad


@pytest.mark.parametrize("pattern", ["{}", "{}/*.png", "{}/*"])
def test_numbered_images_come_in_the_order_of_their_numbers_at_25_per_second(tmp_path, pattern):
    for value in range(1, 61):
        write(tmp_path / f"{value}.png", value)
    images, times, _ = read_all(open_source(pattern.format(tmp_path), timeout_s=1))
    assert [image[0, 0, 0] for image in images] == list(range(1, 61))
    assert times == pytest.approx([index / 25 for index in range(60)])


def test_numbers_count_in_folders_and_within_names_and_text_as_text(tmp_path):
    order = ["a1/x.png", "a2/x-2-1.png", "a2/x-2-10.png", "a2/x-10-1.png", "a10/x.png", "b.png", "b01.png", "b1.png"]
    for value, name in enumerate(order):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, value)
    images, _, _ = read_all(open_source(f"{tmp_path}/**/*.png", timeout_s=1))
    names = [order[image[0, 0, 0]] for image in images]
    assert [name for name in names if "/" in name] == order[:5]
    assert [name for name in names if "/" not in name] == ["b.png", "b01.png", "b1.png"]


def test_predict_keeps_the_order_of_ultralytics(tmp_path):
    for value in (1, 2, 10):
        write(tmp_path / f"{value}.png", value)
    assert [path.name for path in list_images(tmp_path)] == ["1.png", "10.png", "2.png"]


@pytest.mark.parametrize("pattern", ["{}", "{}/*.mp4", "{}/clip*"])
def test_the_videos_of_a_folder_are_played_one_after_the_other(tmp_path, pattern):
    for name, frames in (("clip2.mp4", 3), ("clip10.mp4", 4), ("clip1.mp4", 2)):
        write_clip(tmp_path / name, frames=frames, fps=10)
    check_address(pattern.format(tmp_path))
    assert not is_live(pattern.format(tmp_path))
    images, times, bad = read_all(open_source(pattern.format(tmp_path), timeout_s=1))
    assert [read_stamp(image) for image in images] == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert times == pytest.approx([0, 0.1, 0, 0.1, 0.2, 0, 0.1, 0.2, 0.3])
    assert bad == []


def test_the_content_of_a_file_counts_and_not_its_name_and_a_broken_one_is_skipped(tmp_path):
    write_clip(tmp_path / "1.mp4", frames=2, fps=10).rename(tmp_path / "1.jpg")
    write(tmp_path / "2.png", 50)
    (tmp_path / "2.png").rename(tmp_path / "2.mp4")
    (tmp_path / "3.mp4").write_text("no video")
    write(tmp_path / "4.png", 60)
    images, times, bad = read_all(open_source(str(tmp_path), timeout_s=1))
    assert [image.shape for image in images] == [(240, 320, 3)] * 2 + [(6, 8, 3)] * 2
    assert times == pytest.approx([0, 0.1, 0, 0.04])
    assert len(bad) == 1 and bad[0].startswith("3.mp4: cannot be read: invalid data")


def test_a_folder_is_rotated_image_by_image_and_video_by_video(tmp_path):
    coloured_clip(tmp_path / "a.mp4", ORIENTATIONS["right"], frames=1)
    coloured_clip(tmp_path / "b.mp4", frames=1)
    images, _, _ = read_all(open_source(str(tmp_path), timeout_s=1))
    assert [corners(image) for image in images] == ["brkg", "rgbk"]


@pytest.mark.parametrize("name", ["text.jpg", "text.png", "text.mp4", "text.heic", "cut.jpg"])
def test_a_file_that_is_neither_image_nor_video_is_refused_before_anything_starts(tmp_path, name):
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    (tmp_path / name).write_bytes(jpeg[:60] if name == "cut.jpg" else b"no frame")
    with pytest.raises(UsageError, match=rf"{name}' is neither an image nor a video: \w") as caught:
        check_address(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def save_pages(path, value, channels):
    cv2.imwritemulti(str(path), [np.full((6, 8), value + page, np.uint8) for page in range(channels)])


@pytest.mark.parametrize("channels", [1, 4])
def test_images_are_read_for_the_channels_of_the_model(channels, tmp_path):
    for index in range(3):
        save_pages(tmp_path / f"{index}.tif", 50 * index, channels)
    check_address(str(tmp_path), channels=channels)
    check_address(str(tmp_path / "1.tif"), channels=channels)
    images, _, bad = read_all(open_source(str(tmp_path), timeout_s=1, channels=channels))
    assert [image.shape for image in images] == [(6, 8, channels)] * 3 and not bad
    assert [image[0, 0].tolist() for image in images] == [
        [50 * index + page for page in range(channels)] for index in range(3)
    ]


def test_files_of_other_channels_are_refused_or_bad_frames_that_name_both(tmp_path):
    save_pages(tmp_path / "a.tif", 0, 4)
    write(tmp_path / "b.png", 10)
    write_clip(tmp_path / "c.mp4", frames=2)
    images, _, bad = read_all(open_source(str(tmp_path), timeout_s=1, channels=4))
    assert len(images) == 1
    assert bad == [
        "b.png: cannot be read as an image: it has 3 channels, but the model takes 4",
        "c.mp4: it is a video of 3 channels, but the model takes 4",
    ]
    check_address(str(tmp_path), channels=4)  # the first file is fine
    for name in ("b.png", "c.mp4", "*.png"):
        with pytest.raises(UsageError, match="3 channels, but the model takes 4"):
            check_address(str(tmp_path / name), channels=4)
