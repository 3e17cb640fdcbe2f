import os
import shutil
from pathlib import Path

import pytest
import yaml

from fgd_yolo.datasets import DATA_FOLDER, FRAMES_LIST, count_seen
from fixtures import draw_dataset


@pytest.fixture
def data(tmp_path) -> Path:
    return draw_dataset(tmp_path / "data")


def images(data: Path, split: str) -> list[Path]:
    return sorted((data.parent / "images" / split).iterdir())


def test_images_are_the_same_by_file_or_by_content(data, tmp_path):
    train, val = images(data, "train"), images(data, "val")
    assert count_seen("w.pt", str(data), val) == 0
    link, copy, other = tmp_path / "link.png", tmp_path / "copy.png", tmp_path / "other.png"
    link.symlink_to(train[0])
    shutil.copy(train[1], copy)
    content = bytearray(train[2].read_bytes())
    content[len(content) // 2] ^= 1
    other.write_bytes(content)  # of the same size
    assert count_seen("w.pt", str(data), [link, copy, other, train[3], *val, tmp_path / "gone.png"]) == 3
    repeated = data.with_name("repeated.txt")
    repeated.write_text("".join(f"{train[0]}\n" for _ in range(50)))
    data.write_text(yaml.safe_dump({**yaml.safe_load(data.read_text()), "train": str(repeated)}))
    assert count_seen("w.pt", str(data), [link, copy, train[0]]) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_images_that_may_not_be_read_are_not_found(data):
    train = images(data, "train")
    train[0].chmod(0)
    assert count_seen("w.pt", str(data), images(data, "val")) == 0


@pytest.mark.parametrize("recorded", [None, "gone.yaml", "https://example.com/data.yaml", 3, "data.yaml", ""])
def test_data_that_is_not_known_says_nothing(recorded, data, monkeypatch):
    """`data.yaml` is in the current folder, which need not be that of the training."""
    monkeypatch.chdir(data.parent)
    data.rename("data.yaml")
    assert count_seen("w.pt", recorded, images(data, "train")) == 0


def test_frames_count_and_a_run_folder_may_have_moved(data, tmp_path):
    frames = images(draw_dataset(tmp_path / "camera", seed=7), "train")
    run = tmp_path / "run"
    (run / DATA_FOLDER).mkdir(parents=True)
    recorded = shutil.copy(data, run / DATA_FOLDER / "d.yaml")
    (run / DATA_FOLDER / FRAMES_LIST).write_text("".join(f"{frame}\n" for frame in frames[:4]))
    asked = [*images(data, "train")[:2], *frames]
    assert count_seen(run / "student.pt", str(recorded), asked) == 6
    moved = run.rename(tmp_path / "moved")
    assert count_seen(run / "student.pt", str(recorded), asked) == 0
    assert count_seen(moved / "student.pt", str(recorded), asked) == 6
    assert count_seen(moved / "student/weights/best.pt", str(recorded), asked) == 6
