"""The variants of the stream benchmark on a short clip, and an overload of cameras over RTSP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import overload as overload_benchmark
from benchmarks.overload import CAMERA_FPS, measure_overload
from benchmarks.stream_speed import measure_cpu_ms, measure_rates
from fgd_yolo.export import export_onnx
from tests.cameras.clips import write_frames
from tests.cameras.pytest_helpers import rtsp_server

pytestmark = pytest.mark.slow


@pytest.fixture
def model(teacher_pt, tiny_data) -> Path:
    return export_onnx(teacher_pt, Path("model.onnx"), data=tiny_data).path


@pytest.fixture
def images() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (480, 640, 3), dtype=np.uint8) for _ in range(40)]


def test_every_variant_is_measured(model, images):
    rates = measure_rates(model, write_frames(Path("clip.mp4"), images), threads=2, rounds=1)
    assert min(rates.bare_threads, rates.pipeline, rates.ultralytics) > 0
    cpu_ms = measure_cpu_ms(model, images[:5], seconds=1.0)
    assert min(cpu_ms.pipeline, cpu_ms.ultralytics) > 0


def test_cameras_are_added_until_they_are_too_many_and_ages_are_those_of_their_frames(model, images, monkeypatch):
    rtsp_server().stop()  # skips where GStreamer is not installed
    monkeypatch.setattr(overload_benchmark, "MAX_CAMERAS", 3)
    overload = measure_overload(model, images[:5], cameras=1, threads=1, seconds=2.0)
    assert overload.kind == "RTSP" and 1 < overload.cameras <= 3
    assert overload.load >= 0.9 and 0 < overload.min_share <= 1
    # An H.264 decoder knows that a frame is complete when the next one begins: on arrival a frame is that old.
    assert overload.arrival_ms > 1e3 / CAMERA_FPS
    assert min(overload.p50_ms) > 1e3 / CAMERA_FPS
    assert max(overload.p50_ms) <= max(overload.p95_ms)
    assert min(overload.memory_mb) > 10 and min(overload.threads) > 3


def test_without_gstreamer_the_cameras_are_mjpeg(model, images, monkeypatch):
    monkeypatch.setattr(overload_benchmark, "rtsp_works", lambda: False)
    monkeypatch.setattr(overload_benchmark, "MAX_CAMERAS", 1)
    overload = measure_overload(model, images[:5], cameras=1, threads=1, seconds=1.0)
    assert (overload.kind, overload.cameras) == ("MJPEG", 1) and min(overload.p50_ms) > 0
