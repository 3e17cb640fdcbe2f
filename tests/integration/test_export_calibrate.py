"""An int8 file from frames without labels: its agreement with float32 is measured, and called so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fgd_yolo import export_onnx
from fgd_yolo.cli.export_command import main
from fgd_yolo.export import int8
from fgd_yolo.export.metadata import read_metadata
from fgd_yolo.frames.frame_folder import origin
from fixtures import draw_dataset, narrow_yaml, save_checkpoint

pytestmark = pytest.mark.slow

FRAMES, HELD_OUT = 24, 6


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Frames of a camera, without labels."""
    folder = tmp_path_factory.mktemp("camera")
    data = draw_dataset(folder / "data", train=FRAMES, val=1, seed=7)
    return shutil.copytree(data.parent / "images/train", folder / "frames")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint that names a data set which is not on this disk."""
    folder = tmp_path_factory.mktemp("model")
    narrow = narrow_yaml(folder / "narrow.yaml", width=0.125)
    return save_checkpoint(folder / "model.pt", narrow, Path("gone.yaml"), small_boxes=True)


@pytest.fixture
def twice_as_fast(monkeypatch):
    monkeypatch.setattr(int8, "seconds_per_run", lambda paths, imgsz: [0.02, 0.01])


def own_entry(path):
    return json.loads(read_metadata(path)["fgd_yolo"])


def test_frames_calibrate_and_measure_where_no_data_set_is_on_the_disk(
    weights, frames, tmp_path, twice_as_fast, capsys, monkeypatch
):
    opened = []
    measure_ranges = int8.measure_ranges
    monkeypatch.setattr(
        int8, "measure_ranges", lambda model, paths, imgsz: opened.extend(paths) or measure_ranges(model, paths, imgsz)
    )
    output = tmp_path / "camera.onnx"
    words = ["--model", str(weights), "--precision", "int8", "--calibrate", str(frames), "--output", str(output)]
    assert main([*words, "--max-map-drop", "100"]) == 0
    printed = capsys.readouterr().out
    assert f"that fp32 finds on {HELD_OUT} held-out frames:" in printed
    assert "agreement with fp32, not accuracy" in printed
    assert f"detections on {HELD_OUT} images" in printed  # compared with PyTorch on them too
    files = sorted(frames.iterdir())
    assert sorted(origin(path) for path in opened) == files[: FRAMES - HELD_OUT]
    entry = own_entry(output)
    assert entry["calibration"]["frames"] == ["frames"] and entry["calibration"]["images"] == FRAMES - HELD_OUT
    assert entry["agreement"]["images"] == HELD_OUT and entry["agreement"]["objects"] > 50
    assert not {"map50_95", "fp32", "drop_points"} & entry.keys()


def test_with_data_the_frames_calibrate_and_the_labels_measure(weights, frames, tmp_path, twice_as_fast):
    data = draw_dataset(tmp_path / "data", train=1, val=4)
    exported = export_onnx(
        weights, tmp_path / "x.onnx", precision="int8", calibrate=[frames], data=data, max_map_drop=100
    )
    assert exported.images == 4
    entry = own_entry(exported.path)
    assert entry["calibration"]["frames"] == ["frames"]
    assert "map50_95" in entry and "agreement" not in entry


def test_unreadable_frames_are_refused_in_one_line(weights, tmp_path, capsys):
    (tmp_path / "broken").mkdir()
    for index in range(FRAMES):
        (tmp_path / "broken" / f"{index:02}.jpg").write_bytes(b"no image")
    words = ["--model", str(weights), "--precision", "int8", "--calibrate", str(tmp_path / "broken")]
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: no frame can be read")
    assert main([*words[:2], *words[4:]]) == 2
    assert "calibrate (--calibrate) is for int8" in capsys.readouterr().err
    assert main([*words[:5], "gone"]) == 2
    assert "gone" in capsys.readouterr().err
