"""A process with Ultralytics and without this package, which loads checkpoints one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_CODE = """
import json, sys
sys.modules["fgd_yolo"] = None  # an import of it, also by a pickle, fails
import numpy as np
from ultralytics import YOLO
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    model = YOLO(line.strip())
    model.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, device="cpu", save=False, verbose=False)
    found = {"task": model.task, "names": list(model.names.values()), "strides": model.model.stride.tolist()}
    print(json.dumps(found), file=answers, flush=True)
"""


class StockUltralytics:
    """Loads checkpoints, and predicts with them, as a user does who has never heard of this package."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def load(self, checkpoint: Path) -> dict[str, Any]:
        """Return task, class names and strides of a checkpoint; the test's output has the error if it cannot."""
        self._process.stdin.write(f"{checkpoint}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"stock Ultralytics cannot load {checkpoint}"
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=60)
