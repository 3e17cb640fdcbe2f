"""The contestants of the stream benchmark on a short clip, and a crowd of cameras over RTSP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import crowd as crowd_benchmark
from benchmarks.camera_cost import paced_cpu_ms
from benchmarks.crowd import CROWD_FPS, measure_overload
from benchmarks.stream_rates import measure_rates, write_clip
from fgd_yolo.export import export_onnx
from servers.running import rtsp_server

pytestmark = pytest.mark.slow


@pytest.fixture
def model(teacher_pt, tiny_data) -> Path:
    return export_onnx(teacher_pt, Path("model.onnx"), data=tiny_data).path


@pytest.fixture
def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (480, 640, 3), dtype=np.uint8) for _ in range(40)]


def test_every_contestant_is_measured(model, pictures):
    rates = measure_rates(model, write_clip(Path("clip.mp4"), pictures), threads=2, rounds=1)
    assert min(rates.bound, rates.pipeline, rates.host) > 0
    paced = paced_cpu_ms(model, pictures[:5], seconds=1.0)
    assert min(paced.values()) > 0 and paced.keys() == {"pipeline", "host"}


def test_a_crowd_grows_until_it_is_too_many_and_its_ages_are_those_of_its_pictures(model, pictures, monkeypatch):
    rtsp_server().stop()  # skips where GStreamer is not installed
    monkeypatch.setattr(crowd_benchmark, "MOST_CAMERAS", 3)
    crowd = measure_overload(model, pictures[:5], cameras=1, threads=1, seconds=2.0)
    assert crowd.kind == "RTSP" and 1 < crowd.cameras <= 3
    assert crowd.load >= 0.9 and 0 < crowd.least_share <= 1
    # The decoder of H.264 knows that a picture is whole when the next one begins: from its arrival on it is younger.
    assert crowd.arrival_ms > 1e3 / CROWD_FPS
    assert min(crowd.p50_ms) > 1e3 / CROWD_FPS
    assert max(crowd.p50_ms) <= max(crowd.p95_ms)
    assert min(crowd.memory_mb) > 10 and min(crowd.threads) > 3


def test_without_gstreamer_the_crowd_is_mjpeg_and_says_so(model, pictures, monkeypatch):
    monkeypatch.setattr(crowd_benchmark, "rtsp_works", lambda: False)
    monkeypatch.setattr(crowd_benchmark, "MOST_CAMERAS", 1)
    crowd = measure_overload(model, pictures[:5], cameras=1, threads=1, seconds=1.0)
    assert (crowd.kind, crowd.cameras) == ("MJPEG", 1) and min(crowd.p50_ms) > 0
