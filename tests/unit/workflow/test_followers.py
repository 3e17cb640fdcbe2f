"""What a rank other than 0 does on its own host: it finds the data, and keeps nothing but a note of where that is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from fgd_yolo.cache import cache_root
from fgd_yolo.config import Recipe
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.distributed.exchange import Fact
from fgd_yolo.errors import FGDError
from fgd_yolo.workflow import followers
from fgd_yolo.workflow.announcements import AnnouncedRun, Training
from fgd_yolo.workflow.followers import follow
from fgd_yolo.workflow.run_folder import data_input

RECIPE = Recipe(student="yolov8n", method="plain")


@pytest.fixture
def announced(monkeypatch, tiny_data):
    """A function that lets rank 0 announce a run on `tiny_data` at a path, and the trainings that are followed."""
    followed = []

    def announce(data: str | None, *trainings: Training) -> list[tuple[str, str, Path]]:
        found = Fact(*data_input(scan_dataset(tiny_data, {})))
        messages = iter([AnnouncedRun(data, found, "detect", {}), *trainings, None])
        monkeypatch.setattr(followers, "broadcast", lambda value: next(messages))
        monkeypatch.setattr(
            followers, "run_training", lambda own, trainer, data, folder: followed.append((own.model, data, folder))
        )
        return followed

    return announce


def test_a_rank_trains_on_its_own_data_in_a_folder_of_its_cache_that_is_removed(announced, tiny_data, capsys):
    training = Training("student", "yolov8n.yaml", (), {"method": "plain"}, {})
    followed = announced("/rank/0/data.yaml", training)
    capsys.readouterr()
    follow(RECIPE.replace(data=str(tiny_data)))
    [(model, data, folder)] = followed
    assert (model, folder.name) == ("yolov8n.yaml", "student")
    assert folder.is_relative_to(cache_root()) and Path(data).is_relative_to(folder.parent)
    assert [path.suffix for path in (cache_root() / "ranks").iterdir()] == [".txt"]
    assert "data: 12 train" not in capsys.readouterr().out, "rank 0 prints"


def test_a_resumed_run_finds_the_data_where_it_was_before_or_where_rank_0_has_it(announced, tiny_data, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(tiny_data.parent, moved)
    description = (moved / tiny_data.name).read_text().replace(str(tiny_data.parent), str(moved))
    (moved / tiny_data.name).write_text(description)
    announced("/rank/0/data.yaml")
    with pytest.raises(FGDError, match=r"/rank/0/data\.yaml.*does not exist"):
        follow(None)
    announced(str(tiny_data))
    follow(None)
    announced("/rank/0/data.yaml")
    follow(RECIPE.replace(data=str(moved / tiny_data.name)))
    announced("/rank/0/data.yaml")
    follow(None)


def test_a_cache_that_cannot_be_written_is_one_line(announced, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "file"))
    with pytest.raises(FGDError, match=r"cannot write .*ranks: Not a directory; free space there or set FGD"):
        follow(RECIPE)


def test_a_finished_run_needs_no_data(monkeypatch):
    monkeypatch.setattr(followers, "broadcast", lambda value: None)
    follow(None)
    assert sys.stdout is not None and list((cache_root() / "ranks").iterdir()) == []
