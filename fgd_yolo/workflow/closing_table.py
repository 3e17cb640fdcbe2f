"""The closing table: the student beside its teacher and, where there is one, beside its plain twin."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgd_yolo.console import command_name, distill_command
from fgd_yolo.files import sha256_of_json
from fgd_yolo.text import printable
from fgd_yolo.timing import UNKNOWN, format_number
from fgd_yolo.workflow.run_folder import RESULT, read_result
from fgd_yolo.workflow.train_arguments import learning_arguments

PLAIN = "plain"


@dataclass(frozen=True)
class Row:
    """One model of the table; None is what could not be measured.

    Args:
        name: what it is.
        map50_95: mean average precision over IoU 0.5 to 0.95, in [0, 1].
        map50: the same at IoU 0.5.
        parameters: of the fused model.
        gflops: of the fused model, one image.
        cpu_ms: fastest pass of one image through the fused model on the CPU, in milliseconds.
    """

    name: str
    map50_95: float | None
    map50: float | None
    parameters: int
    gflops: float | None
    cpu_ms: float | None


def fingerprint(student_key: str, dataset_key: str, train: Mapping[str, Any], device_type: str) -> str:
    """Return a word that two runs share when only their distillation differs.

    Args:
        student_key: content of the weights or architecture that the student started from.
        dataset_key: content of the data.
        train: Ultralytics train arguments; what is not in it is the host's default.
        device_type: "cpu" or "cuda".
    """
    return sha256_of_json([student_key, dataset_key, learning_arguments(train), device_type])


def find_twin(run_dir: Path, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the newest finished run that differs in the distillation alone, one of both being plain.

    Args:
        run_dir: this run's folder; its neighbours are looked at.
        result: this run's closing table.
    """
    plain = result["method"] == PLAIN
    for path in sorted(run_dir.parent.glob(f"*/{RESULT}"), key=lambda path: path.stat().st_mtime, reverse=True):
        other = read_result(path.parent) if path.parent != run_dir else None
        if other and other.get("fingerprint") == result["fingerprint"] and (other["method"] == PLAIN) != plain:
            return {"run": path.parent.name, "method": other["method"], "student": other["student"]}
    return None


def table(result: Mapping[str, Any]) -> str:
    """Return the table as text.

    Args:
        result: the closing table's numbers: `student`, `method`, and `teacher` and `twin` if any.
    """
    rows = [Row(**result["teacher"])] if result.get("teacher") else []
    rows.append(Row(**result["student"]))
    twin = result.get("twin")
    if twin:
        rows.append(Row(**{**twin["student"], "name": f"the same student, {twin['method']} ({twin['run']})"}))
    width = max(len(row.name) for row in rows) + 2
    lines = [f"{'':{width}}{'mAP50-95':>10}{'mAP50':>9}{'parameters':>13}{'GFLOPs':>9}{'CPU ms':>9}"]
    for row in rows:
        cost = (
            f"{row.parameters / 1e6:>11.2f} M{format_number(row.gflops, '.2f'):>9}{format_number(row.cpu_ms, '.1f'):>9}"
        )
        reached = f"{format_number(row.map50_95, '.3f'):>10}{format_number(row.map50, '.3f'):>9}"
        lines.append(f"{row.name:{width}}{reached}{cost}")
    if twin:
        distilled, plain = result["student"], twin["student"]
        if result["method"] == PLAIN:
            distilled, plain = plain, distilled
        gains = (_gain(distilled[key], plain[key]) for key in ("map50_95", "map50"))
        lines.append(f"{'distilled - plain':{width}}{next(gains):>10}{next(gains):>9}   one seed ({result['seed']})")
    threads = f"{result['cpu_threads']} thread{'s' * (result['cpu_threads'] != 1)}"
    lines.append(
        f"mAP on {result['val_images']} {result['split']} images at {result['imgsz']} px. "
        f"CPU ms: PyTorch, one image, {threads}, always on the CPU."
    )
    return "\n".join(map(printable, lines))


def _gain(distilled: float | None, plain: float | None) -> str:
    return UNKNOWN if distilled is None or plain is None else format_number(distilled - plain, "+.3f")


def next_steps(result: Mapping[str, Any]) -> list[str]:
    """Return commands that can be pasted: a look at what it finds, a smaller file, the twin to compare this run with.

    Args:
        result: the closing table; its `command` holds the options of the run.
    """
    files, options = result["files"], result["command"]
    data = f" --data {shlex.quote(options['data'])}" if options["data"] else ""
    weights = f"--weights {shlex.quote(files['weights'])} --imgsz {result['imgsz']}{data}"
    small = shlex.quote(str(Path(files["weights"]).with_name("student-int8.onnx")))
    model = f"--model {shlex.quote(files['onnx'])}"
    steps = [
        "# what the student sees on your pictures, and on a camera (test:// is a moving scene)",
        f"{command_name('predict')} {model} --source IMAGES",
        f"{command_name('stream')} {model} --source test:// --web 127.0.0.1:8080",
        "# the student in int8 for the camera box, calibrated and measured on the same data",
        f"{command_name('export')} {weights} --precision int8 --output {small}",
    ]
    if not result.get("twin") and result["method"] != PLAIN:
        plain = {**options, "teacher": None, "teacher_epochs": None, "config": PLAIN}
        steps += ["# the same student, trained plainly: its row joins this table", distill_command(**plain)]
    return steps
