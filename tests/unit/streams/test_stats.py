import json
import threading

import numpy as np
import pytest

from fgd_yolo.streams.stats import BOUNDS_S, Ages, StreamStats
from stream_parts import count_inferred, make_frame, make_result


def test_every_frame_is_inferred_dropped_or_in_flight():
    stats = StreamStats("door")
    for _ in range(10):
        stats.count_seen()
    stats.count_dropped("newer frame", 3)
    stats.count_dropped("error")
    stats.count_bad_frame()
    count_inferred(stats, make_result())
    snapshot = stats.snapshot()
    assert (snapshot["seen"], snapshot["inferred"], snapshot["in_flight"]) == (11, 1, 5)
    assert snapshot["dropped"] == {"newer frame": 3, "error": 1, "bad frame": 1}


def test_no_frames_dropped_leave_no_cause():
    stats = StreamStats("door")
    stats.count_dropped("stopped", 0)
    assert stats.snapshot()["dropped"] == {}


def test_a_snapshot_is_plain_json():
    stats = StreamStats("door")
    empty = stats.snapshot()
    assert json.loads(json.dumps(empty)) == empty
    stats.count_seen()
    count_inferred(stats, make_result(start_s=np.float64(0.1), end_s=np.float64(0.2)))
    stats.count_sink_done(make_frame().arrived)
    full = stats.snapshot()
    assert json.loads(json.dumps(full)) == full


def test_ages_are_counted_from_arrival_at_every_stage():
    stats = StreamStats("door")
    frame = make_frame(age_s=1)
    frame.decoded = frame.arrived + 0.003
    count_inferred(stats, make_result(frame, start_s=0.02, end_s=0.05))
    stats.count_sink_done(frame.arrived)
    ages = stats.snapshot()["ages"]
    assert ages["decoded"]["p50_ms"] == 3.0
    assert ages["infer_start"]["p50_ms"] == 20.0
    assert ages["infer_end"]["max_ms"] == 50.0
    assert ages["sink_done"]["p50_ms"] >= 1000


def test_percentiles_are_of_the_last_4096_and_maximum_and_histogram_of_all():
    ages = Ages()
    ages.add(20.0)
    for milliseconds in range(1, 4097):
        ages.add(milliseconds / 1000)
    snapshot = ages.snapshot()
    assert snapshot["p50_ms"] == pytest.approx(2048.5, abs=0.1)
    assert snapshot["p95_ms"] == pytest.approx(3891.25, abs=0.1)
    assert snapshot["p99_ms"] == pytest.approx(4055.05, abs=0.1)
    assert snapshot["max_ms"] == 20000.0
    assert snapshot["count"] == 4097 == sum(snapshot["histogram"]["counts"])
    assert snapshot["sum_s"] == pytest.approx(20 + 4096 * 4097 / 2000)


def test_a_bin_of_the_histogram_holds_its_upper_bound():
    ages = Ages()
    for age_s in (BOUNDS_S[0], BOUNDS_S[0] + 1e-9, BOUNDS_S[-1], BOUNDS_S[-1] + 1):
        ages.add(age_s)
    counts = ages.snapshot()["histogram"]["counts"]
    assert counts == [1, 1, *[0] * (len(BOUNDS_S) - 3), 1, 1]


def frames_at(stats, times_s):
    for time_s in times_s:
        frame = make_frame()
        frame.arrived = frame.decoded = time_s
        count_inferred(stats, make_result(frame))


def test_fps_is_of_the_last_five_seconds():
    stats = StreamStats("door")
    frames_at(stats, np.arange(100, 110, 0.1))  # 10 per second, then nothing
    assert stats.snapshot(now=110)["fps"] == pytest.approx(10, rel=0.03)
    assert stats.snapshot(now=112.5)["fps"] == pytest.approx(5, abs=0.3)
    assert stats.snapshot(now=116)["fps"] == 0


def test_fps_of_a_young_stream_is_since_its_first_frame():
    stats = StreamStats("door")
    frames_at(stats, np.arange(100, 101, 0.1))
    assert stats.snapshot(now=101)["fps"] == pytest.approx(10, rel=0.03)


def test_fps_is_right_although_more_frames_come_than_are_stored():
    stats = StreamStats("door")
    frames_at(stats, np.arange(100, 106, 0.001))
    assert stats.snapshot(now=106)["fps"] == pytest.approx(1000, rel=0.01)


def test_mean_fps_is_between_the_first_and_the_last_result():
    stats = StreamStats("door")
    assert stats.snapshot()["mean_fps"] is None
    frames_at(stats, np.arange(100, 110.05, 0.1))
    assert stats.snapshot(now=500)["mean_fps"] == pytest.approx(10)


@pytest.mark.parametrize("times_s", [[100], [100, 100], [100] * 8, [100, 100.0000001], [100, 100.001, 100.002]])
def test_a_rate_over_no_time_is_unknown(times_s):
    stats = StreamStats("door")
    frames_at(stats, times_s)
    assert stats.snapshot(now=100.002)["mean_fps"] is None
    assert stats.snapshot(now=100.002)["fps"] in (None, 0.2)


def test_state_changes_are_reported_and_an_unknown_state_is_an_error():
    changes = []
    stats = StreamStats("door", on_state=lambda: changes.append((stats.state, stats.reason, stats.snapshot()["state"])))
    assert (stats.state, stats.reason) == ("CONNECTING", "")
    stats.set_state("DOWN", "no route to it")
    stats.set_state("UP")
    assert changes == [("DOWN", "no route to it", "DOWN"), ("UP", "", "UP")]
    with pytest.raises(ValueError, match=r"state must be one of .*, got 'GONE'"):
        stats.set_state("GONE")


def test_reconnects_and_deliveries_are_counted():
    stats = StreamStats("door")
    stats.count_reconnect()
    stats.count_delivered()
    stats.count_delivered()
    snapshot = stats.snapshot()
    assert (snapshot["reconnects"], snapshot["delivered"]) == (1, 2)


def test_many_threads_may_count_while_snapshots_are_taken():
    stats = StreamStats("door")

    def count(dropped):
        for _ in range(2000):
            stats.count_seen()
            if dropped:
                stats.count_dropped("error")
            else:
                count_inferred(stats, make_result())

    threads = [threading.Thread(target=count, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        snapshot = stats.snapshot()
        assert snapshot["seen"] == snapshot["inferred"] + sum(snapshot["dropped"].values()) + snapshot["in_flight"]
        assert 0 <= snapshot["in_flight"] <= 4
        assert snapshot["inferred"] == snapshot["ages"]["infer_end"]["count"]
    snapshot = stats.snapshot()
    assert (snapshot["seen"], snapshot["inferred"], snapshot["dropped"]) == (8000, 4000, {"error": 4000})


def test_a_copy_of_ages_no_longer_changes():
    ages = Ages()
    ages.add(0.02)
    copied = ages.copy()
    before = copied.snapshot()
    for _ in range(5000):
        ages.add(3.0)
    assert copied.snapshot() == before
    assert before["p50_ms"] == 20.0 and before["count"] == 1
