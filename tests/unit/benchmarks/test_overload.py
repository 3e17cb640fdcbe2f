from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.overload import AgeSink
from fgd_yolo.streams.frame import Frame, Result
from tests.cameras.stamp import draw_frame


def test_the_age_of_a_result_is_counted_from_the_capture_of_its_frame_and_not_from_its_arrival():
    now = time.monotonic()
    raw = draw_frame(320, 240, int((now - 2.5) * 1e9))
    image = np.frombuffer(raw, np.uint8).reshape(240, 320, 3)
    sink = AgeSink()
    sink.write(Result(Frame("gate", 0, image, now, now), None, now, now))
    (age,) = sink.ages
    assert age.stream == "gate" and age.written >= now
    assert age.arrival_s == pytest.approx(2.5, abs=1e-6)
    assert age.age_s == pytest.approx(2.5 + age.written - now, abs=1e-6)
