"""Runs that are killed, stopped or out of disk space, and resumed."""

from __future__ import annotations

import re
import resource
import signal

import pytest

from fgd_yolo.training.checkpoints import SIDE
from shell import TEACHER_EPOCHS, wait_for
from signals import default_signals, ignoring

pytestmark = pytest.mark.slow


def test_a_finished_run_is_resumed_without_harm(shell, first_run):
    files = [shell.folder / "runs/distill/first" / name for name in ("student.pt", "student.onnx")]
    before = [path.stat().st_mtime_ns for path in files]
    run = shell.run(["--resume", "runs/distill/first"])
    assert run.returncode == 0 and "finished already" in run.stdout
    assert [path.stat().st_mtime_ns for path in files] == before


@pytest.mark.long
def test_a_run_killed_while_it_writes_a_checkpoint_resumes_from_the_one_before(shell, trained_teacher):
    process = shell.start(shell.job("--teacher", trained_teacher, "name=torn", epochs=4))
    weights = shell.folder / "runs/distill/torn/student/weights"
    wait_for(weights / SIDE, process)
    while not list(weights.parent.glob(".partial-*/last.pt")):  # without a pause: it exists for milliseconds
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    resumed = shell.run(["--resume", "runs/distill/torn"])
    assert resumed.returncode == 0, resumed.stderr
    assert shell.epochs("torn") == [1, 2, 3, 4]
    assert not list(weights.parent.rglob(".partial-*"))


@pytest.mark.long
def test_a_run_killed_during_fine_tuning_resumes_there(shell):
    process = shell.start(
        shell.job("--teacher", shell.wide, "--teacher-epochs", TEACHER_EPOCHS, "seed=1", "name=early")
    )
    run_dir = shell.folder / "runs/distill/early"
    wait_for(run_dir / "teacher/weights/last.pt", process)
    process.kill()
    process.communicate()
    run = shell.run(["--resume", str(run_dir)])
    assert run.returncode == 0, run.stderr
    assert "teacher: resuming from" in run.stdout
    assert shell.epochs("early", "teacher") == list(range(1, TEACHER_EPOCHS + 1))


@pytest.mark.parametrize(
    ("number", "prepare"),
    [
        pytest.param(signal.SIGINT, default_signals, id="Ctrl-C"),
        pytest.param(
            *(signal.SIGTERM, ignoring(signal.SIGINT, signal.SIGHUP)),
            id="SIGTERM in the background",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_stop_ends_in_one_line_with_a_command_that_resumes(shell, trained_teacher, number, prepare):
    name = f"stopped-{number}"
    process = shell.start(shell.job("--teacher", trained_teacher, f"name={name}", epochs=4), preexec_fn=prepare)
    wait_for(shell.folder / f"runs/distill/{name}/student/weights/last.pt", process)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 1
    program = r".+ (?:\S+distill\.py|distill)"
    message = re.fullmatch(rf"stopped; resume with: ({program} --resume runs/distill/{name})\n", err)
    assert message, err
    run = shell.paste(message.group(1))
    assert run.returncode == 0, run.stderr
    assert shell.epochs(name) == [1, 2, 3, 4]


def test_a_disk_that_is_full_at_the_export_loses_nothing(shell, first_run):
    run_dir = shell.folder / "runs/distill/first"
    student, onnx = run_dir / "student.pt", run_dir / "student.onnx"
    content, room = student.read_bytes(), onnx.stat().st_size // 2 + len(student.read_bytes()) // 2
    assert len(content) < room < onnx.stat().st_size
    onnx.unlink()
    full = shell.run(
        ["--resume", "runs/distill/first"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert full.returncode == 1
    assert len(full.stderr.splitlines()) == 1 and full.stderr.startswith("error: ")
    assert re.search(r"^student narrow, heads\+dfine +[\d.]+ ", full.stdout, re.MULTILINE), "the table is shown"
    assert shell.result("first")["student"]["parameters"] > 0 and shell.result("first")["files"]["onnx"] is None
    assert student.read_bytes() == content and not onnx.exists()
    assert shell.run(["--resume", "runs/distill/first"]).returncode == 0
    assert onnx.is_file()
