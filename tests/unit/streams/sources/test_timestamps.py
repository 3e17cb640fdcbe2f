from __future__ import annotations

from itertools import pairwise

import pytest

from fgd_yolo.streams.sources.timestamps import RisingTimestamps


def times(frames, fps=25.0, packets=()):
    """Return the times of frames; packets are two ahead of their frames, as from a decoder."""
    rising, waiting, result = RisingTimestamps(fps), list(packets), []
    for own, is_b in frames:
        for _ in range(1 if result else 3):
            rising.add_packet(waiting.pop(0) if waiting else None)
        result.append(rising.next_frame(own, is_b=is_b))
    return result


def plain(*own):
    return [(time, False) for time in own]


def test_times_that_rise_are_kept_from_zero():
    assert times(plain(1.4, 1.5, 1.9)) == pytest.approx([0, 0.1, 0.5])


def test_without_times_the_frame_rate_gives_them():
    assert times(plain(*[None] * 60), fps=25)[-1] == pytest.approx(59 / 25)


def test_a_frame_without_a_time_comes_one_period_after_the_last():
    assert times(plain(2.0, None, 2.08, None)) == pytest.approx([0, 0.04, 0.08, 0.12])


def test_first_frames_without_a_time_are_before_those_that_have_one():
    assert times(plain(None, None, 7.0, 7.04)) == pytest.approx([0, 0.04, 0.08, 0.12])


def test_with_packets_numbered_in_file_order_the_nth_frame_has_the_nth_time():
    # I P B B as stored; the decoder shows I B B P, each with the number of its place in the file.
    shown = [(0.0, False), (0.08, True), (0.12, True), (0.04, False), (0.16, False)]
    assert times(shown, packets=[0, 0.04, 0.08, 0.12, 0.16]) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_presentation_times_are_kept_with_b_frames_and_gaps():
    shown = [(0.0, False), (0.04, True), (0.5, True), (0.54, False)]
    assert times(shown, packets=[0, 0.54, 0.04, 0.5]) == pytest.approx([0, 0.04, 0.5, 0.54])


def test_a_packet_without_a_frame_shifts_no_other_frame():
    shown = [(0.0, False), (0.08, False), (0.12, False)]
    assert times(shown, packets=[0, 0.04, 0.08, 0.12]) == pytest.approx([0, 0.08, 0.12])


def test_a_clock_that_restarts_continues_after_the_last_time():
    assert times(plain(0, 1, 2, 0, 1)) == pytest.approx([0, 1, 2, 2.04, 3.04])


def test_times_that_fall_a_little_or_stay_still_rise():
    result = times(plain(0, 0.04, 0.04, 0.03, 0.12))
    assert all(one < other for one, other in pairwise(result))
    assert result[-1] == pytest.approx(0.12)


def test_a_lost_frame_among_presentation_times_shifts_no_other():
    own = [(0.0, False), (0.04, True), (0.12, False), (0.16, True), (0.2, True), (0.24, False)]
    packets = [0, 0.12, 0.04, 0.08, 0.24, 0.16, 0.2]  # the packet at 0.08 yields no frame
    assert times(own, packets=packets) == pytest.approx([time for time, _ in own])
