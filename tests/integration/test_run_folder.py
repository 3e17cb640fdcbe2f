"""A run folder that two processes use, that is damaged or removed, or whose models or data have changed."""

from __future__ import annotations

import json
import platform
import re
import resource
import shutil
import time
from pathlib import Path

import pytest
import torch
import yaml
from ultralytics import YOLO

from fgd_yolo.errors import FGDError
from fgd_yolo.locking import FolderLock
from fixtures import draw_dataset, save_checkpoint
from long_cases import long
from shell import TEACHER_EPOCHS, Shell, wait_for
from training import train

pytestmark = pytest.mark.slow
EPOCHS = 4


class Own:
    """Runs whose teacher and data are not shared with other tests and may be changed."""

    def __init__(self, shell, trained_teacher: Path):
        self.shell, self.folder = shell, shell.folder / "own"
        self.data = draw_dataset(self.folder / "data", train=16, val=6)
        self.teacher = Path(shutil.copy(trained_teacher, self.folder / "teacher.pt"))
        self.runs = shell.folder / "runs/distill"

    def start(self, name: str, epochs: int, *words, **options):
        job = ["--teacher", self.teacher, "--data", self.data, f"name={name}", *words]
        return self.shell.start(_without_data(self.shell.job(*job, epochs=epochs), self.shell.data), **options)

    def resume(self, run_dir: Path):
        return self.shell.run(["--resume", str(run_dir)])

    def copied(self, run_dir: Path, name: str) -> Path:
        return shutil.copytree(run_dir, self.runs / name, ignore=shutil.ignore_patterns(".lock*", ".partial-*"))


def _without_data(words: list[str], data: Path) -> list[str]:
    place = words.index(str(data))
    return words[: place - 1] + words[place + 1 :]


@pytest.fixture(scope="module")
def own(shell, trained_teacher) -> Own:
    return Own(shell, trained_teacher)


@pytest.fixture(scope="module")
def killed(own) -> Path:
    """The folder of a run that was killed after its second epoch, before its last one."""
    process = own.start("killed-early", EPOCHS)
    weights = own.runs / "killed-early/student/weights"
    wait_for(weights / "previous/last.pt", process)
    while list(weights.parent.glob(".partial-*")):  # the second pair is not complete yet
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    assert torch.load(weights / "last.pt", weights_only=False)["epoch"] < EPOCHS - 1
    return own.runs / "killed-early"


@pytest.fixture(scope="module")
def finished(own) -> Path:
    process = own.start("finished", 1)
    assert process.communicate()[1] == ""
    return own.runs / "finished"


def epochs(run_dir: Path) -> list[int]:
    return [int(row.split(",")[0]) for row in (run_dir / "student/results.csv").read_text().splitlines()[1:]]


def one_error(run) -> str:
    assert run.returncode == 1, (run.stdout, run.stderr)
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1, run.stderr
    return run.stderr


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.long
def test_the_second_process_that_resumes_a_run_gets_the_holder_of_the_lock_and_the_first_finishes(own, killed):
    run_dir = own.copied(killed, "wanted-twice")
    first = own.shell.start(["--resume", str(run_dir)])
    wait_for(run_dir / ".lock.json", first)
    second = one_error(own.resume(run_dir))
    holder = rf"is in use by process {first.pid} on {re.escape(platform.node())} since [-\d]{{10}} [:\d]{{8}}: wait"
    assert re.search(holder, second)
    _, err = first.communicate()
    assert (first.returncode, err) == (0, "")
    assert epochs(run_dir) == list(range(1, EPOCHS + 1))
    assert not list(run_dir.rglob(".*")), "no hidden file is left"


def test_a_running_run_is_not_resumed_and_a_killed_one_can_be_at_once(own):
    process = own.start("running", EPOCHS)
    run_dir = own.runs / "running"
    wait_for(run_dir / "student/weights/last.pt", process)
    assert f"is in use by process {process.pid} on" in one_error(own.resume(run_dir))
    process.kill()
    process.communicate()
    resumed = own.resume(run_dir)
    assert resumed.returncode == 0, resumed.stderr
    assert epochs(run_dir) == list(range(1, EPOCHS + 1))


def test_a_trainer_used_from_python_does_not_touch_the_folder_of_another(configured, student_yaml, tiny_data, tmp_path):
    train(configured, student_yaml, tiny_data, tmp_path, epochs=1)
    folder = tmp_path / "student"
    assert not list(folder.rglob(".*"))
    before = snapshot(folder)
    with FolderLock(folder), pytest.raises(FGDError, match=r"student is in use by process \d+ on"):
        train(configured, student_yaml, tiny_data, tmp_path, epochs=1)
    assert snapshot(folder) == before
    train(configured, student_yaml, tiny_data, tmp_path, epochs=1)


def test_new_runs_of_a_trainer_get_folders_of_their_own(configured, student_yaml, tiny_data, tmp_path):
    trainers = [train(configured, student_yaml, tiny_data, tmp_path, epochs=1, exist_ok=False) for _ in range(2)]
    assert [trainer.save_dir.name for trainer in trainers] == ["student", "student-2"]


def test_ultralytics_own_resume_is_refused_for_a_running_training_and_works_for_a_stopped_one(
    configured, student_yaml, tiny_data, tmp_path
):
    class Dying(configured):
        def optimizer_step(self):
            if self.epoch == 2:
                raise KeyboardInterrupt
            super().optimizer_step()

    with pytest.raises(KeyboardInterrupt):
        train(Dying, student_yaml, tiny_data, tmp_path, epochs=3)
    folder = tmp_path / "student"
    before, last = snapshot(folder), folder / "weights/last.pt"
    with FolderLock(folder), pytest.raises(FGDError, match=r"student is in use by process \d+ on"):
        YOLO(last).train(trainer=configured, resume=True)
    assert snapshot(folder) == before
    (folder / "weights/fgd_last.safetensors").write_bytes(b"")
    YOLO(last).train(trainer=configured, resume=True)
    rows = (folder / "results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3"]


@pytest.mark.parametrize("removed", [".", *long("student", "student/weights")])
def test_a_folder_removed_during_training_ends_the_run_in_one_line(removed, own):
    process = own.start("removed", 60)
    run_dir = own.runs / "removed"
    wait_for(run_dir / "student/weights/last.pt", process)
    while (run_dir / removed).exists():
        shutil.rmtree(run_dir / removed, ignore_errors=True)
    out, err = process.communicate()
    assert process.returncode == 1, out
    assert err.startswith("error: ") and err.count("\n") == 1 and "was removed" in err, err
    assert "kept" not in err and "--resume" not in err
    assert not (run_dir / removed).exists(), snapshot(run_dir)
    shutil.rmtree(run_dir, ignore_errors=True)


def test_a_disk_that_is_full_at_the_first_checkpoint_leaves_no_folder_and_suggests_no_resume(own):
    process = own.start("full", 2, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)))
    _, err = process.communicate()
    assert process.returncode == 1 and err.count("\n") == 1
    assert "cannot write checkpoints" in err and "intact" not in err and "--resume" not in err
    assert not (own.runs / "full").exists()


@pytest.mark.long
def test_temporary_files_of_a_killed_run_are_removed_by_the_next_start(own, finished):
    run_dir = own.copied(finished, "killed-at-the-export")
    for name in ("student.onnx", "result.json"):
        (run_dir / name).unlink()
    process = own.shell.start(["--resume", str(run_dir)])
    while not list(run_dir.glob(".partial-*student.onnx/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert list(run_dir.glob(".partial-*"))
    assert own.resume(run_dir).returncode == 0
    assert not list(run_dir.rglob(".*"))


@pytest.mark.parametrize("name", ["last.pt", *long("fgd_last.safetensors")])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before_and_the_run_finishes(name, own, killed):
    run_dir = own.copied(killed, f"damaged-{name}")
    file = run_dir / "student/weights" / name
    file.write_bytes(file.read_bytes()[:5000])
    resumed = own.resume(run_dir)
    assert resumed.returncode == 0 and resumed.stderr == ""
    assert re.search(rf"!! .*{name} is .*damaged.*resuming from the previous checkpoint, of epoch \d", resumed.stdout)
    assert epochs(run_dir) == list(range(1, EPOCHS + 1))
    weights = run_dir / "student/weights"
    assert sorted(path.name for path in weights.iterdir()) == ["best.pt", "fgd_last.safetensors", "last.pt"]
    for path in weights.glob("*.pt"):
        assert isinstance(torch.load(path, weights_only=False)["model"], torch.nn.Module)


@pytest.mark.parametrize("content", [b"student: .nan\n", *long(b"", bytes(range(256)))])
def test_damaged_options_are_one_line(content, own, killed):
    run_dir = own.copied(killed, f"options-{len(content)}")
    (run_dir / "distill.yaml").write_bytes(content)
    before = snapshot(run_dir)
    assert "distill.yaml cannot be used" in one_error(own.resume(run_dir))
    assert snapshot(run_dir) == before


def test_a_damaged_table_is_measured_again(own, finished):
    run_dir = own.copied(finished, "table")
    result = json.loads((run_dir / "result.json").read_text())
    result["student"]["map50"] = float("nan")
    (run_dir / "result.json").write_text(json.dumps(result))
    resumed = own.resume(run_dir)
    assert resumed.returncode == 0 and "result.json is damaged" in resumed.stdout
    assert 0 <= json.loads((run_dir / "result.json").read_text())["student"]["map50"] <= 1


class Changes:
    """Changes to models and data of a stopped run."""

    @staticmethod
    def teacher(own: Own) -> str:
        save_checkpoint(own.teacher, own.shell.wide, own.data, seed=7)
        return "another teacher"

    @staticmethod
    def labels(own: Own) -> str:
        label = next(path for path in sorted(own.data.parent.rglob("labels/train/*.txt")) if path.stat().st_size)
        text = label.read_text()
        label.write_text(("1" if text[0] != "1" else "2") + text[1:])
        return "other data"

    @staticmethod
    def images(own: Own) -> str:
        for image in sorted((own.data.parent / "images/train").iterdir())[:6]:
            image.unlink()
        return "16 train and 6 val images, 3 classes; now"

    @staticmethod
    def missing_teacher(own: Own) -> str:
        own.teacher.unlink()
        return "teacher.pt does not exist: put it back"


@pytest.fixture
def unchanged(own):
    """Restore teacher and data after the test."""
    kept = shutil.copytree(own.folder, own.shell.folder / "kept")
    yield
    shutil.rmtree(own.folder)
    kept.rename(own.folder)


@pytest.mark.parametrize("stage", ["student", *long("evaluation", "finished")])
@pytest.mark.parametrize("change", [Changes.teacher, Changes.labels, Changes.images, Changes.missing_teacher])
@pytest.mark.usefixtures("unchanged")
def test_a_resumed_run_refuses_changed_models_and_data_at_every_stage(change, stage, own, killed, finished):
    run_dir = own.copied(killed if stage == "student" else finished, f"{change.__name__}-{stage}")
    if stage == "evaluation":
        for name in ("student.onnx", "result.json"):
            (run_dir / name).unlink()
    message = change(own)
    before = snapshot(run_dir)
    error = one_error(own.resume(run_dir))
    assert message in error and ("start a new run" in error or "put it back" in error)
    assert snapshot(run_dir) == before


@pytest.mark.usefixtures("unchanged")
def test_a_run_resumes_with_data_and_teacher_in_another_folder(own, killed):
    run_dir, there = own.copied(killed, "moved"), own.shell.folder / "elsewhere" / "copy"
    shutil.copytree(own.folder, there)
    description = yaml.safe_load(own.data.read_text())
    (there / "data/tiny.yaml").write_text(yaml.safe_dump({**description, "path": str(there / "data")}))
    own.teacher.unlink()
    shutil.rmtree(own.data.parent)
    assert "write its new path into" in one_error(own.resume(run_dir))
    options = run_dir / "distill.yaml"
    options.write_text(options.read_text().replace(str(own.folder), str(there)))
    resumed = own.resume(run_dir)
    assert resumed.returncode == 0, resumed.stderr
    assert epochs(run_dir) == list(range(1, EPOCHS + 1))


@pytest.mark.long
def test_a_changed_checkpoint_in_the_teacher_cache_is_refused(tmp_path):
    """With a cache and data that no other test uses."""
    (tmp_path / "alone").mkdir()
    shell = Shell(tmp_path / "alone")
    first = shell.run(shell.job("--teacher", shell.wide, "--teacher-epochs", TEACHER_EPOCHS, "name=first"))
    assert first.returncode == 0, first.stderr
    (taught,) = (shell.folder / "cache/teachers").glob("*.pt")
    run_dir = shell.folder / "runs/distill/first"
    resume = ["--resume", str(run_dir)]
    save_checkpoint(taught, shell.wide, shell.data, seed=7)
    assert "another teacher's checkpoint" in one_error(shell.run(resume))
    for name in ("student.onnx", "result.json"):
        (run_dir / name).unlink()
    again = shell.run(resume)
    assert again.returncode == 0, again.stderr
    assert "the one that this run was started with" in again.stdout, "its own copy is intact"
    (run_dir / "result.json").unlink()
    (run_dir / "teacher/weights/best.pt").unlink()
    assert "is missing or changed: start a new run" in one_error(shell.run(resume))
