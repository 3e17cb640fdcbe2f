from __future__ import annotations

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fgd_yolo.streams.web import create_app
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.status import StatusReport
from fgd_yolo.streams.web.stream_control import StreamControl, StreamSettings
from web_pipeline import FakePipeline, WebClient


@pytest.fixture
def served():
    """A pipeline of two streams, its observer and a client; each stream has delivered one result."""
    pipeline, frames = FakePipeline("door", "yard"), LatestFrames()
    for name in ("door", "yard"):
        pipeline.deliver(frames, name, 0)
    return pipeline, frames, WebClient(create_app(pipeline, frames, deadline_s=5))


def ready(client):
    response = client.get("/readyz")
    assert (response.status_code == 200) is response.json()["ready"] is (not response.json()["reasons"])
    return response.status_code, response.json()["reasons"]


def test_it_is_ready_when_every_stream_delivered_a_frame(served):
    assert ready(served[2]) == (200, [])


def test_it_is_not_ready_while_a_stream_is_down_and_reports_why(served):
    pipeline, _, client = served
    pipeline.streams["yard"].set_state("DOWN", "refused by rtsp://admin:hunter2secret@10.0.0.7/cam")
    assert ready(client) == (503, ["yard: DOWN, refused by rtsp://10.0.0.7"])


def test_it_is_not_ready_before_the_first_frame_nor_without_a_stream():
    pipeline = FakePipeline("door")
    pipeline.streams["door"].set_state("UP")
    assert ready(WebClient(create_app(pipeline, LatestFrames()))) == (503, ["door: no frame yet"])
    assert ready(WebClient(create_app(FakePipeline(), LatestFrames()))) == (503, ["there is no stream"])
    assert ready(WebClient(create_app(FakePipeline("a"), LatestFrames()))) == (503, ["a: CONNECTING"])


def test_it_is_not_ready_when_frames_stop_coming_through_although_the_camera_is_up(served, monkeypatch):
    _, frames, client = served
    times = frames.result_times()
    for silent_s, reasons in ((4, []), (9, ["yard: no frame for 9 s"])):
        monkeypatch.setattr(
            frames, "result_times", lambda silent_s=silent_s: {**times, "yard": time.monotonic() - silent_s}
        )
        assert ready(client) == (503 if reasons else 200, reasons)


def test_a_file_that_has_ended_is_no_problem(served):
    pipeline, frames, client = served
    pipeline.streams["yard"].set_state("ENDED")
    frames.retain(["door"])
    assert ready(client) == (200, [])


def test_it_is_ready_when_its_only_stream_was_stopped_on_the_page():
    pipeline = FakePipeline("door")
    client = WebClient(create_app(pipeline, LatestFrames(), settings={"door": StreamSettings(0)}))
    assert ready(client) == (503, ["door: CONNECTING"])
    client.post("/streams/stop", json={"name": "door"})
    assert ready(client) == (200, [])
    client.request("DELETE", "/streams", json={"name": "door"})
    assert ready(client) == (503, ["there is no stream"])


def test_it_is_not_ready_when_the_detector_has_failed(served):
    pipeline, _, client = served
    pipeline.failure = "the detector failed on 100 frames in a row"
    assert ready(client) == (503, ["the detector failed on 100 frames in a row"])


def test_the_statistics_are_those_of_the_pipeline(served):
    pipeline, _, client = served
    pipeline.streams["door"].count_seen()
    pipeline.streams["door"].count_dropped("newer frame")
    door = client.get("/stats").json()["streams"]["door"]
    assert (door["seen"], door["inferred"], door["dropped"]) == (2, 1, {"newer frame": 1})
    assert door["ages"]["infer_end"]["p95_ms"] == pytest.approx(20, abs=0.1)


def test_statistics_are_collected_at_a_bounded_rate(served):
    pipeline, _, client = served
    asked, stats = [], pipeline.stats
    pipeline.stats = lambda: asked.append(1) or stats()
    for _ in range(5):
        client.get("/stats")
    assert len(asked) <= 2


def test_a_stream_that_was_removed_elsewhere_is_forgotten(served):
    pipeline, frames, client = served
    pipeline.remove("yard")
    client.get("/stats")
    assert set(frames.result_times()) == {"door"}


def test_the_metrics_are_counters_by_stream_and_cause_and_histograms_of_ages(served):
    pipeline, frames, client = served
    door = pipeline.streams["door"]
    for cause, times in (("newer frame", 3), ("too old", 1)):
        for _ in range(times):
            door.count_seen()
            door.count_dropped(cause)
    door.count_reconnect()
    pipeline.streams["yard"].set_state("DOWN", "gone")
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert values["fgd_frames_seen_total", "door"] == 5
    assert values["fgd_frames_inferred_total", "door"] == 1
    assert values["fgd_results_delivered_total", "yard"] == 1
    assert values["fgd_reconnects_total", "door"] == 1
    assert values["fgd_frames_dropped_total", "door", "newer frame"] == 3
    assert values["fgd_frames_dropped_total", "door", "too old"] == 1
    assert values["fgd_stream_up", "door"] == 1
    assert values["fgd_stream_up", "yard"] == 0
    assert values["fgd_web_frames_encoded_total",] == frames.encoded == 0
    # The age at the end of inference was 20 ms, that of the decoded frame 5 ms.
    assert values["fgd_frame_age_seconds_bucket", "0.01", "decoded", "door"] == 1
    assert values["fgd_frame_age_seconds_bucket", "0.01", "door", "infer_end"] == 0
    assert values["fgd_frame_age_seconds_bucket", "0.03", "door", "infer_end"] == 1
    assert values["fgd_frame_age_seconds_bucket", "+Inf", "door", "infer_end"] == 1
    assert values["fgd_frame_age_seconds_count", "door", "infer_end"] == 1
    assert values["fgd_frame_age_seconds_sum", "door", "infer_end"] == pytest.approx(0.02, abs=1e-4)


def test_kept_frames_are_counted_by_stream_and_reason_for_the_page_and_as_metrics(served):
    pipeline, frames, client = served
    pipeline.sinks = [
        {"name": "JSON lines -"},
        {"name": "collect a", "kept": {"door": {"uncertain": 3}}, "stopped": "x"},
    ]
    text = client.get("/metrics").text
    assert 'fgd_frames_kept_total{reason="uncertain",stream="door"} 3.0' in text
    status = StatusReport(pipeline, frames, StreamControl(pipeline, {}), deadline_s=5)
    assert status.for_page()["sinks"] == client.get("/stats").json()["sinks"] == pipeline.sinks


def test_two_applications_in_one_process_have_separate_metrics(served):
    other = WebClient(create_app(FakePipeline("cellar"), LatestFrames()))
    assert 'stream="cellar"' in other.get("/metrics").text
    assert "cellar" not in served[2].get("/metrics").text


def test_a_name_that_looks_like_markup_stays_text(served):
    pipeline, frames, client = served
    pipeline.add("test://", '<b>"x"\\')
    pipeline.deliver(frames, '<b>"x"\\', 0)
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert '<b>"x"\\' in {sample.labels.get("stream") for family in families for sample in family.samples}


def test_numbers_that_are_not_finite_are_null_in_every_response(served, monkeypatch):
    pipeline, _, client = served
    stats = pipeline.stats

    def overflowing():
        finite = stats()
        finite["streams"]["door"]["fps"], finite["streams"]["yard"]["fps"] = float("nan"), float("inf")
        return finite

    monkeypatch.setattr(pipeline, "stats", overflowing)
    response = client.get("/stats")
    assert response.status_code == 200 and "NaN" not in response.text and "Infinity" not in response.text
    assert [one["fps"] for one in response.json()["streams"].values()] == [None, None]
    assert client.get("/metrics").status_code == 200
