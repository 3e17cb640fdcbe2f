from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from fgd_yolo.streams.sinks.worth_keeping import REASONS, Choice, FrameChooser, TrackWatch, is_uncertain

FRAME_S = 0.125  # exact, so that eight frames are a second


def watch(*ids_by_frame: tuple[int, ...], times: list[float] | None = None) -> list[int]:
    """Return the numbers of the frames on which a track flickered, of frames an eighth of a second apart."""
    tracks = TrackWatch()
    times = times or [index * FRAME_S for index in range(len(ids_by_frame))]
    return [one for index, ids in enumerate(ids_by_frame) for one in tracks.see(times[index], ids, index)]


def chooser(per_hour: int = 10_000, is_new=lambda item: True) -> FrameChooser[int]:
    return FrameChooser(per_hour, 0.25, is_new)


@pytest.mark.parametrize(
    ("scores", "threshold", "uncertain"),
    [
        ([], 0.25, False),
        ([0.9, 0.41], 0.25, False),
        ([0.9, 0.39], 0.25, True),
        ([0.25], 0.25, True),
        ([0.25], 0.05, False),
        ([0.91], 0.9, True),
        ([0.93], 0.9, False),
    ],
)
def test_an_object_is_uncertain_in_the_lowest_fifth_above_the_threshold(scores, threshold, uncertain):
    assert is_uncertain(scores, threshold) is uncertain


def test_a_track_that_is_missing_and_returns_flickers_on_the_first_frame_without_it():
    assert watch(*[(1,)] * 8, (), (), (1,), (1,)) == [8]
    assert watch(*[(1,)] * 8, *[()] * 7, (1,)) == [8]


def test_a_track_that_stays_or_that_returns_after_more_than_a_second_does_not_flicker():
    assert watch(*[(1,)] * 30) == []
    assert watch(*[(1,)] * 8, *[()] * 8, *[(1,)] * 8) == []


def test_a_track_that_ends_at_once_flickers_on_the_first_frame_with_it():
    assert watch((), *[(1,)] * 4, *[()] * 9) == [1]
    assert watch((), *[(1,)] * 5, *[()] * 9) == []


def test_a_track_is_not_brief_if_no_frame_shows_when_it_ended():
    assert watch((1,), (1,), (), (), times=[0, 0.1, 0.7, 2]) == []
    assert watch((1,), (1,), (), (), times=[0, 0.1, 0.2, 2]) == [0]
    assert watch((1,), (1,), (), (), times=[0, 2, 2.1, 3.2]) == [1]


def test_objects_without_an_id_are_no_tracks():
    assert watch(*[(-1,)] * 3, (), *[(-1,)] * 3, *[()] * 15) == []


def flickers_in_plain_loops(present: list[bool]) -> set[int]:
    """Return the frames on which the only track flickers, from all frames at once."""
    frames, found = range(len(present)), set()
    lives, index = [], 0
    while index < len(present):  # each life is its first and last frame, with at most a second without the track inside
        if not present[index]:
            index += 1
            continue
        first = last = index
        for later in frames[index + 1 :]:
            if present[later]:
                if (later - last) * FRAME_S > 1:
                    break
                if later - last > 1:
                    found.add(last + 1)
                last = later
        lives.append((first, last))
        index = last + 1
    for first, last in lives:
        end_is_known = (frames[-1] - last) * FRAME_S > 1
        if end_is_known and (last - first) * FRAME_S < 0.5:
            found.add(first)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_a_single_track_flickers_as_in_plain_loops(seed):
    draw = random.Random(seed)
    present: list[bool] = []
    while len(present) < 200:
        present += [True] * draw.choice((1, 2, 4, 6, 20)) + [False] * draw.choice((1, 2, 6, 7, 8, 9, 30))
    found = watch(*[(7,) if one else () for one in present])
    assert sorted(found) == sorted(flickers_in_plain_loops(present))


def test_one_frame_of_each_kind_is_held_however_many_tracks_flicker():
    assert watch(*[(1, 2)] * 8, (1,), (), (2,), (1, 2)) == [8, 10]
    held = TrackWatch()
    for index in range(1000):
        held.see(index * FRAME_S, [*range(index, index + 5)], index)
        assert len(held._tracks) < 20


def test_the_same_frames_give_the_same_choice():
    def run() -> list[Choice[int] | None]:
        draw, frames = random.Random(3), chooser(per_hour=9000, is_new=lambda item: item % 3 > 0)
        return [
            frames.choose(index / 15, [draw.uniform(0.3, 1)], {1} if draw.random() < 0.97 else {}, index)
            for index in range(1000)
        ]

    choices = run()
    assert choices == run()
    assert {choice.reason for choice in choices if choice} == set(REASONS)
    kept = [choice.item for choice in choices if choice]
    assert len(kept) == len(set(kept)) and all(item % 3 for item in kept)


def test_a_frame_with_several_reasons_has_the_first():
    frames = chooser()
    assert frames.choose(0, [0.3], None, 0) == Choice(0, "uncertain")
    assert frames.choose(5, [0.9], None, 1) == Choice(1, "ordinary")
    flickering = chooser()
    assert flickering.choose(0, [0.3], [1], 0) == Choice(0, "uncertain")
    assert flickering.choose(0.5, [0.3], [], 1) == Choice(1, "uncertain")
    assert flickering.choose(0.9, [0.3], [1], 2) == Choice(1, "flicker")


def test_without_tracking_no_track_flickers():
    kept = [chooser().choose(index, [0.9], None, index) for index in range(50)]
    assert {choice.reason for choice in kept if choice} == {"ordinary"}


def test_tracks_are_forgotten_at_a_gap():
    frames = chooser(per_hour=1)
    for index in range(8):
        frames.choose(index * FRAME_S, [], [1], index)
    frames.choose(0.8, [], [], 8)
    frames.gap()
    assert frames._flickers(0.9, [1], 9) == []


def test_a_near_duplicate_is_left_out_and_the_next_frame_is_compared_a_second_later():
    compared = []
    frames = FrameChooser(120, 0.25, lambda item: compared.append(item) or item > 25)
    kept = [frames.choose(index / 10, [0.3], None, index) for index in range(60)]
    assert compared == [0, 10, 20, 30, 40, 50]
    assert [choice.item for choice in kept if choice] == [30, 40, 50]


@pytest.mark.parametrize("per_hour", [1, 7, 120, 5000])
def test_the_limits_hold_in_every_hour_and_in_every_six_minutes(per_hour):
    draw, frames, now_s = random.Random(per_hour), chooser(per_hour), 0.0
    kept: list[tuple[float, str]] = []
    for index in range(6000):
        now_s += draw.choice((0.1, 1.5, 6.0))
        choice = frames.choose(now_s, [0.3 if draw.random() < 0.8 else 0.9], None, index)
        if choice:
            kept.append((now_s, choice.reason))
    for start, _ in kept[::10]:
        hour = [reason for time_s, reason in kept if start <= time_s < start + 3600]
        busy = [reason for time_s, reason in kept if start <= time_s < start + 360 and reason != "ordinary"]
        assert len(hour) <= per_hour and len(busy) <= math.ceil(per_hour / 10)
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(kept)]
    assert min(pauses, default=9) >= min(1, 3600 / per_hour)
    if per_hour == 120:  # every five minutes, although the others use up their share
        ordinary = [time_s for time_s, reason in kept if reason == "ordinary"]
        assert len(kept) > 400 and max(map(float.__sub__, ordinary[1:], ordinary)) < 320
