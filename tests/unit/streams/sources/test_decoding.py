"""Frames are upright and of the right track, as OpenCV and every player show them."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.sources import SourceEnded, check_address, open_source
from tests.cameras.clips import (
    ORIENTATIONS,
    coloured_clip,
    corners,
    encode,
    frame_number,
    numbered_image,
    with_cover,
    with_orientation,
    write_clip,
)


def images(path):
    """Return all frames of a source as the detector gets them."""
    source, frames = open_source(str(path), timeout_s=1), []
    while True:
        try:
            frames.append(Frame("door", 0, *source.read()).image())
        except SourceEnded:
            source.close()
            return frames


def stored(path):
    """Return the first frame as it is stored, with PyAV alone."""
    with av.open(str(path)) as file:
        return next(file.decode(video=0)).to_ndarray(format="bgr24")


# With numpy alone, from the stored frame. np.rot90 rotates counterclockwise.
UPRIGHT = {
    "right": lambda image: np.rot90(image, -1),
    "over": lambda image: np.rot90(image, 2),
    "left": np.rot90,
    "mirrored": np.fliplr,
    "flipped": np.flipud,
    "transposed": lambda image: image.transpose(1, 0, 2),
    "transversed": lambda image: np.rot90(image, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("turn", ORIENTATIONS)
def test_a_video_is_rotated_as_its_container_says(tmp_path, turn, suffix):
    path = coloured_clip(tmp_path / f"clip.{suffix}", ORIENTATIONS[turn])
    frames = images(path)
    assert len(frames) == 3
    np.testing.assert_array_equal(frames[0], UPRIGHT[turn](stored(path)))
    assert {image.shape for image in frames} == {frames[0].shape}
    if turn in ("right", "over", "left"):  # OpenCV treats a mirror as a rotation
        shown = cv2.VideoCapture(str(path)).read()[1]
        assert (shown.shape, corners(shown)) == (frames[0].shape, corners(frames[0]))


@pytest.mark.parametrize("suffix", ["h264", "ts"])
def test_the_orientation_in_the_video_itself_holds_until_the_next_key_frame(tmp_path, suffix):
    clip = coloured_clip(tmp_path / "clip.h264", frames=6)
    path = with_orientation(clip, tmp_path / f"turned.{suffix}", "rotate=90")
    assert [corners(image) for image in images(path)] == [corners(np.rot90(stored(clip)))] * 6


def test_a_jpeg_of_a_stream_is_rotated_by_its_exif_data(tmp_path):
    jpeg = cv2.imencode(".jpg", numbered_image(0))[1].tobytes()
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6: a quarter turn clockwise
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    noted = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    (tmp_path / "one.jpg").write_bytes(noted)
    (tmp_path / "two.mjpeg").write_bytes(noted * 2)
    upright = cv2.imread(str(tmp_path / "one.jpg"))
    assert upright.shape == (320, 240, 3)
    for path in (tmp_path / "one.jpg", tmp_path / "two.mjpeg"):
        assert all(np.abs(image.astype(int) - upright).mean() < 2 for image in images(path))


def test_an_image_is_rotated_in_a_folder_as_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    test_a_jpeg_of_a_stream_is_rotated_by_its_exif_data(tmp_path)
    (tmp_path / "one.jpg").rename(tmp_path / "folder" / "one.jpg")
    np.testing.assert_array_equal(images(tmp_path / "folder")[0], cv2.imread(str(tmp_path / "folder" / "one.jpg")))


def numbers(path):
    source, indices = open_source(str(path), timeout_s=1), []
    while True:
        try:
            indices.append(frame_number(source.read().pixels))
        except SourceEnded:
            source.close()
            return indices


JPEG = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()


def test_a_cover_image_is_never_the_video(tmp_path):
    clip = encode(tmp_path / "clip.mp4", "libx264", bf="0")
    path = with_cover(clip, tmp_path / "cover.mp4", JPEG)
    with av.open(str(path)) as file:
        assert [track.codec_context.name for track in file.streams.video] == ["mjpeg", "h264"]
    assert numbers(path) == list(range(30))


def two_tracks(path, first, second, default):
    """Write a file of two H.264 tracks with this many frames each; those of the second count from 100."""
    with av.open(str(path), "w") as file:
        tracks = [file.add_stream("libx264", rate=25) for _ in range(2)]
        for index, track in enumerate(tracks):
            track.width, track.height, track.pix_fmt = 320, 240, "yuv420p"
            track.disposition = av.stream.Disposition.default if index == default else av.stream.Disposition(0)
        for index in range(max(first, second)):
            for track, first_index, count in ((tracks[0], 0, first), (tracks[1], 100, second)):
                if index < count:
                    frame = av.VideoFrame.from_ndarray(numbered_image(first_index + index), "bgr24")
                    frame.pts, frame.time_base = index, Fraction(1, 25)
                    file.mux(track.encode(frame))
        for track in tracks:
            file.mux(track.encode())
    return path


@pytest.mark.parametrize(("default", "first_index"), [(0, 0), (1, 100), (None, 0)])
def test_of_two_tracks_the_default_is_the_video_and_else_the_first(tmp_path, default, first_index):
    assert numbers(two_tracks(tmp_path / "two.mkv", 5, 5, default)) == list(range(first_index, first_index + 5))


def test_a_track_of_one_frame_is_a_still_image_beside_a_moving_one(tmp_path):
    assert numbers(two_tracks(tmp_path / "two.mp4", 1, 5, 0)) == list(range(100, 105))


def test_a_song_with_a_cover_is_not_a_video(tmp_path):
    with av.open(str(tmp_path / "plain.m4a"), "w", format="mp4") as file:
        track = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        file.mux(track.encode(frame))
        file.mux(track.encode())
    with_cover(tmp_path / "plain.m4a", tmp_path / "song.m4a", JPEG)
    with pytest.raises(UsageError, match=r"song\.m4a' is neither .*: there is no video in it, only a cover image$"):
        check_address(str(tmp_path / "song.m4a"))
    with pytest.raises(UsageError, match=r"plain\.m4a' is neither .*: there is no video in it$"):
        check_address(str(tmp_path / "plain.m4a"))


def test_a_clip_without_a_matrix_is_as_it_is_stored(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", frames=2)
    np.testing.assert_array_equal(images(path)[0], stored(path))
