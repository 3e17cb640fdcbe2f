"""`fgd-yolo disagree` from two models and a folder to page, numbers and data set, and its refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO
from ultralytics import YOLO

from fgd_yolo.cli.main import main
from fixtures import CLASSES, draw_dataset, narrow_yaml, rename_classes, save_checkpoint, task_files


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with frames, a teacher, a student with the classes in another order, and models that do not fit."""
    folder = tmp_path_factory.mktemp("disagree")
    data = draw_dataset(folder / "data", train=7)
    frames = folder / "frames"
    shutil.copytree(folder / "data/images/train", frames)
    wide, narrow = (narrow_yaml(folder / f"{width}.yaml", width) for width in (0.25, 0.125))
    save_checkpoint(folder / "teacher.pt", wide, data, small_boxes=True)
    student = save_checkpoint(folder / "other.pt", narrow, data, seed=1, small_boxes=True)
    rename_classes(student, folder / "student.pt", "wedge", "disc", "boat")
    rename_classes(student, folder / "stranger.pt", "cat", "dog", "cow")
    save_checkpoint(folder / "masks.pt", narrow_yaml(folder / "seg.yaml", 0.125, "segment"), data, task="segment")
    return folder


def run(models: Path, student: str | Path = "student.pt", *words: object, source: str = "frames") -> int:
    arguments = ["--model", models / student, "--teacher", models / "teacher.pt", "--source", models / source]
    arguments += [] if "--conf" in words else ["--conf", 0.3]
    return main(["disagree", *map(str, [*arguments, "--device", "cpu", *words])])


@pytest.mark.slow
def test_the_frames_that_differ_most_are_shown_and_written_as_a_data_set(models, capsys):
    assert run(models, "student.pt", "--top", 3) == 0
    folder = Path("runs/disagree/student")
    printed = capsys.readouterr().out
    numbers = json.loads((folder / "disagree.json").read_text())
    assert (numbers["classes"], numbers["task"], numbers["frames"]) == (["wedge", "disc"], "detect", 7)
    rows = numbers["by_frame"]
    scores = [row["disagreement"] for row in rows]
    assert len(rows) == 7 and scores == sorted(scores, reverse=True) and scores[0] > 0
    for kind in ("missed", "extra", "agreed"):
        assert numbers[kind] == sum(row[kind] for row in rows) == sum(c[kind] for c in numbers["by_class"].values())
    images = [row["image"] for row in rows if row["image"]]
    assert [name.split("-")[0] for name in images] == ["1", "2", "3"]
    for row, name in zip(rows, images, strict=False):
        assert (folder / "images" / name).read_bytes() == Path(row["frame"]).read_bytes()
    html = (folder / "index.html").read_text()
    assert html.count("<article>") == 3
    assert all(Path(row["frame"]).name in html for row in rows[:3])
    last = printed.splitlines()[-1]
    assert f"agreement with the teacher {numbers['agreement']:.2f} on 7 frames; next: " in last
    assert "runs/disagree/student/index.html" in last and "add runs/disagree/student/images to the train images" in last
    check_data_set(folder, images, models / "teacher.pt")
    assert run(models, "student.pt", "--top", 1) == 0
    assert Path("runs/disagree/student-2/index.html").is_file()


def check_data_set(folder: Path, images: list[str], teacher: Path) -> None:
    """Check the labels against Ultralytics' own prediction of the teacher, in the numbers of the student's classes."""
    names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    assert names == {0: "wedge", 1: "disc", 2: "boat"}
    coco = COCO(str(folder / "annotations.json"))
    assert [entry["file_name"] for entry in coco.imgs.values()] == images
    for number, name in enumerate(images, start=1):
        lines = (folder / "labels" / f"{Path(name).stem}.txt").read_text().splitlines()
        assert len(lines) == len(coco.imgToAnns[number])
        (result,) = YOLO(str(teacher)).predict(folder / "images" / name, imgsz=96, conf=0.3, verbose=False)
        strongest = [CLASSES[int(label)] for label in result.boxes.cls[:1]]
        if strongest and strongest[0] in ("wedge", "disc"):
            first = lines[0].split()
            assert names[int(first[0])] == strongest[0]
            np.testing.assert_allclose(np.array(first[1:], float), result.boxes.xywhn[0].clip(0, 1), atol=2e-3)


def test_the_student_may_be_an_exported_file(models, tmp_path):
    """The teacher knows one of the six classes of the file."""
    demo = Path(__file__).parents[1] / "data/demo.onnx"
    assert run(models, demo, "--output", tmp_path / "out") == 0
    numbers = json.loads((tmp_path / "out/disagree.json").read_text())
    assert (numbers["student"], numbers["classes"]) == ("demo.onnx", ["disc"])
    assert numbers["missed"] > 0
    assert len(yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_every_task_is_compared_by_its_boxes(task, tmp_path, capsys):
    files = task_files(tmp_path / task, task)
    frames = files.data.parent / "images/train"
    words = ["--model", files.teacher, "--teacher", files.teacher, "--source", frames, "--conf", 0.2, "--output", "out"]
    assert main(["disagree", *map(str, [*words, "--device", "cpu"])]) == 0
    numbers = json.loads(Path("out/disagree.json").read_text())
    assert numbers["task"] == task and numbers["agreed"] > 0
    assert (numbers["missed"], numbers["extra"], numbers["agreement"]) == (0, 0, 1.0)
    assert "nothing to show" in capsys.readouterr().out


REFUSED = {
    "no class in common": (("stranger.pt",), "knows none of the classes"),
    "another task": (("masks.pt",), "is a model for segment"),
    "a class of nobody": (("student.pt", "--classes", "disk"), "does not know it, did you mean 'disc'"),
    "a class of the student alone": (("student.pt", "--classes", "boat"), "the teacher does not know it"),
    "no frame shown": (("student.pt", "--top", 0), "must be an integer of at least 1"),
    "a score out of range": (("student.pt", "--conf", 1.5), "must be a number between 0 and 1"),
    "the output exists": (("student.pt", "--output", "."), "exists: give a new folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_line(case, models, capsys):
    words, message = REFUSED[case]
    assert run(models, *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error and error.startswith("error: ")
    assert not Path("runs").exists()


def test_frames_that_cannot_be_read_are_refused(models, tmp_path, capsys):
    assert run(models, source="nowhere") == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.jpg").write_bytes(b"no image")
    assert run(models, source=tmp_path / "broken") == 1
    assert "no frame can be read" in capsys.readouterr().err


def test_frames_without_any_object_are_said_to_have_none(models, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((96, 96, 3), 90, np.uint8))
    assert run(models, "student.pt", "--conf", 0.99, source=tmp_path / "grey.png") == 0
    assert "no model is confident of any object" in capsys.readouterr().out
