"""The whole job as a user runs it: a command line in a folder, and what it leaves there."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures import CLASSES, IMAGE_PX, draw_dataset, narrow_yaml

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "tools" / "distill.py"
QUICK = (
    *("--imgsz", str(IMAGE_PX), "--batch", "8", "--device", "cpu"),
    *("optimizer=AdamW", "lr0=0.005", "warmup_epochs=0", "mosaic=0", "nbs=8", "plots=False"),
)
TEACHER_EPOCHS = 16  # from random weights to an mAP50-95 that the preflight accepts


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
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *words], cwd=self.folder, env=self.environment, **pipes, **options
        )

    def paste(self, line: str) -> subprocess.CompletedProcess:
        """Run a line that was printed, word for word."""
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


@pytest.fixture(scope="module")
def shell(tmp_path_factory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def first_run(shell) -> subprocess.CompletedProcess:
    """A run whose teacher must learn the data first."""
    teacher = ["--teacher", shell.wide, "--teacher-epochs", TEACHER_EPOCHS]
    return shell.run(shell.job(*teacher, "name=first"))


@pytest.fixture(scope="module")
def teacher_pt(shell, first_run) -> Path:
    """The teacher that the first run trained."""
    return next((shell.folder / "cache/teachers").glob("*.pt"))


def test_a_teacher_that_does_not_know_the_data_learns_it_first(shell, first_run):
    assert first_run.returncode == 0, first_run.stderr
    assert "is untrained" in first_run.stdout
    assert re.search(rf"teacher: {TEACHER_EPOCHS} epochs at {IMAGE_PX} px, about \d+ (s|min) at most", first_run.stdout)
    assert shell.epochs("first", "teacher") == list(range(1, TEACHER_EPOCHS + 1))
    assert shell.result("first")["teacher"]["map50_95"] > 0.05


def test_every_stage_says_so_and_nothing_is_on_stderr(first_run):
    stages = re.findall(r"^\[(\d)/5\] ", first_run.stdout, flags=re.MULTILINE)
    assert stages == ["1", "2", "3", "4", "5"]
    assert first_run.stderr == ""


def test_the_run_folder_holds_student_onnx_options_and_table(shell, first_run):
    run_dir = shell.folder / "runs/distill/first"
    left = {path.name for path in run_dir.iterdir()}
    assert left == {"teacher", "student", "student.pt", "student.onnx", "distill.yaml", "result.json"}
    assert (run_dir / "student.pt").read_bytes() == (run_dir / "student/weights/best.pt").read_bytes()


def test_the_table_has_teacher_and_student_with_every_column(shell, first_run):
    row = r"^(teacher wide|student narrow, fgd) +([\d.]+) +([\d.]+) +([\d.]+) M +([\d.]+) +([\d.]+)$"
    rows = re.findall(row, first_run.stdout, flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["teacher wide", "student narrow, fgd"]
    assert float(rows[0][3]) > 2 * float(rows[1][3]) > 0, "the teacher has more parameters"
    assert float(rows[0][4]) > float(rows[1][4]) > 0 and float(rows[1][5]) > 0


def test_the_student_is_a_plain_ultralytics_checkpoint_with_the_classes_of_the_data(shell, first_run):
    code = (
        "import sys; sys.modules['fgd_yolo'] = None\n"  # as where fgd_yolo is not installed
        "from ultralytics import YOLO\n"
        "print(list(YOLO('runs/distill/first/student.pt').names.values()))"
    )
    words = [sys.executable, "-c", code]
    run = subprocess.run(words, cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == str(list(CLASSES))


def test_a_second_run_reuses_the_prepared_teacher(shell, first_run):
    teacher = ["--teacher", shell.wide, "--teacher-epochs", TEACHER_EPOCHS]
    run = shell.run(shell.job(*teacher, "--config", "fitnet", "name=second"))
    assert run.returncode == 0, run.stderr
    assert "reused" in run.stdout
    assert not (shell.folder / "runs/distill/second/teacher").exists()
    assert shell.result("second")["method"] == "fitnet"


def test_the_printed_plain_command_works_and_its_row_joins_the_table(shell, first_run):
    plain = next(line for line in first_run.stdout.splitlines() if "--config plain" in line)
    run = shell.paste(plain)
    assert run.returncode == 0, run.stderr
    difference = re.search(r"^distilled - plain +([+-][\d.]+) +([+-][\d.]+) +one seed \(0\)$", run.stdout, re.MULTILINE)
    assert difference
    again = shell.run(["--resume", "runs/distill/first"])
    assert "the same student, plain (narrow)" in again.stdout
    assert shell.result("first")["twin"]["run"] == "narrow"


def test_the_printed_export_command_works(shell, first_run):
    export = next(line for line in first_run.stdout.splitlines() if str(SCRIPT.parents[1] / "deploy") in line)
    run = shell.paste(export)
    assert run.returncode == 0, run.stderr
    assert f"student.onnx: {IMAGE_PX} px input" in run.stdout


def test_a_finished_run_is_resumed_without_harm(shell, first_run):
    files = [shell.folder / "runs/distill/first" / name for name in ("student.pt", "student.onnx")]
    before = [path.stat().st_mtime_ns for path in files]
    run = shell.run(["--resume", "runs/distill/first"])
    assert run.returncode == 0 and "finished already" in run.stdout
    assert [path.stat().st_mtime_ns for path in files] == before


def test_the_same_works_from_python_and_the_host_reads_every_file(shell, teacher_pt):
    """The calls of the README: the whole job, the training alone, and the ONNX file on an image."""
    code = f"""
from fgd_yolo import FGDConfig, FGDTrainer, distill
from ultralytics import YOLO
small = dict(epochs=1, imgsz={IMAGE_PX}, batch=8, device="cpu", plots=False)
result = distill({str(teacher_pt)!r}, {str(shell.narrow)!r}, {str(shell.data)!r}, name="python", **small)
assert result.metrics["student"]["map50_95"] >= 0 and result.run_dir.name == "python"
image = {str(next((shell.data.parent / "images/val").glob("*.png")))!r}
for weights in (result.weights, result.onnx):
    assert len(YOLO(weights, task="detect").predict(image, imgsz={IMAGE_PX}, device="cpu")) == 1
trainer = FGDTrainer.configured(teacher={str(teacher_pt)!r}, config=FGDConfig(share=0.25))
model = YOLO(result.weights)
model.train(trainer=trainer, data={str(shell.data)!r}, project="alone", **small)
assert "fg_loss" in model.trainer.loss_names
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=shell.folder, env=shell.environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_a_run_killed_while_distilling_goes_on_where_it_was(shell, teacher_pt):
    process = shell.start(shell.job("--teacher", teacher_pt, "name=killed", epochs=5))
    run_dir = shell.folder / "runs/distill/killed"
    wait_for(run_dir / "student/weights/fgd_previous.pt", process)  # the second epoch has been saved
    process.kill()
    process.communicate()
    assert not (run_dir / "result.json").exists()
    run = shell.run(["--resume", str(run_dir)])
    assert run.returncode == 0, run.stderr
    assert "student: going on from" in run.stdout
    assert shell.epochs("killed") == [1, 2, 3, 4, 5]
    assert (run_dir / "student.onnx").is_file()


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(shell, teacher_pt):
    process = shell.start(shell.job("--teacher", teacher_pt, "name=torn", epochs=4))
    weights = shell.folder / "runs/distill/torn/student/weights"
    wait_for(weights / "fgd_last.pt", process)
    while not (weights / ".staged/last.pt").exists():  # without a pause: it is there for milliseconds
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    resumed = shell.run(["--resume", "runs/distill/torn"])
    assert resumed.returncode == 0, resumed.stderr
    assert shell.epochs("torn") == [1, 2, 3, 4]
    assert not (weights / ".staged").exists()


def test_a_run_killed_while_the_teacher_learns_goes_on_there(shell):
    process = shell.start(
        shell.job("--teacher", shell.wide, "--teacher-epochs", TEACHER_EPOCHS, "seed=1", "name=early")
    )
    run_dir = shell.folder / "runs/distill/early"
    wait_for(run_dir / "teacher/weights/last.pt", process)
    process.kill()
    process.communicate()
    run = shell.run(["--resume", str(run_dir)])
    assert run.returncode == 0, run.stderr
    assert "teacher: going on from" in run.stdout
    assert shell.epochs("early", "teacher") == list(range(1, TEACHER_EPOCHS + 1))


def test_ctrl_c_ends_in_one_line_with_a_command_that_goes_on(shell, teacher_pt):
    process = shell.start(shell.job("--teacher", teacher_pt, "name=stopped", epochs=4))
    wait_for(shell.folder / "runs/distill/stopped/student/weights/last.pt", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 1
    said = re.fullmatch(r"stopped; go on with: (.+ \S+distill.py --resume runs/distill/stopped)\n", err)
    assert said, err
    run = shell.paste(said.group(1))
    assert run.returncode == 0, run.stderr
    assert shell.epochs("stopped") == [1, 2, 3, 4]


def test_a_disk_that_is_full_at_the_export_loses_nothing(shell, first_run):
    run_dir = shell.folder / "runs/distill/first"
    student, onnx = run_dir / "student.pt", run_dir / "student.onnx"
    kept, room = student.read_bytes(), onnx.stat().st_size // 2 + len(student.read_bytes()) // 2
    assert len(kept) < room < onnx.stat().st_size
    onnx.unlink()
    full = shell.run(
        ["--resume", "runs/distill/first"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert full.returncode == 1
    assert len(full.stderr.splitlines()) == 1 and full.stderr.startswith("error: ")
    assert re.search(r"^student narrow, fgd +[\d.]+ ", full.stdout, re.MULTILINE), "what was measured is shown"
    assert shell.result("first")["student"]["parameters"] > 0 and shell.result("first")["files"]["onnx"] is None
    assert student.read_bytes() == kept and not onnx.exists()
    assert shell.run(["--resume", "runs/distill/first"]).returncode == 0
    assert onnx.is_file()


def test_a_run_of_an_image_size_between_strides_ends_with_one_size_everywhere(shell):
    run = shell.run(shell.job("--config", "plain", "name=between", f"imgsz={IMAGE_PX - 20}", quick=QUICK[2:]))
    assert run.returncode == 0, run.stderr
    assert f"imgsz {IMAGE_PX - 20} is not a multiple of 32: {IMAGE_PX} is used throughout" in run.stdout
    assert f"images at {IMAGE_PX} px" in run.stdout
    (shell.folder / "runs/distill/between/result.json").write_text('{"method": "plain"}')
    again = shell.run(["--resume", "runs/distill/between"])
    assert again.returncode == 0, "a damaged result is measured again: " + again.stderr
    assert shell.result("between")["imgsz"] == IMAGE_PX


def test_the_demo_goes_from_two_names_to_a_table_without_network_or_weights(shell):
    """The real models on a few scenes. One epoch teaches the teacher nothing, so its bound is lowered."""
    (shell.folder / "lenient.yaml").write_text("fgd:\n  least_teacher_map: 0\n")
    words = "--teacher yolov8l --student yolov8n --epochs 1 --teacher-epochs 1 --imgsz 64 --batch 8 --device cpu"
    few = ["--config", "lenient.yaml", "fraction=[16,8]", "plots=False", "name=demo"]
    run = shell.run([*words.split(), *few])
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("RANDOM WEIGHTS") == 2
    assert "data: 16 train and 8 val images, 6 classes" in run.stdout
    result = shell.result("demo")
    assert result["teacher"]["parameters"] > 40e6 > 4e6 > result["student"]["parameters"]
    assert Path(result["files"]["onnx"]).is_file()
    assert (shell.folder / "runs/distill/demo/teacher").is_dir()
