from __future__ import annotations

import numpy as np
import onnx
import pytest

from fgd_yolo.export.cpu_session import open_cpu_session
from graphs import detector


def test_a_file_and_a_model_in_memory_give_the_same(tmp_path):
    onnx.save(detector(), tmp_path / "detector.onnx")
    feed = {"images": np.random.default_rng(0).random((1, 3, 32, 32), dtype="f4")}
    (from_file,) = open_cpu_session(tmp_path / "detector.onnx").run(None, feed)
    (from_memory,) = open_cpu_session(detector()).run(None, feed)
    assert np.array_equal(from_file, from_memory)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_requested_and_do_not_spin(threads):
    options = open_cpu_session(detector(), threads).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
