"""Run the distill command in a folder, as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from fixtures import IMAGE_PX, draw_dataset, narrow_yaml
from signals import default_signals

SCRIPT = Path(__file__).parents[1] / "tools" / "distill.py"
QUICK = (
    *("--imgsz", str(IMAGE_PX), "--batch", "8", "--device", "cpu"),
    *("optimizer=AdamW", "lr0=0.005", "warmup_epochs=0", "mosaic=0", "nbs=8", "plots=False"),
)
TEACHER_EPOCHS = 16  # from random weights to an mAP50-95 that the preflight accepts


def loaded_by(words: list[str], watched: set[str]) -> str:
    """Run `fgd-yolo` with arguments in a new process, and return which of the watched modules it imported."""
    code = (
        "import sys; from fgd_yolo.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({watched} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1]


class Shell:
    """A folder with data and models, in which commands run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.data = draw_dataset(folder / "data", train=32, val=12)
        self.wide = narrow_yaml(folder / "wide.yaml", width=0.25)
        self.narrow = narrow_yaml(folder / "narrow.yaml", width=0.125)
        self.environment = {**os.environ, "FGD_YOLO_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def job(self, *words, epochs: int = 1, quick=QUICK) -> list[str]:
        models = ["--student", self.narrow, "--data", self.data, "--epochs", epochs, *quick]
        return [str(word) for word in (*models, *words)]

    def start(self, words, **options) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options = {"preexec_fn": default_signals, **pipes, **options}
        return subprocess.Popen([sys.executable, str(SCRIPT), *words], cwd=self.folder, env=self.environment, **options)

    def paste(self, line: str) -> subprocess.CompletedProcess:
        """Run a printed command line in a shell."""
        place = {"cwd": self.folder, "env": self.environment}
        return subprocess.run(line, shell=True, capture_output=True, text=True, **place)

    def run(self, words, **options) -> subprocess.CompletedProcess:
        process = self.start(words, **options)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def result(self, name: str) -> dict:
        return json.loads((self.folder / "runs/distill" / name / "result.json").read_text())

    def epochs(self, name: str, stage: str = "student") -> list[int]:
        rows = (self.folder / "runs/distill" / name / stage / "results.csv").read_text().splitlines()
        return [int(row.split(",")[0]) for row in rows[1:]]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
