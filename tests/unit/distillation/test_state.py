"""Checkpoint pairs survive a kill at any moment."""

from __future__ import annotations

import errno

import pytest
import torch

from fgd_yolo.distillation import state
from fgd_yolo.errors import FGDError
from fixtures import save_checkpoint


def stage(folder, epoch: int) -> None:
    state.write_side_file(folder, {"epoch": epoch, "value": torch.tensor(float(epoch))})
    torch.save({"epoch": epoch}, folder / state.LAST)
    torch.save({"epoch": epoch}, folder / "best.pt")


def commit(weights_dir, epoch: int) -> None:
    with state.staging(weights_dir) as folder:
        stage(folder, epoch)
        state.commit(folder, weights_dir)


def test_a_side_file_is_found_by_its_epoch(tmp_path):
    commit(tmp_path, 3)
    commit(tmp_path, 4)
    assert state.load_side_file(tmp_path, 4)["value"] == 4
    assert state.load_side_file(tmp_path, 3)["value"] == 3
    assert state.load_side_file(tmp_path, 2) is None


@pytest.mark.parametrize("killed_at", range(8))
def test_a_kill_between_any_two_renames_leaves_a_pair_that_fits(killed_at, tmp_path, monkeypatch):
    commit(tmp_path, 0)
    commit(tmp_path, 1)
    renames = 0
    rename = type(tmp_path).replace

    def dying(self, target):
        nonlocal renames
        if renames == killed_at:
            raise KeyboardInterrupt
        renames += 1
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", dying)
    try:
        commit(tmp_path, 2)
    except KeyboardInterrupt:
        assert killed_at < 4
    monkeypatch.undo()
    last = torch.load(tmp_path / state.LAST)["epoch"]
    assert state.load_side_file(tmp_path, last)["epoch"] == last
    assert torch.load(tmp_path / "best.pt")["epoch"] >= last, "last.pt knows a fitness that best.pt does not have"


def test_a_second_kill_in_the_same_place_leaves_a_pair_that_fits(tmp_path, monkeypatch):
    commit(tmp_path, 3)
    commit(tmp_path, 4)
    rename = type(tmp_path).replace

    def dying_before_last(self, target):
        if self.name == state.LAST:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", dying_before_last)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            commit(tmp_path, 5)
        assert torch.load(tmp_path / state.LAST)["epoch"] == 4
        assert state.load_side_file(tmp_path, 4)["epoch"] == 4


def test_a_full_disk_leaves_the_previous_pair_and_says_so(tmp_path):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 0)
    with pytest.raises(FGDError, match=r"No space left.*--resume"), state.staging(weights_dir) as folder:
        (folder / state.LAST).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert torch.load(weights_dir / state.LAST)["epoch"] == 0
    assert sorted(path.name for path in weights_dir.iterdir()) == ["best.pt", "fgd_last.pt", "last.pt"]


def test_only_an_unfinished_training_can_be_resumed(tmp_path, teacher_pt):
    assert state.resumable(tmp_path) is None
    (tmp_path / state.LAST).write_bytes(teacher_pt.read_bytes())
    assert state.resumable(tmp_path) is None, "a stripped checkpoint is finished"
    checkpoint = torch.load(teacher_pt, weights_only=False)
    torch.save({**checkpoint, "epoch": 4, "optimizer": {"state": {}}}, tmp_path / state.LAST)
    assert state.resumable(tmp_path) == tmp_path / state.LAST


def test_a_damaged_checkpoint_is_named(tmp_path, tiny_data):
    save_checkpoint(tmp_path / state.LAST, "yolov8n.yaml", tiny_data)
    whole = (tmp_path / state.LAST).read_bytes()
    (tmp_path / state.LAST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FGDError, match="damaged"):
        state.resumable(tmp_path)


def test_rows_of_epochs_that_run_again_are_dropped(tmp_path):
    results = tmp_path / "results.csv"
    state.drop_later_rows(results, 1)
    assert not results.exists()
    results.write_text("epoch,time\n1,10\n2,20\n10,30\n")
    state.drop_later_rows(results, 2)
    assert results.read_text() == "epoch,time\n1,10\n2,20\n"


@pytest.mark.parametrize("torn", ["", "epoch,time\n", "epoch,time\n\n", "epoch,time\n1,10\n-"])
def test_a_torn_table_of_results_is_no_error(torn, tmp_path):
    results = tmp_path / "results.csv"
    results.write_text(torn)
    state.drop_later_rows(results, 2)
    assert results.read_text() == torn.removesuffix("-").replace("\n\n", "\n")
