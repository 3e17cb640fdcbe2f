from __future__ import annotations

import json
import sys

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from fgd_yolo import near_duplicates
from fgd_yolo.demo import demo_video
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.near_duplicates import DISTANCE, NearDuplicates


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Frames of the demo video, and the boxes of each by object."""
    file, truth = demo_video(tmp_path_factory.mktemp("video"), seconds=6, fps=5, width_px=320, height_px=240)
    capture, frames = cv2.VideoCapture(str(file)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    boxes = [{box["id"]: box["xyxy"] for box in frame} for frame in json.loads(truth.read_text())["frames"]]
    return frames, boxes


def noisy(image, levels):
    noise = np.random.default_rng(0).normal(0, levels, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def moved(image, right_px):
    return np.roll(image, right_px, axis=1)


SAME = {
    "itself": lambda image: image.copy(),
    "darker": lambda image: (image * 0.8).astype(np.uint8),
    "brighter": lambda image: np.clip(image * 1.15, 0, 255).astype(np.uint8),
    "noise": lambda image: noisy(image, 8),
    "JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
}
OTHER = {
    "moved camera": lambda image: moved(image, image.shape[1] // 20),
    "mirrored": lambda image: image[:, ::-1].copy(),
    "upside down": lambda image: image[::-1].copy(),
    "turned": lambda image: np.rot90(image).copy(),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_view_is_not_new(video, change):
    frame = video[0][-1]
    seen = NearDuplicates()
    assert seen.is_new(frame)
    assert not seen.is_new(change(frame))
    assert len(seen) == 1


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_another_view_is_new(video, change):
    frame = video[0][-1]
    seen = NearDuplicates()
    assert seen.is_new(frame)
    assert seen.is_new(change(frame))
    assert len(seen) == 2


def test_of_a_scene_without_objects_one_frame_is_kept_and_a_new_object_makes_it_new(video):
    frames, boxes = video
    first = next(index for index, objects in enumerate(boxes) if objects)
    seen = NearDuplicates()
    assert [seen.is_new(frame) for frame in frames[:5]] == [True] + 4 * [False]  # the first second is empty
    # An object that has come in whole.
    whole = next(index for index in range(first, len(boxes)) if any(box[0] > 20 for box in boxes[index].values()))
    assert seen.is_new(frames[whole])


def test_the_answers_are_those_of_a_plain_loop_over_all_hashes_so_far(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_FIRST_CAPACITY", 4)  # so that the memory grows several times
    random = np.random.default_rng(1)
    scenes = [cv2.resize(random.integers(0, 255, (9, 12, 3), np.uint8), (64, 64)) for _ in range(30)]
    images = [noisy(scenes[random.integers(30)], levels) for levels in range(90)]
    seen, hashes, expected = NearDuplicates(), [], []
    for image in images:
        mine = imagehash.phash(Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)), hash_size=16)
        expected.append(all(mine - other > DISTANCE for other in hashes))
        if expected[-1]:
            hashes.append(mine)
    assert [seen.is_new(image) for image in images] == expected
    assert 30 < sum(expected) < 90


def test_a_limited_memory_forgets_the_oldest_view(video):
    a, b, c = (change(video[0][-1]) for change in list(OTHER.values())[:3])
    seen = NearDuplicates(remember=2)
    assert [seen.is_new(image) for image in (a, b, a, c)] == [True, True, False, True]
    assert len(seen) == 2
    assert [seen.is_new(image) for image in (b, c, a)] == [False, False, True]


def test_a_larger_distance_keeps_fewer(video):
    kept = []
    for distance in (0, DISTANCE, 256):
        seen = NearDuplicates(distance)
        kept.append(sum(seen.is_new(frame) for frame in video[0]))
    assert kept[0] > kept[1] > kept[2] == 1


def test_images_of_nothing_but_noise_are_one_view_and_a_light_in_the_night_is_another():
    black, light = np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320, 3), np.uint8)
    light[100:108, 50:58] = 255
    random = np.random.default_rng(0)
    seen = NearDuplicates()
    nights = [np.clip(black + random.normal(0, 8, black.shape), 0, 255).astype(np.uint8) for _ in range(3)]
    assert [seen.is_new(night) for night in nights] == [True, False, False]
    assert seen.is_new(light)


def test_a_missing_package_and_a_memory_of_nothing_are_one_clear_error(monkeypatch):
    with pytest.raises(UsageError, match="remember must be at least 1, got 0"):
        NearDuplicates(remember=0)
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(FGDError, match=r"ImageHash is not installed; run pip install 'fgd_yolo\[stream\]'"):
        NearDuplicates()
