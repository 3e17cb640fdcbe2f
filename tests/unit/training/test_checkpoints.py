"""Checkpoint pairs survive a kill at any moment."""

from __future__ import annotations

import errno
import io
import json
import shutil
from contextlib import suppress

import pytest
import safetensors.torch
import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.training import checkpoints as state
from fixtures import save_checkpoint

OPTIONS = {"method": "fgd", "temperature": 0.5}
NEW_EPOCHS = 9


@pytest.fixture(scope="module")
def checkpoint(student_yaml, tiny_data, tmp_path_factory):
    """What Ultralytics' last.pt holds, without an optimizer's state worth the name."""
    file = save_checkpoint(tmp_path_factory.mktemp("plain") / "plain.pt", student_yaml, tiny_data)
    plain = torch.load(file, weights_only=False)
    arguments = {**(plain["train_args"] or {}), "epochs": NEW_EPOCHS}
    return {**plain, "optimizer": {"state": {}}, "train_args": arguments}


@pytest.fixture
def commit(checkpoint):
    """Write the pair of an epoch as a training does."""

    def write(weights_dir, epoch: int, final: bool = False) -> None:
        weights_dir.mkdir(parents=True, exist_ok=True)
        with state.staging(weights_dir) as folder:
            if not final:
                state.write_side_file(folder, side_of(epoch))
            content = {**checkpoint, "epoch": -1, "optimizer": None} if final else {**checkpoint, "epoch": epoch}
            for name in (state.LAST, state.BEST):
                torch.save(content, folder / name)
            state.commit(folder, weights_dir, final=final)

    return write


def side_of(epoch: int) -> dict:
    tensors = {"0.align.weight": torch.full((2, 3), float(epoch)), "0.align.bias": torch.zeros(0)}
    return {
        "epoch": epoch,
        "teacher": "digest",
        "options": OPTIONS,
        "gradient_ratio": {"factor": 0.1 + epoch},
        "losses": tensors,
    }


def epoch_of(path) -> int:
    return torch.load(path, weights_only=False)["epoch"]


def listed(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


PAIRS = ["best.pt", "fgd_last.safetensors", "last.pt", "previous", "previous/fgd_last.safetensors", "previous/last.pt"]


def test_a_side_file_holds_tensors_to_the_last_bit_and_numbers_and_nothing_that_is_executed(tmp_path):
    exact = {**side_of(3), "gradient_ratio": {"factor": 0.1 + 0.2, "latest_ratio": None, "batches": 7}}
    exact["losses"]["0.align.weight"] = torch.rand(2, 3) / 3
    state.write_side_file(tmp_path, exact)
    found = state.read_side_file(tmp_path / state.SIDE)
    assert {key: found[key] for key in found if key != "losses"} == {k: v for k, v in exact.items() if k != "losses"}
    assert all(torch.equal(found["losses"][name], value) for name, value in exact["losses"].items())
    # The format's own words: eight bytes of length, a header in JSON, then the numbers.
    data = (tmp_path / state.SIDE).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["0.align.weight"]["shape"] == [2, 3] and json.loads(header["__metadata__"]["fgd_yolo"])["epoch"] == 3


@pytest.mark.parametrize("wrong", [{"epoch": "2"}, {"teacher": 5}, {"options": ["gradient_ratio"]}, {"options": None}])
def test_a_side_file_whose_values_are_of_other_kinds_is_damaged(wrong, tmp_path):
    plain = {"epoch": 2, "teacher": "abc", "options": {}} | wrong
    data = safetensors.torch.save({"a": torch.zeros(1)}, metadata={"fgd_yolo": json.dumps(plain)})
    (tmp_path / state.SIDE).write_bytes(data)
    with pytest.raises(FGDError, match=f"is damaged .*{next(iter(wrong))}"):
        state.read_side_file(tmp_path / state.SIDE)


def test_every_file_named_pt_is_a_checkpoint_that_loads_at_every_moment(commit, tmp_path, monkeypatch):
    weights_dir, looked = tmp_path / "weights", []

    def look():
        for path in [*weights_dir.rglob("*.pt")]:
            assert isinstance(torch.load(path, weights_only=False)["model"], torch.nn.Module)
            looked.append(path.name)

    rename = type(tmp_path).replace

    def looking(self, target):
        look()
        rename(self, target)
        look()

    monkeypatch.setattr(type(tmp_path), "replace", looking)
    for epoch in range(3):
        commit(weights_dir, epoch)
    assert listed(weights_dir) == PAIRS
    commit(weights_dir, 3, final=True)
    assert listed(weights_dir) == PAIRS[:3], "when the training is over the previous pair has no use"
    assert len(looked) > 20


def test_the_previous_pair_is_kept_beside_the_newest_one(commit, tmp_path):
    commit(tmp_path / "weights", 3)
    commit(tmp_path / "weights", 4)
    for folder, epoch in ((tmp_path / "weights", 4), (tmp_path / "weights/previous", 3)):
        assert epoch_of(folder / state.LAST) == state.read_side_file(folder / state.SIDE)["epoch"] == epoch
    assert state.restore(tmp_path / "weights") == tmp_path / "weights/last.pt"
    assert state.load_side_file(tmp_path / "weights", 4)["gradient_ratio"] == {"factor": 4.1}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("killed_at", range(9))
def test_a_kill_between_any_two_renames_leaves_a_pair_that_fits(killed_at, links, commit, tmp_path, monkeypatch):
    weights_dir, renames = tmp_path / "weights", 0
    if not links:

        def refused(*_):
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(state.os, "link", refused)
    commit(weights_dir, 0)
    commit(weights_dir, 1)
    rename, remove = type(tmp_path).replace, shutil.rmtree

    def dying(act):
        def step(*args, **kwargs):
            nonlocal renames
            if renames == killed_at:
                raise KeyboardInterrupt
            renames += 1
            return act(*args, **kwargs)

        return step

    monkeypatch.setattr(type(tmp_path), "replace", dying(rename))
    monkeypatch.setattr(state.shutil, "rmtree", dying(remove))
    with suppress(KeyboardInterrupt):
        commit(weights_dir, 2)
    monkeypatch.undo()
    last = state.restore(weights_dir)
    epoch = epoch_of(last)
    assert epoch in {1, 2} and state.load_side_file(weights_dir, epoch)["epoch"] == epoch
    assert epoch_of(weights_dir / state.BEST) >= epoch, "last.pt knows a fitness that best.pt does not have"
    commit(weights_dir, epoch + 1)
    assert listed(weights_dir) == PAIRS


def test_a_second_kill_in_the_same_place_leaves_a_pair_that_fits(commit, tmp_path, monkeypatch):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    rename = type(tmp_path).replace

    def dying_before_last(self, target):
        if target == weights_dir / state.LAST:
            raise KeyboardInterrupt
        return rename(self, target)

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(tmp_path), "replace", dying_before_last)
            commit(weights_dir, 5)
        assert epoch_of(state.restore(weights_dir)) == 4
        assert state.load_side_file(weights_dir, 4)["epoch"] == 4


def damaged(path, how: str) -> None:
    whole = path.read_bytes()
    path.unlink()
    contents = {"cut": whole[: len(whole) // 2], "empty": b"", "garbage": bytes(range(256)) * 40}
    if how in contents:
        path.write_bytes(contents[how])
    elif how == "of another epoch":
        state.write_side_file(path.parent, side_of(77))
    elif how == "NaN":
        content = torch.load(io.BytesIO(whole), weights_only=False)
        next(content["model"].parameters()).data.fill_(float("nan"))
        torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((state.LAST, how) for how in ("cut", "empty", "garbage", "NaN", "gone")),
        *((state.SIDE, how) for how in ("cut", "empty", "garbage", "of another epoch", "gone")),
    ],
)
def test_a_damaged_newest_pair_falls_back_on_the_previous_one_with_a_warning(name, how, commit, tmp_path, capsys):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    damaged(weights_dir / name, how)
    last = state.restore(weights_dir)
    assert epoch_of(last) == 3 and state.load_side_file(weights_dir, 3)["gradient_ratio"] == {"factor": 3.1}
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 1 and name in said and "the checkpoint before, of epoch 4" in said


@pytest.mark.parametrize("name", [state.LAST, state.SIDE])
def test_where_both_pairs_are_damaged_one_line_says_so(name, commit, tmp_path):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    damaged(weights_dir / name, "cut")
    damaged(weights_dir / "previous" / name, "empty")
    with pytest.raises(FGDError, match=rf"{name}.*no earlier pair of checkpoints is whole: start a new run") as error:
        state.restore(weights_dir)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [state.LAST, state.SIDE])
def test_a_folder_in_a_files_place_is_named_and_nothing_is_replaced(name, commit, tmp_path):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    (weights_dir / name).unlink()
    (weights_dir / name).mkdir()
    with pytest.raises(FGDError, match=rf"{name} is a folder and should be a file: move it away"):
        state.restore(weights_dir)
    assert (weights_dir / name).is_dir()


def test_a_training_that_has_ended_needs_no_last_checkpoint(commit, tmp_path, capsys):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4, final=True)
    assert state.restore(weights_dir) is None and capsys.readouterr().out == ""
    (weights_dir / state.LAST).write_bytes(b"")
    assert state.restore(weights_dir) is None
    assert "best.pt is whole" in capsys.readouterr().out


def test_a_training_without_distillation_has_pairs_of_one(checkpoint, tmp_path):
    weights_dir = tmp_path / "weights"
    weights_dir.mkdir()
    for epoch in range(2):
        with state.staging(weights_dir) as folder:
            torch.save({**checkpoint, "epoch": epoch}, folder / state.LAST)
            state.commit(folder, weights_dir)
    assert listed(weights_dir) == ["last.pt", "previous", "previous/last.pt"]
    damaged(weights_dir / state.LAST, "cut")
    assert epoch_of(state.restore(weights_dir)) == 0


def test_a_full_disk_leaves_the_previous_pair_and_says_so(commit, tmp_path):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 0)
    before = listed(tmp_path)
    with (
        pytest.raises(FGDError, match=r"No space left.*previous ones are intact: make room"),
        state.staging(weights_dir) as folder,
    ):
        (folder / state.LAST).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert epoch_of(weights_dir / state.LAST) == 0
    assert listed(tmp_path) == before


def test_where_there_was_no_checkpoint_none_is_called_intact(tmp_path):
    weights_dir = tmp_path / "weights"
    weights_dir.mkdir()
    with (
        pytest.raises(FGDError, match=r"No space left on device\); make room, then start again$"),
        state.staging(weights_dir),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("gone", [".", "weights"])
def test_a_folder_that_is_removed_meanwhile_is_not_made_again(gone, commit, tmp_path):
    weights_dir = tmp_path / "run" / "weights"
    commit(weights_dir, 0)
    with (
        pytest.raises(FGDError, match="weights was removed while the training ran"),
        state.staging(weights_dir) as folder,
    ):
        shutil.rmtree(tmp_path / "run" / gone)
        (folder / state.LAST).write_bytes(b"half")
        state.commit(folder, weights_dir)
    with pytest.raises(FGDError, match="weights was removed"), state.staging(weights_dir):
        pass
    assert not weights_dir.exists()


def test_only_an_unfinished_training_can_be_resumed(checkpoint, teacher_pt, tmp_path):
    assert state.resumable(tmp_path) is None and state.restore(tmp_path) is None
    torch.save({**checkpoint, "epoch": -1, "optimizer": None}, tmp_path / state.LAST)
    assert state.resumable(tmp_path) is None, "a stripped checkpoint is finished"
    torch.save({**checkpoint, "epoch": 4}, tmp_path / state.LAST)
    assert state.resumable(tmp_path) == state.restore(tmp_path) == tmp_path / state.LAST
    torch.save({**checkpoint, "epoch": NEW_EPOCHS - 1}, tmp_path / state.LAST)
    assert state.restore(tmp_path) is None, "its last epoch is done"


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


@pytest.mark.parametrize(
    "odd",
    [
        "1,10\n2,20\n-",  # a full disk
        "1,10\n2,20\n3,3",
        "\n1,10\n\n  \n2,20\n",
        "1,10\n2,20\n\udcff\udc80\x00,\udcfe\n",  # not text
        "1,10\n2\n2,20,30\n2,20\n",  # columns missing, or too many
        "1,10\none,two\n2,20\n1.5,1\n0,3\n-1,3\n",
        "2,19\n1,10\n2,20\n",  # written twice, and not in order
    ],
)
def test_of_odd_rows_the_whole_ones_stay(odd, tmp_path):
    results = tmp_path / "results.csv"
    results.write_text(f"epoch,time\n{odd}", encoding="utf-8", errors="surrogateescape")
    state.drop_later_rows(results, 2)
    assert results.read_text() == "epoch,time\n1,10\n2,20\n"


@pytest.mark.parametrize("torn", ["", "\n\n", "epoch,time\n", "epoch,time\n\n", "1,10\n2,20\n", "\udcff\x00"])
def test_a_table_without_a_row_or_a_header_begins_anew(torn, tmp_path):
    results = tmp_path / "results.csv"
    results.write_text(torn, encoding="utf-8", errors="surrogateescape")
    state.drop_later_rows(results, 2)
    assert not results.exists()


def test_rows_that_are_lost_are_told(tmp_path, capsys):
    results = tmp_path / "results.csv"
    results.write_text("epoch,time\n1,10\n2\n")
    state.drop_later_rows(results, 2)
    assert "lacks the rows of 1 of 2 epochs" in capsys.readouterr().out
    assert results.read_text() == "epoch,time\n1,10\n"
