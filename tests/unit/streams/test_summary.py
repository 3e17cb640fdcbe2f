from fgd_yolo.streams.stats import StreamStats
from fgd_yolo.streams.summary import closing_table
from stream_parts import count_inferred, make_frame, make_result


def stats_of(*streams, removed=(), sinks=()):
    return {
        "streams": {stream.name: stream.snapshot() for stream in streams},
        "removed": [{"name": stream.name, **stream.snapshot()} for stream in removed],
        "sinks": list(sinks),
    }


def busy(name, frames=3):
    stats = StreamStats(name)
    for index in range(frames):
        stats.count_seen()
        frame = make_frame(index, name)
        frame.arrived, frame.decoded = 100 + index / 2, 100.002 + index / 2
        count_inferred(stats, make_result(frame, start_s=0.03, end_s=0.04))
    return stats


def test_a_stream_has_a_row_of_counts_and_one_of_ages():
    stats = busy("door")
    stats.count_seen()
    stats.count_seen()
    stats.count_dropped("newer frame")
    stats.count_reconnect()
    lines = closing_table(stats_of(stats)).splitlines()
    assert lines[0] == "stream       state  seen  inferred  delivered  dropped  in flight  reconnects  fps"
    assert lines[1] == "door    CONNECTING     5         3          0        1          1           1  2.0"
    assert lines[2] == "  door dropped: 1 newer frame"
    ages = lines[4].split()
    assert ages == ["door", "2.0/2.0/2.0", "30.0/30.0/30.0", "40.0/40.0/40.0", "-"]


def test_causes_come_with_the_most_frequent_first():
    stats = StreamStats("door")
    for cause, frames in (("error", 2), ("newer frame", 30), ("too old", 7)):
        stats.count_dropped(cause, frames)
    assert "door dropped: 30 newer frame, 7 too old, 2 error" in closing_table(stats_of(stats))


def test_removed_streams_and_sinks_are_in_the_table():
    sink = {"name": "lines", "written": 4, "skipped": 2, "dropped": {"queue full": 3, "error": 1}, "failure": None}
    text = closing_table(stats_of(busy("door"), removed=[busy("yard")], sinks=[sink]))
    assert "yard (removed)" in text
    assert "lines        4        2        4" in text
    assert "  lines dropped: 3 queue full, 1 error" in text


def test_the_reason_why_a_camera_is_down_is_below_the_table_shortened_and_without_secrets():
    down, fine = busy("door"), busy("yard")
    down.set_state("DOWN", f"rtsp://admin:geheim@10.0.0.7/cam says {'that it is busy ' * 20}")
    fine.set_state("UP")
    lines = closing_table(stats_of(down, fine)).splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["DOWN", "UP"]
    assert lines[3].startswith("  door DOWN: rtsp://10.0.0.7 says that it is busy") and len(lines[3]) < 120
    assert lines[4].startswith("age in ms")


def test_a_sink_that_failed_to_the_end_is_listed_with_the_reason():
    sink = {"name": "MQTT x:1", "written": 0, "skipped": 0, "dropped": {"error": 9}, "failure": "no broker at x:1"}
    assert "  MQTT x:1 failed: no broker at x:1\n" in closing_table(stats_of(busy("door"), sinks=[sink]))


def test_what_a_sink_kept_is_counted_by_reason_and_why_it_stopped_is_said_once():
    sink = {
        "name": "collect frames",
        "written": 9,
        "skipped": 1,
        "dropped": {},
        "failure": None,
        "stopped": "it is full",
    }
    kept = {"door": {"uncertain": 2, "ordinary": 3}, "yard": {"uncertain": 4}}
    text = closing_table(stats_of(busy("door"), sinks=[{**sink, "kept": kept}]))
    assert text.endswith("  collect frames kept: 6 uncertain, 3 ordinary\n  collect frames stopped: it is full")
    failed = closing_table(stats_of(busy("door"), sinks=[{**sink, "kept": {}, "failure": "it is full"}]))
    assert failed.endswith("  collect frames failed: it is full")


def test_columns_are_aligned_whatever_the_names():
    text = closing_table(stats_of(busy("a"), busy("a-very-long-name-of-a-camera", 12345)))
    lines = [line for line in text.splitlines() if not line.startswith(" ")]
    assert len({len(line) for line in lines[:3]}) == 1
    assert len({len(line) for line in lines[3:]}) == 1


def test_a_run_without_streams_has_a_table_too():
    assert closing_table(stats_of()).startswith("stream")


def test_a_rate_that_cannot_be_measured_is_a_dash():
    stats = StreamStats("images")
    for index in range(3):  # a batch: all of them end at one instant
        stats.count_seen()
        frame = make_frame(index, "images")
        frame.arrived = frame.decoded = 100
        count_inferred(stats, make_result(frame, start_s=0.03, end_s=0.04))
    for text in (closing_table(stats_of(stats)), closing_table(stats_of(StreamStats("idle")))):
        assert text.splitlines()[1].split()[-1] == "-"


def test_a_reason_and_a_name_of_any_text_stay_on_their_lines():
    stats = StreamStats("do\x1b[2Jor\n")
    stats.set_state("DOWN", "refused\x1b[2J\nby " + "x" * 5000)
    assert all(line.isprintable() and len(line) < 300 for line in closing_table(stats_of(stats)).splitlines())
