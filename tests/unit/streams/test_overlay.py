from __future__ import annotations

import time
from datetime import datetime

import numpy as np
import pytest

from fgd_yolo.streams import overlay as module
from fgd_yolo.streams.overlay import overlay, zone_lines
from fgd_yolo.streams.steps.zones import ZoneCounter, parse_layout
from stream_results import make_result

LAYOUT = parse_layout(
    {"zones": {"yard": [[0.5, 0.3], [0.9, 0.3], [0.9, 0.9]]}, "lines": {"gate": [[0.1, 0.9], [0.4, 0.9]]}}
)
BOX = (1, 0.9, (150, 120, 220, 200))


def grey(height: int = 300, width: int = 400) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def test_the_frame_itself_is_not_modified():
    result = make_result(image=grey(), objects=(BOX,), tracker_id=[3])
    drawn = overlay(result)
    assert (result.frame.image() == 90).all() and drawn is not result.frame.image()
    assert drawn.shape == (300, 400, 3) and drawn.dtype == np.uint8


def test_the_name_and_the_time_are_drawn(monkeypatch):
    written = []
    monkeypatch.setattr(module, "_draw_text_block", lambda canvas, lines: written.extend(lines))
    overlay(make_result("door cam", image=grey(), arrived=time.monotonic() - 3600))
    name, clock = written[0].split("  ")
    when = datetime.strptime(clock, "%Y-%m-%d %H:%M:%S.%f").timestamp()
    assert name == "door cam" and when == pytest.approx(time.time() - 3600, abs=5)


def test_the_text_block_is_dark_with_white_text_and_grows_with_the_lines():
    drawn = overlay(make_result(image=grey(), objects=()))
    rows = np.flatnonzero(changed(grey(), drawn).any(axis=1))
    assert drawn.max() > 200 and np.median(drawn[:10, :60]) == 40  # 45 % of 90, rounded
    result = make_result(image=grey(), objects=())
    ZoneCounter({None: LAYOUT})(result)
    more = np.flatnonzero((overlay(result)[:, 3] != 90).any(axis=1))
    assert more.max() > 2 * rows.max()


def test_an_id_is_drawn_at_the_lower_left_corner_and_a_missing_id_is_not():
    at_once = {"image": grey(), "objects": (BOX,), "arrived": time.monotonic()}  # the frame's time is drawn too
    with_id, without = (overlay(make_result(tracker_id=[track], **at_once)) for track in (7, -1))
    ys, xs = np.nonzero(changed(with_id, without))
    assert 150 <= xs.min() <= xs.max() < 190 and 180 <= ys.min() <= ys.max() <= 200
    untracked = overlay(make_result(image=grey(), objects=(BOX,)))
    assert (untracked[40:] == without[40:]).all()


def test_an_id_at_the_edge_stays_inside_the_frame():
    drawn = overlay(make_result(image=grey(), objects=((1, 0.9, (380, 280, 400, 300)),), tracker_id=[12345]))
    assert (drawn[285:300, 350:360] == 0).any()


def test_zones_and_lines_are_drawn_where_they_are():
    result = make_result(image=grey(), objects=())
    without_zones = overlay(result)
    ZoneCounter({None: LAYOUT})(result)
    drawn = overlay(result)
    difference = changed(without_zones, drawn)
    assert difference[90, 300] and difference[268:273, 100].any()  # the zone's upper edge, the line
    assert not difference[150:250, 20:180].any()


def test_counts_are_drawn_as_text():
    result = make_result(image=grey(), objects=((1, 0.9, (320, 60, 340, 120)),), tracker_id=[1])
    ZoneCounter({None: LAYOUT})(result)
    assert zone_lines(result.zones) == ["yard: 1 inside, 1 in, 0 out", "gate: 0 right, 0 left"]


@pytest.mark.parametrize("size", [(16, 16), (48, 64), (1080, 1920)])
def test_a_frame_of_any_size_is_drawn(size):
    result = make_result(
        "a camera with a long name", image=grey(*size), objects=((0, 0.5, (0, 0, 9, 9)),), tracker_id=[1]
    )
    ZoneCounter({None: LAYOUT})(result)
    assert overlay(result).shape == (*size, 3)
