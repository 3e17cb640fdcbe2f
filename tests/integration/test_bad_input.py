"""User errors: one line on stderr, exit code 1 or 2, and no file left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
import ultralytics  # noqa: F401  its logger keeps the stdout that it finds: not that of a single test
import yaml

from fgd_yolo.cli.distill_command import main
from fixtures import CLASSES, draw_dataset

pytestmark = pytest.mark.slow


class Trap:
    """Unpickling it creates a file, which shows that a pickle was executed."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def refused(capsys):
    """Run a command that must fail, and return its one line."""

    def run(*words, code: int = 1) -> str:
        before = sorted(Path.cwd().rglob("*"))
        assert main([str(word) for word in words]) == code
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), lines
        assert sorted(Path.cwd().rglob("*")) == before, "a failed start left something behind"
        return lines[0]

    return run


@pytest.fixture
def data(tmp_path) -> Path:
    return draw_dataset(tmp_path / "data", train=4, val=3)


def test_an_unknown_model_name_has_a_close_match(refused, data):
    line = refused("--teacher", "yolov8ll", "--student", "yolov8n.yaml", "--data", data, code=2)
    assert "'yolov8ll'" in line and "did you mean 'yolov8l'?" in line
    line = refused("--student", "yolov88n.yaml", "--recipe", "plain", "--data", data, code=2)
    assert "did you mean 'yolov8n.yaml'?" in line


def test_missing_weights_are_named_with_the_folders_and_what_to_do(refused, data):
    line = refused("--teacher", "yolov8l", "--student", "yolov8n.yaml", "--data", data)
    for part in (
        "yolov8l.pt",
        str(Path.cwd()),
        "weights",
        "--teacher path.pt",
        "--teacher yolov8l.yaml --teacher-epochs",
    ):
        assert part in line
    assert "--student yolov8n.yaml" in refused("--student", "yolov8n", "--recipe", "plain", "--data", data)


def test_a_data_file_that_does_not_exist(refused):
    assert "nowhere.yaml" in refused("--student", "yolov8n.yaml", "--recipe", "plain", "--data", "nowhere.yaml")


def test_data_without_labels(refused, data, student_yaml):
    shutil.rmtree(data.parent / "labels")
    line = refused("--student", student_yaml, "--recipe", "plain", "--data", data)
    assert "no label" in line.lower()


def test_data_without_labels_in_val_only(refused, data, student_yaml):
    shutil.rmtree(data.parent / "labels/val")
    line = refused("--student", student_yaml, "--recipe", "plain", "--data", data)
    assert "no labelled object in its val images" in line


def test_data_without_a_readable_image(refused, data, student_yaml):
    for image in (data.parent / "images/train").iterdir():
        image.write_bytes(b"no image")
    assert "cannot be used" in refused("--student", student_yaml, "--recipe", "plain", "--data", data)


def test_images_that_cannot_be_read_are_skipped_and_counted(data, capsys):
    from fgd_yolo.datasets import scan_dataset

    (data.parent / "images/train/00.png").write_bytes(b"no image")
    (data.parent / "images/val/01.png").write_bytes(b"")
    dataset = scan_dataset(str(data), {})
    assert (dataset.scan.train_images, dataset.scan.val_images, dataset.scan.skipped) == (3, 2, 2)
    assert "2 unreadable ones are skipped" in capsys.readouterr().out


def test_a_list_of_data_sets(refused, data):
    line = refused("--student", "yolov8n.yaml", "--recipe", "plain", f"data=[{data},{data}]", code=2)
    assert "list of data sets" in line


def test_a_teacher_that_is_not_a_detector(refused, data, student_yaml, tmp_path):
    from ultralytics.nn.tasks import ClassificationModel

    model = ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False)
    model.names, model.task = dict(enumerate(CLASSES)), "classify"
    file = tmp_path / "classifier.pt"
    torch.save({"model": model.half(), "train_args": {"task": "classify"}}, file)
    line = refused("--teacher", file, "--student", student_yaml, "--data", data)
    assert "ClassificationModel" in line and "not a YOLO for detect, segment, pose, obb" in line


def test_a_truncated_teacher(refused, data, student_yaml, teacher_pt, tmp_path):
    file = tmp_path / "half.pt"
    file.write_bytes(teacher_pt.read_bytes()[:100_000])
    assert "half.pt" in refused("--teacher", file, "--student", student_yaml, "--data", data)


def test_a_teacher_whose_names_do_not_fit_its_head(refused, data, student_yaml, teacher_pt, tmp_path):
    checkpoint = torch.load(teacher_pt, weights_only=False)
    checkpoint["model"].names = dict(enumerate("abcdefgh"))
    torch.save(checkpoint, tmp_path / "odd.pt")
    line = refused("--teacher", tmp_path / "odd.pt", "--student", student_yaml, "--data", data)
    assert "odd.pt is inconsistent: it names 8 classes, its head predicts 3" in line


@pytest.mark.parametrize(
    ("word", "part"), [("classes=[1,9]", "classes 0 to 2"), ("classes=7", "object of classes=7 in")]
)
def test_classes_that_the_data_does_not_have(refused, data, student_yaml, teacher_pt, word, part):
    assert part in refused("--teacher", teacher_pt, "--student", student_yaml, "--data", data, word)


@pytest.mark.parametrize("role", ["teacher", "student", "pretrained"])
def test_a_malicious_checkpoint_is_refused_and_nothing_in_it_runs(refused, data, student_yaml, tmp_path, role):
    file, trap = tmp_path / "trap.pt", tmp_path / "sprung"
    torch.save({"model": Trap(trap)}, file)
    with pytest.raises(FileExistsError):  # loaded unsafely, the trap works
        trap.mkdir()
        torch.load(file, weights_only=False)
    trap.rmdir()
    words = {
        "teacher": ["--teacher", file, "--student", student_yaml],
        "student": ["--student", file, "--recipe", "plain"],
        "pretrained": ["--student", student_yaml, "--recipe", "plain", f"pretrained={file}"],
    }[role]
    line = refused(*words, "--data", data)
    assert "trap.pt" in line and "nothing in it was executed" in line
    assert not trap.exists()


def test_an_exported_teacher(refused, data, student_yaml, tmp_path):
    (tmp_path / "best.onnx").write_bytes(b"onnx")
    line = refused("--teacher", tmp_path / "best.onnx", "--student", student_yaml, "--data", data)
    assert "not a .pt checkpoint" in line


@pytest.mark.parametrize(
    ("words", "problem", "code"),
    [
        (["--method", "heads", "--teacher-epochs", 0], "map=disc=cat", 1),
        (["--map", "disk=cat"], "no class 'disk', did you mean 'disc'?", 2),
        (["--map", "disc=cta"], "no class 'cta', did you mean 'cat'?", 2),
    ],
    ids=["nothing to teach", "a map from a missing class", "a map to a missing class"],
)
def test_a_teacher_of_other_classes_that_cannot_teach(words, problem, code, refused, data, student_yaml, teacher_pt):
    description = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({**description, "names": {0: "cat", 1: "dog", 2: "emu"}}))
    line = refused("--teacher", teacher_pt, "--student", student_yaml, "--data", data, *words, code=code)
    assert all(part in line for part in (problem, "disc, block, wedge", "cat, dog, emu"))


def test_an_untrained_teacher_that_must_not_be_trained(refused, data, student_yaml):
    words = ["--teacher", student_yaml, "--student", student_yaml, "--data", data, "--teacher-epochs", 0]
    line = refused(*words)
    assert "is untrained" in line and "disc, block, wedge" in line and "--teacher-epochs N" in line


def test_a_teacher_without_accuracy_on_the_data_leaves_no_run_folder(refused, data, student_yaml, teacher_pt, capsys):
    """Its weights are random, so the preflight of the trainer stops the run after the run folder was created."""
    words = [
        "--teacher",
        teacher_pt,
        "--student",
        student_yaml,
        "--data",
        data,
        "--epochs",
        1,
        "imgsz=96",
        "plots=False",
    ]
    Path("runs/distill").mkdir(parents=True)
    assert "mAP50-95" in refused(*words)


def test_a_run_folder_that_cannot_be_created(refused, data, student_yaml, tmp_path):
    (tmp_path / "file").write_text("in the way")
    words = ["--student", student_yaml, "--recipe", "plain", "--data", data, f"project={tmp_path / 'file'}"]
    assert "cannot create the folder" in refused(*words)


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("device=0,1", "device=0,1 is not available"),
        ("device=[0,1]", "device=[0, 1] is not available"),
        ("device=77", "device=77"),
        ("distill_model=yolov8l.pt", "distill_model"),
        ("quantize=8", "quantize=8"),
        ("task=segment", "task=segment"),
        ("exist_ok=True", "exist_ok"),
        ("imgz=320", "did you mean 'imgsz'?"),
        ("epochs=none", "epochs"),
        ("lr0=fast", "lr0"),
        ("seed=-1", "seed"),
        ("mosaic=2", "mosaic"),
        ("imgsz=[320,640]", "imgsz must be"),
        ("imgsz=big", "imgsz must be"),
        ("optimizer=Adamm", "did you mean 'Adam"),
        ("freeze=all", "freeze must be"),
        ("freeze=99", "layers"),
        ("save=False", "save=False is not allowed"),
    ],
)
def test_unsupported_options_are_refused_before_anything_starts(refused, data, student_yaml, word, part):
    assert part in refused("--student", student_yaml, "--recipe", "plain", "--data", data, word, code=2)


def test_a_resumed_run_accepts_no_other_options_and_must_exist(refused, tmp_path):
    assert "resume takes the folder of the run" in refused("resume=True", "--student", "x", code=2)
    assert "leave out student, epochs" in refused("--resume", tmp_path, "--student", "x", "epochs=3", code=2)
    assert "does not exist" in refused("--resume", tmp_path, code=2)


@pytest.mark.parametrize(
    ("words", "part"),
    [(["--teacher", "yolov8l"], "missing --student"), (["--student", "yolov8n"], "missing --teacher")],
)
def test_a_missing_model(refused, words, part):
    assert part in refused(*words, code=2)


def test_debug_shows_the_traceback_as_well(capsys):
    assert main(["--student", "yolov8n.yaml", "--recipe", "plain", "--data", "nowhere.yaml", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("error: ")
