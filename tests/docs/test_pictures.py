"""The pictures of the documentation, and the arithmetic behind them."""

from __future__ import annotations

from pathlib import Path

import first_look
import numpy as np
import pictures
import pytest
import training_curves
import yaml
from committed_rows import comparison_rows
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.detections import Detections
from onnx_files import COLUMN, NAMES, SIDE, save_brightness_detector, save_detector

COMMITTED = Path(__file__).parents[2] / "docs/pictures"
TRUTH = first_look.Objects(np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], float), np.array([0, 0, 1]))


def seen(*rows):
    """Match detections, given as x1, width and class, each 10 px high and less certain than the one before."""
    boxes = np.array([[x, 0, x + width, 10] for x, width, _ in rows], np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.5, len(rows), dtype=np.float32)
    classes = np.array([row[2] for row in rows], np.int64)
    names = {0: "disc", 1: "ring"}
    return first_look.match(TRUTH, Detections(boxes, scores, class_id=classes, names=names, shape=(10, 60)))


def test_an_object_is_found_by_a_detection_of_its_class_with_half_of_the_union():
    assert seen((0, 5, 0)).found.tolist() == [[0, 0, 10, 10]]  # IoU 0.5
    assert seen((0, 4.9, 0)).found.tolist() == []
    assert seen((0, 10, 1)).found.tolist() == []
    assert seen((40, 10, 1)).found.tolist() == [[40, 0, 50, 10]]


def test_every_object_is_either_found_or_missed_and_a_second_detection_of_it_is_false():
    sight = seen((0, 10, 0), (1, 10, 0), (20, 10, 0))
    assert sight.found.tolist() == [[0, 0, 10, 10], [20, 0, 30, 10]]
    assert sight.missed.tolist() == [[40, 0, 50, 10]]
    assert sight.false.tolist() == [[1, 0, 11, 10]]
    assert sight.f1 == pytest.approx(2 * 2 / (3 + 3))


def test_nothing_is_found_without_detections():
    sight = seen()
    assert (len(sight.found), len(sight.missed), len(sight.false), sight.f1) == (0, 3, 0, 0)


def test_labels_become_corners_in_pixels(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "images/a.png")
    (tmp_path / "labels/a.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    objects = first_look.labelled_objects(tmp_path / "images/a.png")
    assert objects.boxes == pytest.approx(np.array([[80, 30, 120, 70]]))
    assert objects.classes.tolist() == [1]


@pytest.fixture
def runs(tmp_path):
    """The run folders of a distilled and of a plain student, of which one detects the object and one does not."""
    data, distilled, plain = (tmp_path / name for name in ("data", "distilled", "plain"))
    for folder in (data / "images", data / "labels", distilled / "data", plain):
        folder.mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (SIDE, SIDE)).save(data / f"images/{name}.png")
        line = f"1 {' '.join(str(value / SIDE) for value in COLUMN[:4])}\n"
        (data / f"labels/{name}.txt").write_text("" if name == "a" else line)
    text = yaml.safe_dump({"path": str(data), "train": "images", "val": "images", "names": NAMES})
    (distilled / "data/data.yaml").write_text(text)
    save_detector(distilled / "student.onnx")
    metadata = {"stride": "32", "imgsz": f"[{SIDE}, {SIDE}]", "names": str(NAMES), "end2end": "False"}
    # Its score is the brightness, and the images are black.
    save_brightness_detector(plain / "student.onnx", [COLUMN[:4]], [1], [1], classes=3, metadata=metadata)
    return distilled, plain


def test_the_first_look_is_the_first_image_with_the_median_difference(runs):
    path, (before, after) = first_look.typical_image(*runs)
    # In a, the distilled student has a false detection: both scores are 0. In b and c, it finds the object.
    assert path.name == "b.png"
    assert [len(boxes) for boxes in before] == [0, 1, 0]
    assert [len(boxes) for boxes in after] == [1, 0, 0]
    assert (before.f1, after.f1) == (0, 1)


def test_students_that_score_the_same_everywhere_are_refused(runs):
    with pytest.raises(FGDError, match="score the same on every val image"):
        first_look.typical_image(runs[0], runs[0])


def test_the_first_look_shows_the_committed_gain(runs, tmp_path):
    words = ["first-look", "--run", str(runs[0]), "--plain", str(runs[1]), "--folder", str(tmp_path / "out")]
    assert pictures.main(words) == 0
    assert Image.open(tmp_path / "out/first-look.png").width == 1200
    figure = first_look.draw_first_look(*runs, comparison_rows())
    texts = [text.get_text() for part in figure.subfigs for text in part.findobj(Text)]
    assert "Gain of distillation: +2.28 mAP50-95 points, 95 % interval +0.42 to +4.13" in texts
    assert "1 of 1 objects found, 0 false detections" in texts


def test_shrinking_a_picture_keeps_black_and_white_and_changes_no_colour_visibly(tmp_path):
    pixels = np.random.default_rng(0).normal(120, 12, (200, 200, 3)).astype(np.uint8)
    pixels[0, :100], pixels[0, 100:] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "noise.png", optimize=True)
    before = (tmp_path / "noise.png").stat().st_size
    pictures.shrink(tmp_path / "noise.png")
    after = np.asarray(Image.open(tmp_path / "noise.png"))
    assert np.abs(after.astype(int) - pixels).max() <= 2
    assert (after[0] == pixels[0]).all()
    assert (tmp_path / "noise.png").stat().st_size < before


def test_every_picture_of_the_command_is_committed_and_small():
    sizes = {name: (COMMITTED / f"{name}.png").stat().st_size for name in pictures.PICTURES}
    assert max(sizes.values()) <= pictures.MAX_BYTES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attention"], "missing --run"),
        (["first-look", "--run", "somewhere"], "missing --plain"),
        (["self-portrait"], "unknown picture 'self-portrait'"),
    ],
)
def test_a_wrong_call_is_a_usage_error(capsys, words, message):
    assert pictures.main(words) == 2
    assert message in capsys.readouterr().err


def test_epochs_without_a_validation_are_not_drawn():
    axes = Figure().subplots()
    values = ((1.0, 0.0, 0.0), (2.0, 3.0, 0.0), (3.0, 2.0, 0.4))  # the second is validated and finds nothing
    rows = [{"epoch": epoch, "val/box_loss": loss, "metrics/mAP50-95(B)": score} for epoch, loss, score in values]
    training_curves.draw_line(axes, rows, "metrics/mAP50-95(B)")
    assert axes.lines[0].get_xydata().tolist() == [[2, 0], [3, 0.4]]
