"""The contestants of the stream benchmark on a short clip: all frames, all three."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgd_yolo.analysis.stream_benchmark import measure_rates, paced_cpu_ms, write_clip
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
