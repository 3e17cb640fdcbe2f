from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.crowd import AgeSink
from fgd_yolo.streams.frame import Frame, Result
from tests.cameras.stamp import drawn


def test_the_age_of_a_result_is_counted_from_the_making_of_its_picture_and_not_from_its_arrival():
    now = time.monotonic()
    raw = drawn(320, 240, int((now - 2.5) * 1e9))
    image = np.frombuffer(raw, np.uint8).reshape(240, 320, 3)
    sink = AgeSink()
    sink.write(Result(Frame("gate", 0, image, now, now), None, now, now))
    (one,) = sink.seen
    assert one.stream == "gate" and one.now >= now
    assert one.arrival_s == pytest.approx(2.5, abs=1e-6)
    assert one.age_s == pytest.approx(2.5 + one.now - now, abs=1e-6)
