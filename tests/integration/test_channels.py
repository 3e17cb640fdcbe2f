"""Images of one channel, and of four: a run from training to pictures, and an exported file beside Ultralytics."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fgd_yolo import distill
from fgd_yolo.cli.predict_command import main as predict
from fgd_yolo.cli.visualize_command import main as visualize
from fgd_yolo.errors import FGDError
from fgd_yolo.export import export_onnx
from fgd_yolo.runtime import OnnxDetector
from fixtures import IMAGE_PX, draw_dataset, narrow_yaml, save_checkpoint
from long_cases import long
from training import quick_config

pytestmark = pytest.mark.slow
NUMBERS = pytest.mark.parametrize("channels", [1, 4])


@pytest.fixture(scope="module", params=[*long(1), 4])
def checkpoint(request, tmp_path_factory) -> tuple[int, Path, Path]:
    """The number of channels, a data set of such images, and a checkpoint that detects on them."""
    folder = tmp_path_factory.mktemp("channels")
    data = draw_dataset(folder / "data", train=16, channels=request.param)
    narrow = narrow_yaml(folder / "narrow.yaml", 0.125)
    return request.param, data, save_checkpoint(folder / "best.pt", narrow, data, channels=request.param)


def val_images(data: Path) -> list[Path]:
    return sorted((data.parent / "images/val").iterdir())


def test_an_exported_file_detects_what_ultralytics_detects_on_the_same_images(checkpoint, tmp_path):
    from ultralytics import YOLO

    channels, data, weights = checkpoint
    exported = export_onnx(weights, tmp_path / "best.onnx", data=data, uint8_input=True)
    assert (exported.images, exported.unreadable) == (6, 0) and exported.detections > 10
    detector = OnnxDetector(exported.path, "cpu", threads=1)
    assert (detector.info.channels, detector.info.uint8_input) == (channels, True)
    theirs = YOLO(weights).predict(str(data.parent / "images/val"), imgsz=IMAGE_PX, rect=False, verbose=False)
    for path, expected in zip(val_images(data), theirs, strict=True):
        found = detector(path)
        mine = np.column_stack([found.xyxy, 100 * found.confidence])
        others = np.column_stack([expected.boxes.xyxy.numpy(), 100 * expected.boxes.conf.numpy()])
        # Rounding decides the order of objects with nearly equal scores.
        gaps = np.abs(mine[:, None] - others).max(axis=2)
        assert gaps.shape[0] == gaps.shape[1] and max(gaps.min(axis=0).max(), gaps.min(axis=1).max()) < 0.1, path.name


def test_images_of_other_channels_are_an_error_of_the_export_that_names_both(checkpoint, tiny_data, tmp_path):
    channels, _, weights = checkpoint
    if channels == 1:  # colours become grey, as in a data set of colour images with `channels: 1`
        assert export_onnx(weights, tmp_path / "best.onnx", data=tiny_data).images == 6
        return
    with pytest.raises(
        FGDError, match=r"images to compare on can be read, .*: it has 3 channels, but the model takes 4"
    ):
        export_onnx(weights, tmp_path / "best.onnx", data=tiny_data)


def test_a_run_of_other_channels_goes_from_the_teacher_to_pictures(checkpoint, tmp_path, capsys):
    channels, data, teacher = checkpoint
    student = narrow_yaml(tmp_path / "student.yaml", 0.0625)
    small = {"epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu", "workers": 0, "nbs": 4, "warmup_epochs": 0}
    recipe = quick_config({"pictures_every": 1})
    result = distill(teacher, student, data, recipe=recipe, project=str(tmp_path), name="run", **small)
    assert OnnxDetector(result.onnx, "cpu", threads=1).info.channels == channels
    assert list((result.run_dir / "student").rglob("epoch*.png")), "no attention picture"
    precision = {1: "fp16", 4: "int8"}[channels]
    export_onnx(result.weights, precision=precision, data=data, max_map_drop=100, allow_regression=True)
    source = str(val_images(data)[0].parent)
    assert predict(["--model", str(result.onnx), "--source", source, "--conf", "0.0001", "--name", "drawn"]) == 0
    drawn = sorted(Path("runs/predict/drawn").iterdir())
    assert [path.stem for path in drawn] == [path.stem for path in val_images(data)]
    assert all(cv2.imread(str(path)).shape == (IMAGE_PX, IMAGE_PX, 3) for path in drawn)
    assert visualize(["--run", str(result.run_dir), "--count", "1", "--device", "cpu"]) == 0
    table = json.loads(next(Path("runs/visualize").rglob("*.json")).read_text())
    assert table["images"] == 1


@NUMBERS
def test_a_teacher_of_other_channels_is_an_error_that_names_both(channels, teacher_pt, tmp_path):
    data = draw_dataset(tmp_path / "data", channels=channels)
    with pytest.raises(FGDError, match=rf"teacher .* reads 3-channel images, data .* has {channels}: give") as caught:
        distill(teacher_pt, narrow_yaml(tmp_path / "student.yaml", 0.0625), data, epochs=1, imgsz=64, device="cpu")
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists()
