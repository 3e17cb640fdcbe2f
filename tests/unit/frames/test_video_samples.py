from __future__ import annotations

import av
import cv2
import numpy as np
import pytest

from fgd_yolo.frames.video_samples import VideoSamples, stated_length_s
from fgd_yolo.runtime.pixel_budget import PixelBudget
from tests.cameras.clips import ORIENTATIONS, coloured_clip, corners, write_clip
from tests.cameras.stamp import read_stamp


def sampled(path, every, megapixels=10.0):
    """Return the times and the numbers of the frames, and the problem."""
    samples = VideoSamples(path, every, PixelBudget(megapixels))
    frames = [(round(time_s, 3), read_stamp(image)) for time_s, image in samples]
    return frames, samples.problem


@pytest.mark.parametrize(
    ("every", "numbers"),
    [(1, [0, 10, 20]), (0.5, [0, 5, 10, 15, 20, 25]), (0.1, list(range(30))), (0.01, list(range(30))), (60, [0])],
)
def test_one_frame_of_each_interval_is_taken_at_its_time(tmp_path, every, numbers):
    clip = write_clip(tmp_path / "clip.mp4", frames=30, fps=10)
    assert sampled(clip, every) == ([(number / 10, number) for number in numbers], None)


def test_where_frames_are_missing_the_next_one_stands_for_its_interval(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=40, fps=10, skipped=range(8, 23))
    assert sampled(clip, 1)[0] == [(0, 0), (2.3, 23), (3, 30)]


def test_a_cut_video_and_one_that_ends_in_garbage_are_kept_up_to_there(tmp_path):
    whole = write_clip(tmp_path / "clip.mp4", frames=60, fps=10).read_bytes()
    path = tmp_path / "damaged.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    frames, problem = sampled(path, 1)
    assert [number for _, number in frames] in ([0, 10], [0, 10, 20])
    assert problem
    middle = len(whole) * 6 // 10
    path.write_bytes(whole[:middle] + np.random.default_rng(0).bytes(len(whole) - middle))
    frames, problem = sampled(path, 1)
    assert [number for _, number in frames] in ([0, 10, 20], [0, 10, 20, 30])
    assert problem


def test_a_video_whose_end_is_missing_without_any_error_says_so(tmp_path):
    whole = write_clip(tmp_path / "clip.mkv", frames=60, fps=10).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    frames, problem = sampled(tmp_path / "cut.mkv", 1)
    assert [number for _, number in frames][:2] == [0, 10]
    assert problem.startswith("it ends at ")
    assert problem.endswith(" s of 6 s")


def test_a_file_without_frames_gives_none_and_the_reason(tmp_path):
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        track = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(track.encode(sound))
        container.mux(track.encode())
    for name in ("noise.mp4", "empty.mp4", "missing.mp4"):
        assert sampled(tmp_path / name, 1)[0] == []
        assert sampled(tmp_path / name, 1)[1].startswith("cannot be read: ")
    assert sampled(tmp_path / "sound.mp4", 1) == ([], "there is no video in it")


def test_a_frame_above_the_budget_is_not_decoded(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=5)
    frames, problem = sampled(clip, 1, megapixels=0.01)
    assert frames == []
    assert problem.startswith("320 x 240 px are 0.0768 megapixels, above the limit of 0.01")


def test_frames_are_upright(tmp_path):
    clip = coloured_clip(tmp_path / "turned.mp4", ORIENTATIONS["right"])
    images = [image for _, image in VideoSamples(clip, 1, PixelBudget())]
    upright = [image for _, image in VideoSamples(coloured_clip(tmp_path / "plain.mp4"), 1, PixelBudget())]
    assert images[0].shape[:2] == upright[0].shape[1::-1]
    assert corners(images[0]) == corners(cv2.rotate(upright[0], cv2.ROTATE_90_CLOCKWISE))


def test_the_stated_length_is_that_of_the_video_track(tmp_path):
    assert stated_length_s(write_clip(tmp_path / "clip.mp4", frames=45, fps=15)) == pytest.approx(3)
    (tmp_path / "noise.mp4").write_bytes(b"noise")
    assert stated_length_s(tmp_path / "noise.mp4") is None
