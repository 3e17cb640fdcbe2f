"""Data, models and run folders from other people: nothing that they name is run or downloaded."""

from __future__ import annotations

import http.server
import shutil
import threading
from pathlib import Path

import pytest
import torch
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks

import fgd_yolo
from fgd_yolo import FGDError, FGDTrainer, distill, export_onnx
from fgd_yolo.cli.export_command import main
from fgd_yolo.compare.finished_runs import finished_run_jobs
from fgd_yolo.compare.jobs import plan_jobs, prepare_data
from fgd_yolo.compare.options import ComparisonOptions, parse_methods
from fgd_yolo.config import load_recipe
from fixtures import draw_dataset

pytestmark = pytest.mark.slow

QUICK = {"imgsz": 64, "batch": 4, "device": "cpu", "plots": False, "warmup_epochs": 0, "nbs": 4}


@pytest.fixture
def data(tmp_path) -> Path:
    return draw_dataset(tmp_path / "data", train=6, val=4)


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "executed"


@pytest.fixture
def server():
    """The address of a server on this machine, and the list of requested paths."""
    paths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", paths
        running.shutdown()


def program(marker: Path) -> str:
    return f"__import__('os').mkdir({str(marker)!r})"


def change(file: Path, **changes) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))


@pytest.fixture
def stopped(data, student_yaml, monkeypatch, tmp_path) -> Path:
    """A run of two epochs, over images that a list names relative to the working folder, stopped in the second."""
    listed = "".join(f"data/images/train/{index:02}.png\n" for index in range(6))
    (data.parent / "train.txt").write_text(listed)
    change(data, train="train.txt", val=["train.txt", "images/val"])
    saved = []
    save = FGDTrainer.save_model

    def once(self) -> bool:
        if saved:
            raise KeyboardInterrupt
        saved.append(self.epoch)
        return save(self)

    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(FGDTrainer, "save_model", once)
        with pytest.raises(KeyboardInterrupt):
            distill(student=student_yaml, data=str(data), recipe="plain", epochs=2, name="run", **QUICK)
    return tmp_path / "runs/distill/run"


def test_a_run_over_a_relative_list_is_resumed_and_exported_from_another_folder(stopped):
    result = distill(resume=stopped)
    assert result.onnx.is_file() and result.metrics["val_images"] == 10
    assert [line.split(",")[0] for line in (stopped / "student/results.csv").read_text().split()[1:]] == ["1", "2"]
    # Later, from the student alone, and after the run folder has been moved.
    assert export_onnx(result.weights, stopped / "again.onnx").images == 8
    moved = stopped.rename(stopped.with_name("moved"))
    assert export_onnx(moved / "student/weights/best.pt", moved / "again.onnx").images == 8


def test_the_data_of_a_copied_run_folder_is_not_run(stopped, marker):
    change(stopped / "data/tiny.yaml", val="images/gone", download=program(marker))
    change(stopped / "distill.yaml", data=str(stopped / "data/tiny.yaml"))
    with pytest.raises(FGDError, match="its download script is not run here"):
        distill(resume=stopped)
    assert not marker.exists()
    with pytest.raises(fgd_yolo.errors.UsageError, match="leave out allow_download"):
        distill(resume=stopped, allow_download=True)


@pytest.mark.parametrize("key", ["data", "student"])
def test_an_address_in_a_copied_run_folder_is_not_downloaded(key, stopped, server):
    address, paths = server
    shutil.rmtree(stopped / "data")
    change(stopped / "distill.yaml", **{key: f"{address}/x.yaml"})
    if key == "student":
        change(stopped / "distill.yaml", data=str(stopped.parents[2] / "data/tiny.yaml"))
    with pytest.raises(FGDError, match=r"downloaded here|address"):
        distill(resume=stopped)
    assert not paths


def test_the_checkpoint_of_a_copied_run_folder_names_no_data_and_no_teacher(stopped, marker, server, data):
    address, paths = server
    (stopped / "evil.yaml").write_text(data.read_text())
    change(stopped / "evil.yaml", val="images/gone", download=program(marker))
    last = stopped / "student/weights/last.pt"
    checkpoint = torch.load(last, weights_only=False)
    checkpoint["train_args"] |= {"data": str(stopped / "evil.yaml"), "distill_model": f"{address}/teacher.pt"}
    torch.save(checkpoint, last)
    assert distill(resume=stopped).onnx.is_file()
    assert not paths and not marker.exists()


def test_the_best_checkpoint_of_a_copied_run_folder_is_not_executed(stopped, marker):
    class Trap:
        def __reduce__(self):
            import os

            return os.mkdir, (str(marker),)

    last, best = (stopped / "student/weights" / name for name in ("last.pt", "best.pt"))
    checkpoint = torch.load(last, weights_only=False)
    torch.save({**checkpoint, "best_fitness": 2.0}, last)  # so that no later epoch replaces the best one
    torch.save({"model": Trap()}, best)
    with pytest.raises(FGDError, match="outside the supported Ultralytics checkpoint format"):
        distill(resume=stopped)
    assert not marker.exists()


def test_the_trainer_alone_runs_no_script_and_passes_none_on_to_ultralytics(data, student_yaml, marker):
    plain = load_recipe("plain").config
    change(data, download=program(marker))
    model = YOLO(str(student_yaml))
    trainer = FGDTrainer.with_teacher(None, plain)
    model.train(trainer=trainer, data=str(data), epochs=1, **QUICK)
    for arguments in (model.trainer.args, model.trainer.validator.args):
        assert "download" not in yaml.safe_load(Path(arguments.data).read_text())
    change(data, val="images/gone")
    with pytest.raises(FGDError, match="--allow-download"):
        YOLO(str(student_yaml)).train(trainer=trainer, data=str(data), epochs=1, **QUICK)
    assert not marker.exists()
    change(data, download=f"import os\nos.rename(yaml['path'] / 'images/val', {str(data.parent / 'images/gone')!r})")
    allowed = FGDTrainer.with_teacher(None, plain, allow_download=True)
    YOLO(str(student_yaml)).train(trainer=allowed, data=str(data), epochs=1, **QUICK)


def test_the_trainer_alone_builds_no_model_that_is_a_program(data, teacher_pt, marker, tmp_path):
    """The user has loaded the checkpoint unsafely; the trainer must still not build a model from it."""
    checkpoint = torch.load(teacher_pt, weights_only=False)
    checkpoint["model"].yaml["activation"] = program(marker)
    torch.save(checkpoint, tmp_path / "evil.pt")
    assert not tasks.SAFE_LOAD
    model = YOLO(str(tmp_path / "evil.pt"))
    with pytest.raises(FGDError, match="nothing of it was executed"):
        model.train(
            trainer=FGDTrainer.with_teacher(None, load_recipe("plain").config), data=str(data), epochs=1, **QUICK
        )
    assert not marker.exists()


def test_the_export_command_asks_before_it_runs_a_script(weights, data, marker, capsys):
    script = f"import os\nos.rename(yaml['path'] / 'images/val', {str(data.parent / 'images/there')!r})"
    change(data, val="images/there", download=script)
    words = ["--model", str(weights), "--data", str(data), "--imgsz", "64"]
    assert main(words) == 1
    output = capsys.readouterr()
    assert len(output.err.splitlines()) == 1 and "--allow-download" in output.err
    assert script.splitlines()[1] in output.out
    assert main([*words, "--allow-download"]) == 0
    assert (data.parent / "images/there").is_dir()


def test_the_export_never_runs_or_downloads_what_a_checkpoint_names(weights, data, marker, server):
    address, paths = server
    change(data, val="images/gone", download=program(marker))
    for named in (str(data), f"{address}/data.yaml", f"{address}/data.zip"):
        checkpoint = torch.load(weights, weights_only=False)
        checkpoint["train_args"]["data"] = named
        torch.save(checkpoint, weights)
        with pytest.raises(FGDError, match=r"pass data= \(--data\)"):
            export_onnx(weights, allow_download=True)
    assert not paths and not marker.exists()


def test_every_method_of_a_comparison_is_given_data_without_a_script(data, student_yaml, teacher_pt, marker, tmp_path):
    change(data, download=program(marker))
    for val_fraction in (0.0, 0.5):
        options = ComparisonOptions(
            output=tmp_path / f"out{val_fraction:g}",
            data=[str(data)],
            teachers=[str(teacher_pt)],
            student=str(student_yaml),
            methods=parse_methods(["plain", "ultralytics"]),
            seeds=[0],
            train={"epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu"},
            val_fraction=val_fraction,
        )
        for job in plan_jobs(options, prepare_data(options)):
            assert "download" not in yaml.safe_load(Path(job.data).read_text())
            assert Path(job.data).is_relative_to(options.output)
    change(data, val="images/gone")
    with pytest.raises(FGDError, match="--allow-download"):
        prepare_data(ComparisonOptions(**{**vars(options), "val_fraction": 0.0}))
    assert not marker.exists()


def test_nothing_is_run_or_downloaded_for_a_finished_run_in_a_comparison(stopped, marker, server, data, tmp_path):
    address, paths = server
    distill(resume=stopped)
    run = stopped / "student"  # as stock Ultralytics leaves one
    for named in (str(data), f"{address}/data.yaml"):
        change(data, val="images/gone", download=program(marker))
        change(run / "args.yaml", data=named)
        with pytest.raises(FGDError, match=r"not run here|is not downloaded here"):
            finished_run_jobs([run], tmp_path / "out")
    assert not paths and not marker.exists()
