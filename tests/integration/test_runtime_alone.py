"""The runtime works without the packages of training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnx_files import save_detector

DEPLOY = Path(__file__).parents[2] / "deploy"
TRAINING = ("torch", "torchvision", "ultralytics", "onnx", "onnxslim", "openvino", "matplotlib")
BLOCKED = (*TRAINING, "supervision", "PIL", "pydantic", "pydantic_core")
# Runs before the code of a test: importing a blocked package fails as if it were not installed.
PRELUDE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def model() -> Path:
    cv2.imwrite("image.png", np.full((64, 64, 3), 90, np.uint8))
    return save_detector(Path("best.onnx").absolute())


def run_alone(code: str, blocked: tuple[str, ...] = BLOCKED) -> str:
    prelude = f"BLOCKED = {blocked}{PRELUDE}"
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_blocked_packages_cannot_be_imported():
    code = "try:\n import torch\nexcept ModuleNotFoundError as error: print(error)"
    assert run_alone(code) == "No module named 'torch'\n"


def test_the_detector_runs_alone(model):
    code = """
from fgd_yolo import OnnxDetector
detections = OnnxDetector("best.onnx")("image.png")
print(len(detections), detections.xyxy.tolist(), detections.names[int(detections.class_id[0])])
"""
    assert run_alone(code) == "1 [[22.0, 26.0, 42.0, 38.0]] block\n"


def test_the_predict_script_runs_alone(model):
    code = f"""
import runpy
sys.argv = ["predict.py", "--model", "best.onnx", "--source", "image.png", "--name", "annotated", "--json", "f.jsonl"]
sys.path.insert(0, {str(DEPLOY)!r})
runpy.run_path({str(DEPLOY / "predict.py")!r}, run_name="__main__")
"""
    assert "image.png: 1 block (" in run_alone(code)
    assert Path("runs/predict/annotated/image.png").is_file()
    assert '"class_name": "block"' in Path("f.jsonl").read_text()


def test_a_missing_extra_is_an_error_of_one_line(model):
    code = """
from fgd_yolo.errors import FGDError
from fgd_yolo.runtime import OnnxDetector
for attempt in (
    lambda: OnnxDetector("best.onnx", device="openvino"),
    lambda: OnnxDetector("best.onnx", device="cpu")("image.png").to_supervision(),
):
    try:
        attempt()
    except FGDError as error:
        print(error)
"""
    openvino, supervision = run_alone(code).splitlines()
    assert "openvino is not installed; run pip install" in openvino
    assert "supervision is not installed" in supervision


def test_a_stream_collects_frames_without_the_packages_of_training(model):
    code = f"""
import runpy
sys.argv = ["stream.py", "--model", "best.onnx", "--source", "gate=test://?fps=10&seconds=1", "--collect", "frames"]
sys.path.insert(0, {str(DEPLOY)!r})
runpy.run_path({str(DEPLOY / "stream.py")!r}, run_name="__main__")
"""
    assert "collect frames kept: 1 ordinary" in run_alone(code, TRAINING)
    (jpeg,) = Path("frames/gate").glob("*.jpg")
    assert jpeg.with_suffix(".json").is_file()
