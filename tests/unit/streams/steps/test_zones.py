from __future__ import annotations

import json

import numpy as np
import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.steps.zones import (
    StreamCounter,
    ZoneCounter,
    bottom_centers,
    crossing,
    inside,
    parse_layout,
    to_pixels,
)
from stream_results import make_result

SHAPE = (100, 200)  # height, width
YARD = parse_layout({"zones": {"yard": [[0.25, 0], [0.75, 0], [0.75, 1], [0.25, 1]]}})  # x from 50 to 150
GATE = parse_layout({"lines": {"gate": [[100, 100], [100, 0]]}})  # upwards: its right is the image's right


def count(counter: StreamCounter, places: dict[int, tuple[float, float]], now_s: float = 0.0) -> dict:
    points = np.array(list(places.values()), float).reshape(-1, 2)
    return counter.update(points, np.array(list(places), int), SHAPE, now_s)


def test_a_point_in_a_polygon_or_on_its_edge_is_inside():
    arrow = np.array([[0, 0], [10, 0], [10, 10], [5, 2], [0, 10]])  # dented from below
    points = np.array([[5, 1], [1, 5], [9, 5], [5, 5], [0, 3], [11, 5], [-1, 0]])
    assert inside(points, arrow).tolist() == [True, True, True, False, True, False, False]
    assert inside(np.empty((0, 2)), arrow).shape == (0,)


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        ((90, 50), (110, 50), 1),
        ((110, 50), (90, 50), -1),
        ((90, 50), (95, 50), 0),
        ((90, 150), (110, 150), 0),  # past the line's end
        ((90, -30), (110, -30), 0),
        ((90, 50), (100, 50), 1),  # onto the line
        ((100, 50), (110, 50), 0),  # and on: not again
        ((100, 50), (90, 50), -1),
    ],
)
def test_a_crossing_is_seen_from_the_lines_first_point(before, after, direction):
    line = GATE.lines["gate"]
    assert crossing(np.array(before, float), np.array(after, float), line) == direction


def test_a_reversed_line_counts_the_other_direction():
    line = GATE.lines["gate"][::-1]
    assert crossing(np.array([90.0, 50]), np.array([110.0, 50]), line) == -1


def test_an_object_is_located_at_the_middle_of_the_lower_edge_of_its_box():
    assert bottom_centers(np.array([[10, 20, 30, 60.0]])).tolist() == [[20, 60]]
    assert bottom_centers(np.empty((0, 4))).shape == (0, 2)


def test_points_up_to_one_are_fractions_and_others_are_pixels():
    assert to_pixels(np.array([[0.5, 1], [0, 0.25]]), SHAPE).tolist() == [[100, 100], [0, 25]]
    assert to_pixels(np.array([[0.5, 1], [0, 2.0]]), SHAPE).tolist() == [[0.5, 1], [0, 2]]


def test_entering_and_leaving_are_events_and_totals():
    counter = StreamCounter(YARD)
    assert count(counter, {1: (10, 50), 2: (60, 50)})["events"] == [
        {"event": "entered", "zone": "yard", "tracker_id": 2}
    ]
    assert count(counter, {1: (60, 50), 2: (70, 50)})["events"] == [
        {"event": "entered", "zone": "yard", "tracker_id": 1}
    ]
    report = count(counter, {1: (70, 50), 2: (160, 50)})
    assert report["events"] == [{"event": "left", "zone": "yard", "tracker_id": 2}]
    yard = report["zones"]["yard"]
    assert (yard["inside"], yard["entered"], yard["left"]) == (1, 2, 1)
    assert yard["points"] == [[50, 0], [150, 0], [150, 100], [50, 100]]
    assert count(counter, {1: (80, 50), 2: (170, 50)})["events"] == []


def test_an_object_without_an_id_is_counted_inside_and_nowhere_else():
    counter = StreamCounter(YARD)
    points = np.array([[10.0, 50], [70, 50], [60, 50]])
    report = counter.update(points, np.array([-1, 3, -1]), SHAPE, 0.0)
    assert report["zones"]["yard"]["inside"] == 2 and report["zones"]["yard"]["entered"] == 1
    untracked = StreamCounter(YARD).update(points, None, SHAPE, 0.0)
    assert untracked["zones"]["yard"]["inside"] == 2 and untracked["events"] == []


def test_a_track_that_is_not_detected_for_a_second_is_lost():
    counter = StreamCounter(YARD)
    count(counter, {1: (60, 50), 2: (10, 10)}, 0.0)
    assert count(counter, {}, 1.0)["events"] == []
    report = count(counter, {}, 1.1)
    assert report["events"] == [{"event": "lost", "zone": "yard", "tracker_id": 1}]
    assert report["zones"]["yard"]["left"] == 1
    assert count(counter, {}, 9.0)["events"] == []
    assert count(counter, {1: (60, 50)}, 9.1)["events"] == [{"event": "entered", "zone": "yard", "tracker_id": 1}]


def test_a_track_that_comes_back_in_time_is_not_lost():
    counter = StreamCounter(YARD)
    count(counter, {1: (60, 50)}, 0.0)
    count(counter, {}, 0.9)
    assert count(counter, {1: (65, 50)}, 1.5)["events"] == []
    assert count(counter, {}, 2.4)["events"] == []


def test_a_line_counts_both_directions_once_each():
    counter = StreamCounter(GATE)
    for x in (80, 90, 100, 110, 120):
        report = count(counter, {7: (x, 50)})
    assert (report["lines"]["gate"]["to_right"], report["lines"]["gate"]["to_left"]) == (1, 0)
    report = count(counter, {7: (70, 50), 8: (200, 50)})
    assert report["events"] == [{"event": "to_left", "line": "gate", "tracker_id": 7}]
    assert (report["lines"]["gate"]["to_right"], report["lines"]["gate"]["to_left"]) == (1, 1)


def test_a_track_that_appears_behind_a_line_did_not_cross_it():
    counter = StreamCounter(GATE)
    count(counter, {7: (80, 50)})
    report = count(counter, {8: (120, 50)})
    assert report["lines"]["gate"]["to_right"] == 0


def test_after_a_gap_all_tracks_are_new_and_the_totals_remain():
    everything = [[0, 0], [1, 0], [1, 1], [0, 1]]
    zones = ZoneCounter({None: parse_layout({"zones": {"yard": everything}, "lines": {"gate": [[0.5, 0], [0.5, 1]]}})})
    first = make_result(objects=((1, 0.9, (4, 4, 12, 8)),), tracker_id=[1])
    zones(first)
    assert first.zones["events"] == [{"event": "entered", "zone": "yard", "tracker_id": 1}]
    zones.gap("door", "refused")
    zones.gap("never seen", "refused")
    second = make_result(objects=((1, 0.9, (54, 4, 62, 8)),), tracker_id=[1])
    zones(second)
    assert second.zones["lines"]["gate"] | {"points": 0} == {"points": 0, "to_right": 0, "to_left": 0}
    assert second.zones["zones"]["yard"]["entered"] == 2 and second.zones["zones"]["yard"]["left"] == 0


@pytest.mark.parametrize("speed", [1 / 8, 1, 11])
def test_the_counts_of_a_file_do_not_depend_on_how_fast_it_is_read(speed):
    zones = ZoneCounter({None: YARD})
    seen_s = [0, 0.25, 0.5, 1.0]  # hidden for a moment, then gone for the rest of five seconds
    for index in range(21):
        objects, ids = (((1, 0.9, (20, 4, 40, 30)),), [1]) if index / 4 in seen_s else ((), [])
        result = make_result(
            index=index, objects=objects, tracker_id=ids, pts=index / 4, arrived=100 + index / 4 / speed
        )
        zones(result)
    yard = result.zones["zones"]["yard"]
    assert (yard["entered"], yard["left"]) == (1, 1)


@pytest.mark.parametrize("times", [{"pts": 0.1, "arrived": 50.1}, {"arrived": 50.1}])
def test_a_restarted_source_forgets_all_tracks(times):
    zones = ZoneCounter({None: parse_layout({"zones": {"yard": [[0, 0], [1, 0], [1, 1], [0, 1]]}})})
    for frame_times in ({"pts": 9.0, "arrived": 50.0}, times):
        result = make_result(objects=((1, 0.9, (4, 4, 12, 8)),), tracker_id=[1], **frame_times)
        zones(result)
    yard = result.zones["zones"]["yard"]
    assert (yard["entered"], yard["left"]) == (2, 0)


def test_each_stream_counts_for_itself_and_one_without_a_layout_not_at_all():
    zones = ZoneCounter({"door": YARD})
    for stream, expected in (("door", 1), ("yard", None), ("door", 1)):
        result = make_result(stream, objects=((1, 0.9, (20, 4, 40, 30)),), tracker_id=[1])
        zones(result)
        assert (result.zones and result.zones["zones"]["yard"]["entered"]) == expected
    fallback = make_result("elsewhere")
    ZoneCounter({"door": YARD, None: GATE})(fallback)
    assert list(fallback.zones["lines"]) == ["gate"]


def test_counts_are_plain_json():
    report = count(StreamCounter(YARD), {1: (60, 50)})
    assert json.loads(json.dumps(report)) == report


def test_lost_tracks_are_forgotten():
    counter = StreamCounter(parse_layout({"zones": {"all": [[0, 0], [1, 0], [1, 1], [0, 1]]}}))
    for number in range(200):
        count(counter, {number: (60, 50)}, float(number))
    assert len(counter._positions) <= 2 and len(counter._members["all"]) <= 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "the layout must be"),
        ({"zone": {}}, "the layout must be"),
        ({"zones": [[0, 0]]}, "zones must have names"),
        ({"zones": {"a": [[0, 0], [1, 1]]}}, "zone 'a' needs 3 to 100 points"),
        ({"lines": {"b": [[0, 0], [1, 1], [1, 0]]}}, "line 'b' needs 2 points"),
        ({"lines": {"b": [[0, 0], [0, 0]]}}, "line 'b' has no length"),
        ({"zones": {"a": [[0, 0], [1, 1], [1]]}}, "zone 'a' needs"),
        ({"zones": {"a": [[0, 0], [1, 1], ["x", 1]]}}, "zone 'a' needs"),
        ({"zones": {"a": [[0, 0], [1, 1], [-0.1, 1]]}}, "zone 'a' needs"),
        ({"zones": {"a": [[0, 0], [1, 1], [float("nan"), 1]]}}, "zone 'a' needs"),
        ({"zones": {"a": [[0, 0], [1, 1], [True, 1]]}}, "zone 'a' needs"),
        ({"zones": {"a": "yard"}}, "zone 'a' needs"),
        ({"zones": {"a": None}}, "zone 'a' needs"),
    ],
)
def test_an_invalid_layout_is_an_error_of_one_line(config, message):
    with pytest.raises(UsageError, match=message):
        parse_layout(config)


def test_a_layout_may_be_empty():
    layout = parse_layout({"zones": None})
    assert layout.zones == {} and layout.lines == {}


@pytest.mark.parametrize("kind", ["zones", "lines"])
@pytest.mark.parametrize("name", ["ya\x1b[2Jrd", "a\nb", "", "\u202e"])
def test_a_zone_or_line_whose_name_could_control_a_terminal_is_refused(kind, name):
    with pytest.raises(UsageError, match="cannot be printed"):
        parse_layout({kind: {name: [[0, 0], [1, 0], [1, 1]]}})
