"""Every long-running command, started in the background of a shell, stops on SIGTERM."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from long_cases import long
from onnx_files import save_detector
from signals import ignoring, wait_until_caught

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FGD_YOLO = [sys.executable, "-c", "import sys; from fgd_yolo.cli.main import main; sys.exit(main())"]
SCRIPTS = {
    "distill": "tools/distill.py",
    "compare": "tools/compare.py",
    "benchmark": "tools/benchmark.py",
    "visualize": "tools/visualize.py",
    "export": "deploy/export.py",
    "predict": "deploy/predict.py",
}


@pytest.fixture
def words(tmp_path, tiny_data, teacher_pt, student_yaml) -> dict[str, list[object]]:
    """Arguments of each command, for work that takes longer than the test."""
    weights = shutil.copy(teacher_pt, "model.pt")
    quick = ["--imgsz", 64, "--batch", 4, "--device", "cpu"]
    training = ["--student", student_yaml, "--data", tiny_data, "--epochs", 1000, *quick]
    Path("images").mkdir()
    cv2.imwrite("images/0.png", np.full((2000, 2000, 3), 90, np.uint8))
    for number in range(1, 3000):
        Path(f"images/{number}.png").hardlink_to("images/0.png")
    models = ["--teacher", weights, "--before", weights, "--after", weights]
    return {
        "distill": ["--recipe", "plain", *training],
        "compare": ["--methods", "plain", "--project", ".", "--name", "out", *training],
        "benchmark": ["inference", "--model", weights, "--data", tiny_data, "--imgsz", 64, "--rounds", 100_000],
        "visualize": [*models, "--source", "images", "--count", 3000, "--project", ".", "--name", "figures"],
        "export": ["--model", weights, "--imgsz", 64, "--data", tiny_data],
        "predict": ["--model", save_detector(Path("best.onnx")), "--source", "images", "--json", "detections.jsonl"],
    }


@pytest.mark.parametrize("later_s", [1.0, *long(0.0, 4.0)])
@pytest.mark.parametrize("command", SCRIPTS)
def test_sigterm_stops_a_command_with_one_line_and_leaves_no_partial_files(command, words, later_s):
    start = [*FGD_YOLO, command] if later_s else [sys.executable, ROOT / SCRIPTS[command]]
    process = subprocess.Popen(
        list(map(str, [*start, *words[command]])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignoring(signal.SIGINT, signal.SIGHUP),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_until_caught(process, signal.SIGTERM)
    time.sleep(later_s)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    if command == "export" and process.returncode in (0, -signal.SIGTERM):
        assert Path("model.onnx").is_file()  # it was done before, and the interpreter may have been about to end
    else:
        assert process.returncode == 1
        assert err.splitlines()[-1].startswith("stopped") and "Traceback" not in err, err
    assert not [path for path in Path.cwd().rglob("*") if "partial" in path.name or ".export-" in path.name]
