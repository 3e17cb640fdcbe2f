"""A trained detector, quantized end to end. Speeds are replaced by fixed ones, because no test asserts a time."""

from __future__ import annotations

import onnx
import pytest
import yaml
from onnx import numpy_helper

from fgd_yolo.errors import FGDError
from fgd_yolo.export import int8
from fgd_yolo.export.agreement import MIN_OBJECTS, label_with_detections
from fgd_yolo.export.calibration_frames import CalibrationFrames
from fgd_yolo.export.file_metrics import measure_map
from fgd_yolo.export.precisions import Conversion
from fixtures import IMAGE_PX, draw_dataset, narrow_yaml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("data"), train=40, val=16)


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory):
    """A narrow YOLOv8 that has learned to detect most of the drawn objects."""
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("trained")
    model = YOLO(narrow_yaml(folder / "narrow.yaml", width=0.125))
    schedule = {"epochs": 40, "batch": 8, "imgsz": IMAGE_PX, "optimizer": "AdamW", "lr0": 0.01, "warmup_epochs": 1}
    quiet = {"plots": False, "val": False, "verbose": False, "project": str(folder), "name": "run"}
    augment = {"mosaic": 0.0, "scale": 0.1, "translate": 0.05, "fliplr": 0.5, "erasing": 0.0}
    model.train(data=str(data), device="cpu", workers=0, seed=0, **schedule, **quiet, **augment)
    return folder / "run/weights/last.pt"


@pytest.fixture(scope="module")
def source(weights):
    from ultralytics import YOLO

    return weights.parent / YOLO(weights).export(format="onnx", imgsz=IMAGE_PX, simplify=True, device="cpu")


@pytest.fixture
def twice_as_fast(monkeypatch):
    monkeypatch.setattr(int8, "seconds_per_run", lambda paths, imgsz: [0.02, 0.01])


def quantized(source, target, data, max_map_drop=1.0):
    conversion = Conversion(source, target, imgsz=IMAGE_PX, images=[], data=data, max_map_drop=max_map_drop)
    return int8.convert(conversion)


def test_map_is_the_one_of_the_checkpoint_and_nothing_is_written(weights, source, data, tmp_path, monkeypatch):
    from ultralytics import YOLO

    with monkeypatch.context() as patch:
        patch.setattr("ultralytics.cfg.TESTS_RUNNING", False)  # Ultralytics writes elsewhere when it detects pytest
        patch.setattr("ultralytics.cfg.SETTINGS", {"runs_dir": str(tmp_path / "runs")})
        maps = measure_map(source, data, IMAGE_PX)
    assert not (tmp_path / "runs").exists()
    expected = YOLO(weights).val(data=str(data), imgsz=IMAGE_PX, rect=False, plots=False, project=str(tmp_path / "val"))
    assert expected.box.map > 0.3  # otherwise the comparison is meaningless
    assert maps[:2] == maps[2:] == pytest.approx((expected.box.map, expected.box.map50), abs=0.005)
    assert not list((tmp_path / "here").iterdir())


def test_data_without_labels_cannot_be_measured_on(source, tmp_path):
    unlabelled = draw_dataset(tmp_path / "unlabelled", train=1, val=3)
    for path in (unlabelled.parent / "labels/val").iterdir():
        path.write_text("")
    with pytest.raises(FGDError, match="no labels"):
        measure_map(source, unlabelled, IMAGE_PX)


def test_a_trained_detector_keeps_its_accuracy_in_int8(source, data, tmp_path, twice_as_fast):
    target = tmp_path / "out" / "int8.onnx"
    target.parent.mkdir()
    report = quantized(source, target, data, max_map_drop=5.0)
    assert report.accepted
    assert report.refusal is None
    assert report.float_nodes == ()
    assert report.speed_ratio == 2
    assert report.map_int8 == measure_map(target, data, IMAGE_PX)
    assert report.map_fp32 == measure_map(source, data, IMAGE_PX)
    assert report.drop_points == pytest.approx(100 * (report.map_fp32.map50_95 - report.map_int8.map50_95))
    assert report.calibration == {
        "images": 40,
        "unreadable": 0,
        "sha256": report.calibration["sha256"],
        "data": "tiny.yaml",
        "method": "minmax",
    }
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    assert list(model.metadata_props) == list(onnx.load(source).metadata_props)
    quantized_weights = [entry for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.INT8]
    assert len(quantized_weights) > 50
    assert [path.name for path in target.parent.iterdir()] == ["int8.onnx"]


@pytest.fixture
def frames(data):
    """The train images as frames without labels: all of them are held out, and calibrated on too."""
    images = tuple(sorted((data.parent / "images/train").iterdir()))
    return CalibrationFrames(("camera",), images, images)


def from_frames(source, target, frames):
    return int8.convert(Conversion(source, target, imgsz=IMAGE_PX, images=[], data=None, frames=frames))


def test_without_labels_a_trained_detector_agrees_with_float32(source, frames, tmp_path, twice_as_fast):
    report = from_frames(source, tmp_path / "int8.onnx", frames)
    assert report.accepted
    agreement = report.metadata()["agreement"]
    assert agreement["fp32"]["map50_95"] > 0.9  # it agrees with itself
    assert agreement["fp32"]["map50_95"] - 0.08 <= agreement["map50_95"] < 1
    assert agreement["images"] == len(frames.held_out) and agreement["objects"] >= MIN_OBJECTS
    assert report.calibration["frames"] == ["camera"]


def test_a_file_that_agrees_too_little_is_refused_for_its_agreement(planted, frames, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "seconds_per_run", lambda paths, imgsz: [0.01, 0.02])  # no layer is tried in float32
    report = from_frames(planted, tmp_path / "int8.onnx", frames)
    assert report.drop_points > 8
    assert f"loses {report.drop_points:.2f} points of agreement with it on 40 held-out frames" in report.refusal
    assert "may lose 8" in report.refusal and "accuracy" not in report.refusal


def test_frames_on_which_float32_finds_next_to_nothing_are_refused(source, frames, tmp_path):
    with pytest.raises(FGDError, match=r"finds only \d+ objects on 1 held-out frame, .*--calibrate"):
        label_with_detections(source, frames.held_out[-1:], tmp_path)  # the last image is empty


def plant(source, target, layer, reader):
    """Give a layer a huge constant channel that its only reader ignores: nothing in float32, fatal in int8."""
    model = onnx.load(source)
    entries = {entry.name: entry for entry in model.graph.initializer}
    values = {name: numpy_helper.to_array(entries[name]).copy() for name in (*layer, reader)}
    weight, bias = layer
    values[weight][0], values[bias][0], values[reader][:, 0] = 0, 1e5, 0
    for name, array in values.items():
        entries[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, target)


@pytest.fixture(scope="module")
def planted(source):
    target = source.with_name("planted.onnx")
    plant(source, target, ("model.5.conv.weight", "model.5.conv.bias"), "model.6.cv1.conv.weight")
    return target


def test_a_planted_sensitive_layer_is_detected_and_stays_float(planted, data, tmp_path, twice_as_fast):
    report = quantized(planted, tmp_path / "int8.onnx", data, max_map_drop=5.0)
    assert report.accepted
    assert report.drop_points <= 5
    layers = {"/".join(name.split("/")[:3]) for name in report.float_nodes if not name.startswith("/model.5/")}
    assert layers == {"/model.6/cv1"}
    assert "/model.5/conv/Conv" in report.float_nodes


def test_a_drop_that_cannot_be_avoided_is_refused_with_its_numbers(planted, data, tmp_path, monkeypatch):
    times = iter([[0.02, 0.01], [0.01, 0.02]])  # with one layer in float32 it is slower already
    monkeypatch.setattr(int8, "seconds_per_run", lambda paths, imgsz: next(times))
    report = quantized(planted, tmp_path / "int8.onnx", data, max_map_drop=1.0)
    assert not report.accepted
    assert (report.speed_ratio, report.float_nodes) == (2, ())  # the attempt that is faster, though it loses more
    assert report.drop_points > 5
    assert f"loses {report.drop_points:.2f} mAP50-95 points" in report.refusal
    assert "may lose 1" in report.refusal
    assert (tmp_path / "int8.onnx").exists()


def test_a_file_that_is_not_faster_than_its_source_is_refused_however_accurate(source, data, tmp_path, monkeypatch):
    def times(paths, imgsz):
        kinds = [{entry.op_type for entry in onnx.load(path).graph.node} for path in paths]
        assert ["QuantizeLinear" in kind for kind in kinds] == [False, True]
        return [0.01, 0.02]

    monkeypatch.setattr(int8, "seconds_per_run", times)
    report = quantized(source, tmp_path / "int8.onnx", data, max_map_drop=100.0)
    assert not report.accepted
    assert "runs 0.50 times as fast as float32" in report.refusal
    assert "\n" not in report.refusal


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"names": {0: "disc", 1: "block"}}, "has 2 classes and the model 3"),
        ({"channels": 1}, "has 1 channels and the model 3"),
    ],
)
def test_data_of_other_classes_or_channels_is_refused(source, data, tmp_path, entry, message):
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(yaml.safe_load(data.read_text()) | entry))
    with pytest.raises(FGDError, match=message):
        quantized(source, tmp_path / "int8.onnx", other)
    assert not (tmp_path / "int8.onnx").exists()
