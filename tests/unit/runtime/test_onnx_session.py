"""onnxruntime opens a file, or its error becomes one line that tells what is wrong with the file."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import helper

from fgd_yolo.runtime.onnx_session import open_for_inspection
from fgd_yolo.runtime.session import open_session
from onnx_files import save_detector, save_doubling, session_error


@pytest.fixture(scope="module")
def doubling(tmp_path_factory) -> Path:
    return save_doubling(tmp_path_factory.mktemp("session") / "doubling.onnx")


def test_dynamic_sizes_are_none(tmp_path, doubling):
    model = onnx.load(doubling)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    sizes[0].dim_param = "batch"
    sizes[2].ClearField("dim_value")
    onnx.save(model, tmp_path / "open.onnx")
    assert open_session(tmp_path / "open.onnx", "cpu").inputs[0].shape == (None, 3, None, 8)


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(500)])
def test_a_file_that_is_not_onnx_is_reported(tmp_path, content, capfd):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert "is not a complete ONNX file" in session_error(path, capfd)


def test_half_a_file_is_reported(tmp_path, doubling, capfd):
    data = doubling.read_bytes()
    (tmp_path / "half.onnx").write_bytes(data[: len(data) // 2])
    assert "is not a complete ONNX file" in session_error(tmp_path / "half.onnx", capfd)


def test_a_file_that_is_newer_than_the_runtime_is_reported(tmp_path, capfd):
    assert "needs a newer onnxruntime" in session_error(save_doubling(tmp_path / "a.onnx", opset=99), capfd)
    assert "needs a newer onnxruntime" in session_error(save_doubling(tmp_path / "b.onnx", ir=99), capfd)


def test_missing_external_weights_are_reported(tmp_path, doubling, capfd):
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save_model(onnx.load(doubling), tmp_path / "e.onnx", **options)
    (tmp_path / "weights.bin").unlink()
    assert "weights in a second file" in session_error(tmp_path / "e.onnx", capfd)


def test_an_unknown_operator_is_reported(tmp_path, doubling, capfd):
    model = onnx.load(doubling)
    model.graph.node[0].op_type = "Nonesuch"
    onnx.save(model, tmp_path / "op.onnx")
    assert "has an operator that onnxruntime" in session_error(tmp_path / "op.onnx", capfd)


def test_any_other_error_is_reported_with_the_message_of_onnxruntime(tmp_path, doubling, capfd):
    model = onnx.load(doubling)
    model.graph.node[0].input[1] = "nowhere"
    folder = tmp_path / "opset and external data"  # a path must not be mistaken for a reason
    folder.mkdir()
    onnx.save(model, folder / "opset.onnx")
    message = session_error(folder / "opset.onnx", capfd)
    assert message.startswith(
        f"onnxruntime {onnxruntime.__version__} cannot open {folder / 'opset.onnx'} on cpu: Invalid"
    )
    assert "'nowhere'" in message


def test_long_names_in_a_file_do_not_slow_the_error_down(tmp_path):
    name = "/onnxruntime_src/a b" * 30_000
    tensors = [
        helper.make_tensor_value_info(one, kind, [1]) for one, kind in (("x", 1), ("z", 7), ("y", 1))
    ]  # float, int64, float
    graph = helper.make_graph([helper.make_node("Add", ["x", "z"], ["y"], name)], "g", tensors[:2], tensors[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    code = """
        import resource, sys
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        from pathlib import Path
        from fgd_yolo.runtime.session import open_session
        open_session(Path(sys.argv[1]), "cpu")
    """
    child = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "n.onnx"]
    done = subprocess.run(child, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "Type Error: Type parameter" in done.stderr.splitlines()[-1], done.returncode


def test_inspection_gives_the_same_description_and_prints_nothing(tmp_path, capfd):
    path = save_detector(tmp_path / "d.onnx")
    inspected = open_for_inspection(path)
    assert capfd.readouterr() == ("", "")
    opened = open_session(path, "cpu")
    assert inspected.metadata == opened.metadata
    assert (inspected.inputs, inspected.outputs) == (opened.inputs, opened.outputs)
