from __future__ import annotations

import asyncio
import threading

import cv2
import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.overlay import overlay
from fgd_yolo.streams.web.latest_frames import MAX_WIDTH_PX, LatestFrames
from web_pipeline import result_of


def newest(frames, stream="door", after=None, timeout_s=0.05):
    return asyncio.run(frames.wait_for_jpeg(stream, after, timeout_s))


def read(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_nothing_is_encoded_without_viewers():
    drawn_results = []
    frames = LatestFrames(drawn_results.append)
    before = threading.active_count()
    for index in range(100):
        frames(result_of("door", index))
    assert frames.encoded == 0
    assert drawn_results == []
    assert threading.active_count() == before


def test_only_the_stream_that_is_watched_is_encoded():
    seen = []
    frames = LatestFrames(lambda result: seen.append(result.frame.stream) or overlay(result))
    for index in range(5):
        frames(result_of("door", index))
        frames(result_of("yard", index))
    assert newest(frames, "yard").index == 4
    assert seen == ["yard"]


def test_a_frame_is_encoded_once_however_many_watch():
    frames = LatestFrames()
    frames(result_of("door", 0))

    async def watch():
        return await asyncio.gather(*[frames.wait_for_jpeg("door", None, 1) for _ in range(5)])

    encoded = asyncio.run(watch())
    assert frames.encoded == 1
    assert len({frame.jpeg for frame in encoded}) == 1
    frames(result_of("door", 1))
    assert newest(frames, after=0).index == 1
    assert frames.encoded == 2


def test_the_jpeg_shows_the_frame_with_its_boxes():
    frames = LatestFrames()
    result = result_of("door", 3)
    frames(result)
    shown = read(newest(frames).jpeg)
    assert shown.shape == (64, 128, 3)
    assert abs(int(shown[60, 120, 0]) - 111) < 4  # the grey of frame 3, three times 37
    red = shown[40, 8].astype(int)  # on the left edge of its box; class 0 is red
    assert red[2] > red[0] + 50
    assert (result.frame.image() == 111).all()


def test_a_viewer_that_has_the_newest_frame_waits_for_the_next():
    frames = LatestFrames()
    frames(result_of("door", 7))
    assert newest(frames, after=7) is None

    async def watch():
        waiting = asyncio.ensure_future(frames.wait_for_jpeg("door", 7, 30))
        await asyncio.sleep(0.05)
        threading.Thread(target=frames, args=(result_of("door", 8),)).start()
        return await waiting

    assert asyncio.run(watch()).index == 8


def test_a_viewer_gets_the_newest_frame_and_not_those_in_between():
    frames = LatestFrames()
    for index in range(9):
        frames(result_of("door", index))
    assert newest(frames, after=2).index == 8


def test_a_restarted_stream_counts_from_the_start():
    frames = LatestFrames()
    frames(result_of("door", 0))
    assert newest(frames, after=500).index == 0


def test_waiting_for_nothing_leaves_nothing_behind():
    frames = LatestFrames()
    for _ in range(3):
        assert newest(frames, "no such stream", timeout_s=0.01) is None
    assert frames._waiting == {}


def test_a_removed_stream_is_forgotten_with_its_jpeg():
    frames = LatestFrames()
    frames(result_of("door", 0))
    frames(result_of("yard", 0))
    newest(frames)
    frames.retain(["yard"])
    assert set(frames.result_times()) == {"yard"}
    assert newest(frames) is None
    newest(frames, "yard")
    assert set(frames._encoded) == {"yard"}


def test_a_wide_frame_is_downscaled_and_keeps_its_aspect_ratio():
    frames = LatestFrames()
    frames(result_of("door", 0, side=1000))
    assert read(newest(frames).jpeg).shape == (MAX_WIDTH_PX // 2, MAX_WIDTH_PX, 3)


def test_slow_drawing_does_not_hold_up_the_pipeline():
    proceed = threading.Event()
    frames = LatestFrames(lambda result: proceed.wait(30) and overlay(result))

    async def watch():
        watching = asyncio.ensure_future(frames.wait_for_jpeg("door", None, 1))
        await asyncio.sleep(0.05)
        for index in range(1, 50):
            frames(result_of("door", index))  # would hang here
        assert not watching.done()
        proceed.set()
        return await watching

    frames(result_of("door", 0))
    assert asyncio.run(watch()).index == 0
    assert newest(frames, after=0).index == 49


def test_a_frame_that_cannot_be_drawn_is_an_error_and_the_next_one_is_shown():
    results = [result_of("door", 0), result_of("door", 1)]
    results[0].frame.pixels = np.zeros((9, 9, 3), np.uint8)
    frames = LatestFrames()
    frames(results[0])
    with pytest.raises(FGDError, match="pass the same image"):
        newest(frames)
    frames(results[1])
    assert newest(frames).index == 1
