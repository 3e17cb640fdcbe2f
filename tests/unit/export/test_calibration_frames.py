from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.export.calibration_frames import calibration_frames, frames_of_run, has_labels
from fgd_yolo.export.export_options import ExportOptions
from fgd_yolo.export.exporter import _with_frames
from fgd_yolo.frames.frame_folder import origin
from fixtures import draw_dataset


def draw_frames(folder, count):
    """Draw frames of coloured noise, no two of which are alike."""
    folder.mkdir()
    random = np.random.default_rng(count)
    for index in range(count):
        blocks = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index:03}.png"), cv2.resize(blocks, (32, 32), interpolation=cv2.INTER_NEAREST))
    return folder


def test_the_last_quarter_of_each_source_is_held_out(tmp_path):
    day, night = draw_frames(tmp_path / "day", 20), draw_frames(tmp_path / "night", 8)
    frames = calibration_frames([day, night])
    assert frames.names == ("day", "night")
    held_out = [f"{origin(path).parent.name}/{origin(path).name}" for path in frames.held_out]
    assert held_out == [*(f"day/{index:03}.png" for index in range(15, 20)), "night/006.png", "night/007.png"]
    assert len(frames.calibration) == 21
    assert not {origin(path) for path in frames.calibration} & {origin(path) for path in frames.held_out}


def test_the_check_of_many_frames_is_bounded_and_spread_over_them(tmp_path, monkeypatch):
    monkeypatch.setattr("fgd_yolo.export.calibration_frames.CHECKED_FRAMES", 5)
    held_out = calibration_frames([draw_frames(tmp_path / "long", 64)]).held_out
    assert [origin(path).name for path in held_out] == ["048.png", "052.png", "056.png", "059.png", "063.png"]


def test_too_few_frames_are_an_error_that_says_how_many(tmp_path):
    with pytest.raises(FGDError, match=r"at least 16 frames.*only 20 different ones.*--calibrate") as caught:
        calibration_frames([draw_frames(tmp_path / "few", 20)])
    assert "\n" not in str(caught.value)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UsageError, match="gone"):
        calibration_frames([tmp_path / "gone"])


def test_frames_that_are_also_val_images_are_refused(tmp_path):
    data = draw_dataset(tmp_path / "data", train=24, val=4)
    calibration_frames([data.parent / "images/train"], data)
    with pytest.raises(FGDError, match="also in the val split"):
        calibration_frames([data.parent / "images"], data)


def test_labels_of_a_teacher_are_no_labels(tmp_path):
    data = draw_dataset(tmp_path / "data", train=3, val=2)
    assert has_labels(data, recorded=True)
    assert frames_of_run(data) is None
    for missing in (tmp_path / "gone.yaml", None):
        assert not has_labels(missing, recorded=True)
    assert has_labels(tmp_path / "gone.yaml", recorded=False)  # it is an error where its images are read
    by_teacher = tmp_path / "data/agreement.yaml"
    mark = {"labelled_by": {"teacher": "teacher.pt", "score": 0.25}}
    by_teacher.write_text(yaml.safe_dump({**yaml.safe_load(data.read_text()), **mark}))
    assert not has_labels(by_teacher, recorded=True) and not has_labels(by_teacher, recorded=False)
    frames = frames_of_run(by_teacher)
    assert frames.names == ("agreement.yaml",)
    assert (len(frames.calibration), len(frames.held_out)) == (3, 2)


def test_frames_are_measured_on_unless_there_are_labels(tmp_path):
    frames = (draw_frames(tmp_path / "frames", 24),)
    data, by_teacher = draw_dataset(tmp_path / "data", train=24, val=4), tmp_path / "data/agreement.yaml"
    mark = {"labelled_by": {"teacher": "teacher.pt", "score": 0.25}}
    by_teacher.write_text(yaml.safe_dump({**yaml.safe_load(data.read_text()), **mark}))
    given = ExportOptions(precision="int8", calibrate=frames)
    for options, recorded, measured in (
        (given, data, data),
        (given, "gone.yaml", None),
        (given, by_teacher, None),
        (replace(given, data=data), by_teacher, data),
        (replace(given, data=by_teacher), data, None),
        (ExportOptions(precision="int8"), by_teacher, None),
        (ExportOptions(precision="int8"), data, data),
        (ExportOptions(), by_teacher, by_teacher),
    ):
        options, used = _with_frames(options, recorded)
        assert options.data == measured
        assert (used is not None) == (options.precision == "int8" and (bool(options.calibrate) or measured is None))
    with pytest.raises(FGDError, match=r"gone\.yaml"):
        _with_frames(replace(given, data="gone.yaml"), data)
