from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.session import open_session
from onnx_files import save, save_detector, save_doubling


def test_without_openvino_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(FGDError, match=r"openvino is not installed; run pip install 'fgd_yolo\[openvino\]'"):
        open_session(save_doubling(tmp_path / "d.onnx"), "openvino")


class TestWithOpenvino:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("openvino")

    @pytest.fixture
    def convolutions(self, tmp_path) -> Path:
        """A file of two outputs, after a convolution that bfloat16 would round visibly."""
        random = np.random.default_rng(0)
        kernel = random.normal(size=(16, 3, 3, 3)).astype(np.float32)
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["images", "kernel"], ["wide"], pads=[1, 1, 1, 1]),
                helper.make_node("Sigmoid", ["wide"], ["scores"]),
            ],
            "convolutions",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 32])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("scores", "wide")],
            [helper.make_tensor("kernel", TensorProto.FLOAT, kernel.shape, kernel.tobytes(), raw=True)],
        )
        return save(graph, tmp_path / "c.onnx", {"task": "detect"})

    @pytest.mark.parametrize("mode", ["latency", "throughput"])
    def test_outputs_are_those_of_onnxruntime_in_its_order(self, convolutions, mode):
        batch = np.random.default_rng(1).random((2, 3, 32, 32), np.float32)
        expected = open_session(convolutions, "cpu").run(batch)
        session = open_session(convolutions, "openvino", threads=2, mode=mode)
        outputs = session.run(batch)
        assert [array.shape for array in outputs] == [array.shape for array in expected]
        for one, other in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)

    def test_float32_is_not_rounded_to_bfloat16(self, convolutions):
        model = open_session(convolutions, "openvino", threads=1)._model
        assert model.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"

    def test_the_file_is_described_as_by_onnxruntime(self, tmp_path):
        path = save_detector(tmp_path / "d.onnx")
        one, other = open_session(path, "openvino"), open_session(path, "cpu")
        assert (one.metadata, one.inputs, one.outputs) == (other.metadata, other.inputs, other.outputs)

    def test_threads_and_mode_are_passed_on(self, convolutions, capfd):
        session = open_session(convolutions, "openvino", threads=1)
        assert session._model.get_property("INFERENCE_NUM_THREADS") == 1
        assert session.workers == 1
        assert capfd.readouterr().err.startswith("c.onnx runs on openvino (cpu, 20")
        several = open_session(convolutions, "openvino", threads=2, mode="throughput")
        assert several._model.get_property("PERFORMANCE_HINT") == "THROUGHPUT"
        assert several.workers == several._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")

    def test_a_process_survives_a_signal_after_two_models_were_freed(self, convolutions):
        code = """
import gc, os, signal, sys
from pathlib import Path
from fgd_yolo.runtime.session import open_session

first = open_session(Path(sys.argv[1]), "openvino", threads=2)
second = open_session(Path(sys.argv[1]), "openvino", threads=2)
del first; gc.collect()
del second; gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("alive", flush=True))
os.kill(os.getpid(), signal.SIGTERM)
"""
        run = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", code, convolutions], capture_output=True, text=True
        )
        assert (run.returncode, run.stdout) == (0, "alive\n"), run.stderr

    def test_several_threads_may_run_at_once(self, convolutions):
        session = open_session(convolutions, "openvino", threads=2, mode="throughput")
        batches = [np.full((1, 3, 32, 32), value, np.float32) for value in np.linspace(-1, 1, 40)]
        alone = [session.run(batch)[1] for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda batch: session.run(batch)[1], batches))
        np.testing.assert_array_equal(together, alone)

    def test_a_result_outlives_the_next_call(self, convolutions):
        session = open_session(convolutions, "openvino")
        first = session.run(np.zeros((1, 3, 32, 32), np.float32))[0]
        kept = first.copy()
        session.run(np.ones((1, 3, 32, 32), np.float32))
        np.testing.assert_array_equal(first, kept)

    def test_a_batch_that_is_a_view_is_read_in_its_order(self, convolutions):
        session = open_session(convolutions, "openvino")
        image = np.random.default_rng(2).random((1, 32, 32, 3), np.float32)
        view = image.transpose(0, 3, 1, 2)[:, ::-1]
        np.testing.assert_array_equal(session.run(view)[0], session.run(view.copy(order="C"))[0])

    def test_a_broken_file_is_an_error_and_nothing_is_printed(self, tmp_path, capfd):
        (tmp_path / "x.onnx").write_bytes(b"not a network")
        with pytest.raises(FGDError, match="is not a complete ONNX file"):
            open_session(tmp_path / "x.onnx", "openvino")
        assert capfd.readouterr() == ("", "")

    def test_a_file_that_openvino_cannot_run_is_an_error_that_names_it(self, tmp_path):
        shape = [1, 3, 8, 8]
        images, output = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "output0")
        )
        node = helper.make_node("Scaler", ["images"], ["output0"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
        path = save(helper.make_graph([node], "scaler", [images], [output]), tmp_path / "scaler.onnx", {})
        model = onnx.load(path)
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
        onnx.save(model, path)
        assert open_session(path, "cpu").run(np.ones(shape, np.float32))[0].max() == 2
        with pytest.raises(FGDError, match=r"openvino cannot open .*scaler.onnx: \S"):
            open_session(path, "openvino")
