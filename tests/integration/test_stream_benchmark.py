"""The contestants of the stream benchmark on a short clip: all frames, all three."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgd_yolo.analysis.camera_benchmark import measure_overload, paced_cpu_ms
from fgd_yolo.analysis.stream_benchmark import measure_rates, write_clip
from fgd_yolo.export import export_onnx

pytestmark = pytest.mark.slow


def test_every_contestant_is_measured(teacher_pt, tiny_data):
    model = export_onnx(teacher_pt, Path("model.onnx"), data=tiny_data).path
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (480, 640, 3), dtype=np.uint8) for _ in range(40)]
    rates = measure_rates(model, write_clip(Path("clip.mp4"), pictures), threads=2, rounds=1)
    assert min(rates.bound, rates.pipeline, rates.host) > 0
    paced = paced_cpu_ms(model, pictures[:5], seconds=1.0)
    assert min(paced.values()) > 0 and paced.keys() == {"pipeline", "host"}
    crowd = measure_overload(model, pictures[:5], cameras=3, threads=1, seconds=1.0)
    assert crowd.load >= 1 and 0 < crowd.least_share <= 1 and crowd.p95_ms >= crowd.p50_ms > 0
