"""An int8 file comes with its measured losses, and is refused where they are too large."""

from __future__ import annotations

import json

import onnx
import onnxruntime
import pytest

from fgd_yolo import export_onnx
from fgd_yolo.cli.export_command import main
from fgd_yolo.errors import FGDError
from fgd_yolo.export import build, int8
from fgd_yolo.export.int8_checks import LabelCheck
from fgd_yolo.task_table import TASKS, Accuracy
from fixtures import draw_dataset, narrow_yaml, save_checkpoint

TRAIN_IMAGES = 16


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    data = draw_dataset(folder / "data", train=TRAIN_IMAGES, val=4)
    return save_checkpoint(folder / "model.pt", narrow_yaml(folder / "narrow.yaml", width=0.125), data)


def report(accepted):
    """A fixed report, since the measurements of narrow models on this machine are random."""
    refusal = "int8 runs 0.50 times as fast as float32 here and loses 3.00 mAP50-95 points (boxes: 0.4800 to 0.4500)"
    maps = Accuracy(0.48, 0.8, 0.48, 0.8), Accuracy(0.45, 0.79, 0.45, 0.79)
    calibration = {"images": 12, "unreadable": 0, "sha256": "ab", "data": "tiny.yaml", "method": "minmax"}
    speed = 2.0 if accepted else 0.5
    return int8.Int8Report(
        ("/model.0/conv/Conv",),
        calibration,
        LabelCheck(TASKS["detect"], "tiny.yaml"),
        *maps,
        3.0,
        speed,
        None if accepted else refusal,
    )


def replace_report(monkeypatch, accepted):
    """Let the real quantization write its file, and replace only its report."""
    convert = int8.convert

    def convert_and_report(conversion):
        convert(conversion)
        return report(accepted)

    monkeypatch.setattr(int8, "convert", convert_and_report)


def own_entry(path):
    return json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}["fgd_yolo"])


@pytest.mark.slow
def test_an_int8_file_is_quantized_measured_and_takes_uint8(weights, tmp_path):
    exported = export_onnx(weights, tmp_path / "model.onnx", precision="int8", uint8_input=True, allow_regression=True)
    assert exported.precision == "int8"
    assert exported.detections > 20 and exported.missing < exported.detections
    assert exported.report.calibration["images"] == TRAIN_IMAGES
    nodes = [node.op_type for node in onnx.load(exported.path).graph.node]
    assert nodes.count("QuantizeLinear") > 20
    entry = own_entry(exported.path)
    assert entry["precision"] == "int8" and entry["preprocessing"]["input"] == "uint8"
    assert entry["calibration"] == exported.report.calibration
    assert onnxruntime.InferenceSession(exported.path).get_inputs()[0].type == "tensor(uint8)"


@pytest.mark.slow
def test_a_refused_file_is_not_written_unless_kept_with_the_reason(weights, tmp_path, monkeypatch, capsys):
    replace_report(monkeypatch, accepted=False)
    words = ["--model", str(weights), "--output", str(tmp_path / "camera.onnx"), "--precision", "int8"]
    (tmp_path / "camera.onnx").write_text("an earlier export")
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "0.50 times" in error and "3.00 mAP50-95 points" in error and "--allow-regression" in error
    assert (tmp_path / "camera.onnx").read_text() == "an earlier export"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera.onnx", "here"]
    assert main([*words, "--allow-regression"]) == 0
    printed = capsys.readouterr().out
    assert "kept although refused: int8 runs 0.50 times" in printed
    assert own_entry(tmp_path / "camera.onnx")["refused"] == report(False).refusal


@pytest.mark.slow
def test_the_summary_shows_what_int8_lost_and_gained(weights, tmp_path, monkeypatch, capsys):
    replace_report(monkeypatch, accepted=True)
    output = tmp_path / "camera.onnx"
    words = ["--model", str(weights), "--output", str(output), "--precision", "int8", "--max-map-drop", "3"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "mAP50-95 48.00 in fp32, 45.00 in int8: 3.00 points lost" in printed
    assert "2.00 times as fast as fp32" in printed
    assert "1 sensitive node stays in float32: /model.0/conv/Conv" in printed
    assert f"predict --model {output} --source" in printed
    assert "refused" not in own_entry(output)


def test_a_wrong_conversion_is_refused_before_it_is_calibrated(weights, tmp_path, monkeypatch):
    convert = build.convert_to_onnx

    def convert_wrongly(*args, **options):
        path = convert(*args, **options)
        model = onnx.load(path)
        kernel = next(entry for entry in model.graph.initializer if len(entry.dims) == 4)
        values = onnx.numpy_helper.to_array(kernel) + 0.05
        kernel.CopyFrom(onnx.numpy_helper.from_array(values.astype("f4"), kernel.name))
        onnx.save(model, path)
        return path

    monkeypatch.setattr(build, "convert_to_onnx", convert_wrongly)
    monkeypatch.setattr(int8, "convert", lambda conversion: pytest.fail("it was calibrated"))
    with pytest.raises(FGDError, match="the exported file is wrong"):
        export_onnx(weights, tmp_path / "model.onnx", precision="int8")


def test_int8_without_train_images_is_an_error_of_one_line(weights, tmp_path, tiny_data):
    import yaml

    data = tmp_path / "few.yaml"
    data.write_text(yaml.safe_dump({**yaml.safe_load(tiny_data.read_text()), "train": "images/gone"}))
    with pytest.raises(FGDError) as caught:
        export_onnx(weights, tmp_path / "model.onnx", precision="int8", data=data)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.slow
def test_an_error_about_the_data_names_the_file_that_was_given(weights, tmp_path):
    data = draw_dataset(tmp_path / "few", train=TRAIN_IMAGES - 1, val=2)
    with pytest.raises(FGDError, match=rf"of the {TRAIN_IMAGES - 1} train images of {data} can be read"):
        export_onnx(weights, tmp_path / "model.onnx", precision="int8", data=data)
