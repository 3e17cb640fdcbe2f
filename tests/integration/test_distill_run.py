"""A complete run as a user starts it: a command line in a folder, and the files that it writes there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.config import load_recipe
from fgd_yolo.workflow.run_folder import read_recipe
from fixtures import CLASSES, IMAGE_PX
from metrics_page import documented
from shell import QUICK, TEACHER_EPOCHS

pytestmark = pytest.mark.slow


def test_a_teacher_that_is_not_trained_for_the_data_is_fine_tuned_first(shell, first_run):
    assert first_run.returncode == 0, first_run.stderr
    assert "is untrained" in first_run.stdout
    assert f"teacher: {TEACHER_EPOCHS} epochs at {IMAGE_PX} px\n" in first_run.stdout
    assert shell.epochs("first", "teacher") == list(range(1, TEACHER_EPOCHS + 1))
    assert shell.result("first")["teachers"][0]["map50_95"] > 0.05


def test_every_stage_is_announced_and_nothing_is_on_stderr(first_run):
    stages = re.findall(r"^\[(\d)/5\] ", first_run.stdout, flags=re.MULTILINE)
    assert stages == ["1", "2", "3", "4", "5"]
    assert first_run.stderr == ""


def test_the_log_names_real_files_and_has_neither_colours_nor_redrawn_bars(shell, first_run):
    assert ".partial" not in first_run.stdout and "\x1b" not in first_run.stdout
    for stage in ("teacher", "student"):
        for name in ("last.pt", "best.pt"):
            assert f"Optimizer stripped from runs/distill/first/{stage}/weights/{name}, " in first_run.stdout
            assert (shell.folder / "runs/distill/first" / stage / "weights" / name).is_file()
    assert first_run.stdout.count(f"   1/{TEACHER_EPOCHS}  ") == 1, "one line for each epoch"


def test_the_run_folder_holds_student_onnx_options_and_table(shell, first_run):
    run_dir = shell.folder / "runs/distill/first"
    left = {path.name for path in run_dir.iterdir()}
    files = {"student.pt", "student.onnx", "distill.yaml", "plain.yaml", "inputs.json", "result.json"}
    assert left == {"teacher", "student", "data", *files}
    assert (run_dir / "student.pt").read_bytes() == (run_dir / "student/weights/best.pt").read_bytes()


def test_the_table_has_teacher_and_student_with_every_column(shell, first_run):
    row = r"^(teacher wide|student narrow, heads\+dfine) +([\d.]+) +([\d.]+) +([\d.]+) M +([\d.]+) +([\d.]+)$"
    rows = re.findall(row, first_run.stdout, flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["teacher wide", "student narrow, heads+dfine"]
    assert float(rows[0][3]) > 2 * float(rows[1][3]) > 0, "the teacher has more parameters"
    assert float(rows[0][4]) > float(rows[1][4]) > 0 and float(rows[1][5]) > 0


def test_every_value_and_every_column_that_a_run_writes_is_explained_in_the_page_of_the_metrics(shell, first_run):
    result = shell.result("first")
    assert sorted(documented("result.json")) == sorted({*result, "twin"})
    assert documented("A model in result.json") == [*result["teachers"][0]] == [*result["student"]]
    tables = [shell.folder / "runs/distill/first" / stage / "results.csv" for stage in ("student", "teacher")]
    student, teacher = ({*table.read_text().splitlines()[0].split(",")} for table in tables)
    own = student - teacher  # the teacher's training is Ultralytics' own
    assert own and own <= {*documented("Columns of results.csv")}


def test_the_student_is_a_plain_ultralytics_checkpoint_with_the_classes_of_the_data(shell, first_run):
    code = (
        "import sys; sys.modules['fgd_yolo'] = None\n"  # as if fgd_yolo were not installed
        "from ultralytics import YOLO\n"
        "print(list(YOLO('runs/distill/first/student.pt').names.values()))"
    )
    words = [sys.executable, "-c", code]
    run = subprocess.run(words, cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == str(list(CLASSES))


def test_a_second_run_reuses_the_cached_teacher(shell, first_run):
    teacher = ["--teacher", shell.wide, "--teacher-epochs", TEACHER_EPOCHS]
    run = shell.run(shell.job(*teacher, "method=fitnet", "features.imitation_weight=2", "name=second"))
    assert run.returncode == 0, run.stderr
    assert read_recipe(shell.folder / "runs/distill/second").features.imitation_weight == 2
    assert "reused" in run.stdout
    assert not (shell.folder / "runs/distill/second/teacher").exists()
    assert shell.result("second")["method"] == "fitnet"


def printed_commands(run: subprocess.CompletedProcess) -> list[str]:
    """Return the commands at the end of a run, which are printed below their purposes."""
    lines = run.stdout.partition("\nnext\n")[2].splitlines()
    assert [line[:4] for line in lines[::2]] == ["  # "] * (len(lines) // 2) and 2 <= len(lines) <= 6
    return [line.strip() for line in lines[1::2]]


def test_a_student_that_learnt_nothing_is_told_so_with_the_cause_and_the_remedy(shell, first_run):
    assert shell.result("first")["student"]["map50_95"] == 0
    said = " ".join(first_run.stdout.split())
    assert (
        "The student detects nothing; the likeliest cause is too few optimizer steps: about 4 in 1 epoch of 32 images."
    ) in said
    longer = next(line for line in printed_commands(first_run) if "distill.yaml" in line)
    assert longer.endswith("distill --recipe runs/distill/first/distill.yaml epochs=250")
    assert load_recipe(shell.folder / "runs/distill/first/distill.yaml").student == str(shell.narrow)


def test_the_printed_plain_command_works_and_its_row_joins_the_table(shell, first_run):
    plain = next(line for line in printed_commands(first_run) if "plain.yaml" in line)
    run = shell.paste(plain)
    assert run.returncode == 0, run.stderr
    difference = re.search(r"^distilled - plain +([+-][\d.]+) +([+-][\d.]+) +one seed \(0\)$", run.stdout, re.MULTILINE)
    assert difference
    again = shell.run(["--resume", "runs/distill/first"])
    assert "the same student, plain (first-plain)" in again.stdout
    assert shell.result("first")["twin"]["run"] == "first-plain"


def test_the_printed_export_and_predict_commands_work(shell, trained_teacher):
    """After a run that keeps what its student already knew."""
    gentle = [word.replace("lr0=0.005", "lr0=1e-6") for word in QUICK]
    words = ["--student", trained_teacher, "--data", shell.data, "--epochs", 1, *gentle, "--recipe", "plain"]
    run = shell.run([str(word) for word in [*words, "name=known"]])
    assert run.returncode == 0, run.stderr
    assert "The student reaches mAP50-95 0." in run.stdout
    export, predict = printed_commands(run)
    assert predict.endswith(" --model runs/distill/known/student.onnx --source data/images/val")
    run = shell.paste(predict)
    assert run.returncode == 0, run.stderr
    assert "12 images; " in run.stdout
    run = shell.paste(f"{export} --allow-regression")  # a model so narrow may well be slower in int8
    assert run.returncode == 0, run.stderr
    assert "best.onnx: " in run.stdout and f"int8 detect, {IMAGE_PX} px" in run.stdout


def test_the_same_works_from_python_and_ultralytics_reads_every_file(shell, trained_teacher):
    """The calls of the README: a run, a training alone, and the ONNX file on an image."""
    code = f"""
from fgd_yolo import FGDConfig, FGDTrainer, distill
from ultralytics import YOLO
small = dict(epochs=1, imgsz={IMAGE_PX}, batch=8, device="cpu", plots=False)
result = distill({str(trained_teacher)!r}, {str(shell.narrow)!r}, {str(shell.data)!r}, name="python", **small)
assert result.metrics["student"]["map50_95"] >= 0 and result.run_dir.name == "python"
image = {str(next((shell.data.parent / "images/val").glob("*.png")))!r}
for weights in (result.weights, result.onnx):
    assert len(YOLO(weights, task="detect").predict(image, imgsz={IMAGE_PX}, device="cpu")) == 1
trainer = FGDTrainer.with_teacher({str(trained_teacher)!r}, FGDConfig(heads={{"ratio": 0.5}}))
model = YOLO(result.weights)
model.train(trainer=trainer, data={str(shell.data)!r}, project="alone", **small)
assert "head_dfine" in model.trainer.loss_names
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=shell.folder, env=shell.environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.long
def test_a_run_of_an_image_size_between_strides_ends_with_one_size_everywhere(shell):
    run = shell.run(shell.job("--recipe", "plain", "name=between", f"imgsz={IMAGE_PX - 20}", quick=QUICK[2:]))
    assert run.returncode == 0, run.stderr
    assert f"imgsz {IMAGE_PX - 20} is not a multiple of 32: using {IMAGE_PX} throughout" in run.stdout
    assert f"images at {IMAGE_PX} px" in run.stdout
    (shell.folder / "runs/distill/between/result.json").write_text('{"method": "plain"}')
    again = shell.run(["--resume", "runs/distill/between"])
    assert again.returncode == 0, "a damaged result is measured again: " + again.stderr
    assert shell.result("between")["imgsz"] == IMAGE_PX


def test_the_demo_goes_from_two_names_to_a_table_without_network_or_weights(shell):
    """The real models on a few scenes. The teacher learns nothing in one epoch, so its minimum accuracy is 0."""
    (shell.folder / "lenient.yaml").write_text("checks:\n  min_teacher_map: 0\n")
    words = "--teacher yolov8l --student yolov8n --epochs 1 --teacher-epochs 1 --imgsz 64 --batch 8 --device cpu"
    few = ["--recipe", "lenient.yaml", "fraction=[16,8]", "plots=False", "name=demo"]
    run = shell.run([*words.split(), *few])
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("RANDOM WEIGHTS") == 2
    assert "data: 16 train and 8 val images, 6 classes" in run.stdout
    result = shell.result("demo")
    assert result["teachers"][0]["parameters"] > 40e6 > 4e6 > result["student"]["parameters"]
    assert Path(result["files"]["onnx"]).is_file()
    assert (shell.folder / "runs/distill/demo/teacher").is_dir()
