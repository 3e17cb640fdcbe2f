"""The loop on the box, in small: collect from a camera, distil without labels, int8, and stream with the new file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fgd_yolo import distill, export_onnx
from fgd_yolo.cli.main import main
from fgd_yolo.export.metadata import read_metadata
from fixtures import narrow_yaml, save_checkpoint
from training import quick_config

pytestmark = pytest.mark.slow

DETECTOR = Path(__file__).parents[1] / "data/demo.onnx"


def stream(model: Path, *words: str) -> int:
    return main(["stream", "--model", str(model), "--source", "gate=test://", *words])


def test_what_a_box_collects_becomes_its_next_model(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert stream(DETECTOR, "--track", "--collect", "frames", "--collect-per-hour", "100000", "--seconds", "8") == 0
    collected = sorted(Path("frames").rglob("*.jpg"))
    assert len(collected) >= 24 and all(file.with_suffix(".json").is_file() for file in collected)
    assert json.loads(collected[0].with_suffix(".json").read_text())["reason"]

    teacher = save_checkpoint(tmp_path / "t.pt", narrow_yaml(tmp_path / "t.yaml", 0.25), tiny_data, small_boxes=True)
    student = save_checkpoint(
        tmp_path / "s.pt", narrow_yaml(tmp_path / "s.yaml", 0.125), tiny_data, seed=1, small_boxes=True
    )
    settings = {"imgsz": 64, "epochs": 1, "batch": 8, "device": "cpu", "plots": False, "optimizer": "SGD", "lr0": 1e-6}
    config = quick_config({"pseudo_high": 0.3, "pseudo_low": 0.05})
    result = distill(teacher, student, unlabeled="frames", recipe=config, name="next", **settings)
    assert "agreement with t, not accuracy" in capsys.readouterr().out

    int8 = export_onnx(result.weights, "next.onnx", precision="int8", calibrate="frames", allow_regression=True)
    entry = json.loads(read_metadata(int8.path)["fgd_yolo"])
    assert entry["agreement"]["images"] >= 6 and "map50_95" not in entry
    assert stream(int8.path, "--json", "results.jsonl", "--seconds", "1") == 0
    assert Path("results.jsonl").read_text().count("\n") > 3
