from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime.onnx_session import TensorSpec
from fgd_yolo.runtime.session import open_session
from fgd_yolo.runtime.threads import available_cores
from onnx_files import NAMES, save_detector, save_doubling, session_error

ONES = np.ones((1, 3, 8, 8), np.float32)
GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture(scope="module")
def doubling(tmp_path_factory) -> Path:
    return save_doubling(tmp_path_factory.mktemp("session") / "doubling.onnx")


def test_a_file_runs_and_describes_its_tensors(doubling):
    session = open_session(doubling, "cpu")
    np.testing.assert_array_equal(session.run(ONES)[0], 2 * ONES)
    assert session.inputs == [TensorSpec("images", (1, 3, 8, 8), np.dtype("float32"))]
    assert session.outputs == [TensorSpec("output0", (1, 3, 8, 8), np.dtype("float32"))]


def test_metadata_is_that_of_the_file(tmp_path):
    session = open_session(save_detector(tmp_path / "d.onnx"), "cpu")
    assert session.metadata["names"] == str(NAMES)
    assert session.metadata["task"] == "detect"


def test_the_device_is_printed_on_one_line_of_stderr(doubling, capfd):
    session = open_session(doubling, "cpu", threads=1)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"doubling.onnx runs on {session.device}\n"
    assert session.device == f"cpu (onnxruntime {onnxruntime.__version__}, 1 thread)"


def intra_op_threads(session) -> int:
    return session._session.get_session_options().intra_op_num_threads


def test_latency_uses_all_threads_in_one_call(doubling):
    session = open_session(doubling, "cpu", threads=3)
    assert (session.workers, intra_op_threads(session)) == (1, 3)


def test_throughput_uses_one_thread_in_each_of_several_calls(doubling):
    session = open_session(doubling, "cpu", threads=3, mode="throughput")
    assert (session.workers, intra_op_threads(session)) == (3, 1)


def test_the_default_number_of_threads_is_the_available_cores(doubling):
    assert intra_op_threads(open_session(doubling, "cpu")) == available_cores()


def test_waiting_threads_do_not_spin_and_nodes_run_one_after_another(doubling):
    options = open_session(doubling, "cpu")._session.get_session_options()
    assert options.inter_op_num_threads == 1
    for pool in ("intra_op", "inter_op"):
        assert options.get_session_config_entry(f"session.{pool}.allow_spinning") == "0"


def test_several_threads_may_run_at_once(doubling):
    session = open_session(doubling, "cpu", threads=4, mode="throughput")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda factor: session.run(factor * ONES)[0], range(40)))
    for factor, result in enumerate(results):
        np.testing.assert_array_equal(result, 2 * factor * ONES)


@pytest.mark.skipif(GPU, reason="this onnxruntime has CUDA")
def test_auto_uses_the_cpu_if_there_is_no_gpu(doubling):
    assert open_session(doubling).device.startswith("cpu ")


@pytest.mark.skipif(GPU, reason="this onnxruntime has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_an_unavailable_device_is_an_error_that_says_what_to_install(doubling, device, capfd):
    with pytest.raises(FGDError, match=r"is not available: this onnxruntime .* install onnxruntime-gpu") as caught:
        open_session(doubling, device)
    assert caught.value.exit_code == 1
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def cuda_without_libraries(monkeypatch):
    """Make a CPU build claim CUDA: onnxruntime then opens on the CPU and only warns."""
    built = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)


@pytest.mark.skipif(GPU, reason="this onnxruntime has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_silently_became_the_cpu_is_an_error(doubling, cuda_without_libraries, device, capfd):
    with pytest.raises(FGDError, match=f"device '{device}' cannot be opened: .* or use --device cpu"):
        open_session(doubling, device)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(GPU, reason="this onnxruntime has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_falls_back_to_the_cpu_and_reports_why(doubling, cuda_without_libraries, capfd):
    np.testing.assert_array_equal(open_session(doubling).run(ONES)[0], 2 * ONES)
    err = capfd.readouterr().err
    assert err.startswith("doubling.onnx runs on cpu (")
    assert "not on cuda: device 'cuda' cannot be opened" in err


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", None])
def test_an_unknown_device_is_a_usage_error(doubling, device):
    with pytest.raises(UsageError, match=r"unknown device '.*'.*cuda:N"):
        open_session(doubling, device)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 100_000])
def test_an_invalid_number_of_threads_is_a_usage_error(doubling, threads):
    with pytest.raises(UsageError, match="threads must be an integer"):
        open_session(doubling, "cpu", threads)


def test_an_unknown_mode_is_a_usage_error(doubling):
    with pytest.raises(UsageError, match="unknown mode 'thruput'"):
        open_session(doubling, "cpu", mode="thruput")


def test_a_missing_file_a_folder_and_a_checkpoint_are_reported(tmp_path, capfd):
    assert "does not exist" in session_error(tmp_path / "none.onnx", capfd)
    assert "is a folder" in session_error(tmp_path, capfd)
    (tmp_path / "best.pt").write_bytes(b"PK")
    assert "PyTorch checkpoint" in session_error(tmp_path / "best.pt", capfd)
