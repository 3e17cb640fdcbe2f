"""Checkpoint pairs survive a kill at any moment."""

from __future__ import annotations

import errno
import io
import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.training import checkpoints
from fixtures import save_checkpoint

OPTIONS = {"method": "fgd", "temperature": 0.5}
NEW_EPOCHS = 9


@pytest.fixture(scope="module")
def checkpoint(student_yaml, tiny_data, tmp_path_factory):
    """The content of an Ultralytics last.pt, with an empty optimizer state."""
    file = save_checkpoint(tmp_path_factory.mktemp("plain") / "plain.pt", student_yaml, tiny_data)
    plain = torch.load(file, weights_only=False)
    arguments = {**(plain["train_args"] or {}), "epochs": NEW_EPOCHS}
    return {**plain, "optimizer": {"state": {}}, "train_args": arguments}


@pytest.fixture
def commit(checkpoint):
    """Write the pair of an epoch as a training does."""

    def write(weights_dir, epoch: int, final: bool = False) -> None:
        weights_dir.mkdir(parents=True, exist_ok=True)
        with checkpoints.staging(weights_dir) as folder:
            if not final:
                checkpoints.write_side_file(folder, side_of(epoch))
            content = {**checkpoint, "epoch": -1, "optimizer": None} if final else {**checkpoint, "epoch": epoch}
            for name in (checkpoints.LAST, checkpoints.BEST):
                torch.save(content, folder / name)
            checkpoints.commit(folder, weights_dir, final=final)

    return write


def side_of(epoch: int) -> dict:
    tensors = {"0.align.weight": torch.full((2, 3), float(epoch)), "0.align.bias": torch.zeros(0)}
    return {
        "epoch": epoch,
        "teacher": "digest",
        "options": OPTIONS,
        "features": {"factor": 0.1 + epoch},
        "losses": tensors,
    }


def epoch_of(path) -> int:
    return torch.load(path, weights_only=False)["epoch"]


def listed(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


PAIRS = ["best.pt", "fgd_last.safetensors", "last.pt", "previous", "previous/fgd_last.safetensors", "previous/last.pt"]


def test_a_side_file_holds_exact_tensors_and_plain_values_and_no_code(tmp_path):
    exact = {**side_of(3), "features": {"factor": 0.1 + 0.2, "latest_ratio": None, "batches": 7}}
    exact["losses"]["0.align.weight"] = torch.rand(2, 3) / 3
    checkpoints.write_side_file(tmp_path, exact)
    side = checkpoints.read_side_file(tmp_path / checkpoints.SIDE)
    assert {key: side[key] for key in side if key != "losses"} == {k: v for k, v in exact.items() if k != "losses"}
    assert all(torch.equal(side["losses"][name], value) for name, value in exact["losses"].items())
    # The safetensors format: eight bytes of length, a header in JSON, then the numbers.
    data = (tmp_path / checkpoints.SIDE).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["0.align.weight"]["shape"] == [2, 3] and json.loads(header["__metadata__"]["fgd_yolo"])["epoch"] == 3


@pytest.mark.parametrize("wrong", [{"epoch": "2"}, {"teacher": 5}, {"options": ["features.ratio"]}, {"options": None}])
def test_a_side_file_with_values_of_a_wrong_type_is_damaged(wrong, tmp_path):
    plain = {"epoch": 2, "teacher": "abc", "options": {}} | wrong
    data = safetensors.torch.save({"a": torch.zeros(1)}, metadata={"fgd_yolo": json.dumps(plain)})
    (tmp_path / checkpoints.SIDE).write_bytes(data)
    with pytest.raises(FGDError, match=f"is damaged .*{next(iter(wrong))}"):
        checkpoints.read_side_file(tmp_path / checkpoints.SIDE)


def test_every_file_named_pt_is_a_checkpoint_that_loads_at_every_moment(commit, tmp_path, monkeypatch):
    weights_dir, loaded_names = tmp_path / "weights", []

    def look():
        for path in [*weights_dir.rglob("*.pt")]:
            assert isinstance(torch.load(path, weights_only=False)["model"], torch.nn.Module)
            loaded_names.append(path.name)

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
    assert listed(weights_dir) == PAIRS[:3], "the previous pair is removed when the training is over"
    assert len(loaded_names) > 20


def test_the_previous_pair_stays_beside_the_newest_one(commit, tmp_path):
    commit(tmp_path / "weights", 3)
    commit(tmp_path / "weights", 4)
    for folder, epoch in ((tmp_path / "weights", 4), (tmp_path / "weights/previous", 3)):
        side = checkpoints.read_side_file(folder / checkpoints.SIDE)
        assert epoch_of(folder / checkpoints.LAST) == side["epoch"] == epoch
    assert checkpoints.restore(tmp_path / "weights") == tmp_path / "weights/last.pt"
    assert checkpoints.load_side_file(tmp_path / "weights", 4)["features"] == {"factor": 4.1}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("killed_at", range(9))
def test_a_kill_between_any_two_renames_leaves_a_matching_pair(killed_at, links, commit, tmp_path, monkeypatch):
    weights_dir, renames = tmp_path / "weights", 0
    if not links:

        def refused(*_):
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(checkpoints.os, "link", refused)
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
    monkeypatch.setattr(checkpoints.shutil, "rmtree", dying(remove))
    with suppress(KeyboardInterrupt):
        commit(weights_dir, 2)
    monkeypatch.undo()
    last = checkpoints.restore(weights_dir)
    epoch = epoch_of(last)
    assert epoch in {1, 2} and checkpoints.load_side_file(weights_dir, epoch)["epoch"] == epoch
    assert epoch_of(weights_dir / checkpoints.BEST) >= epoch, "last.pt records a fitness that best.pt does not have"
    commit(weights_dir, epoch + 1)
    assert listed(weights_dir) == PAIRS


def test_a_second_kill_in_the_same_place_leaves_a_matching_pair(commit, tmp_path, monkeypatch):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    rename = type(tmp_path).replace

    def dying_before_last(self, target):
        if target == weights_dir / checkpoints.LAST:
            raise KeyboardInterrupt
        return rename(self, target)

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(tmp_path), "replace", dying_before_last)
            commit(weights_dir, 5)
        assert epoch_of(checkpoints.restore(weights_dir)) == 4
        assert checkpoints.load_side_file(weights_dir, 4)["epoch"] == 4


def damaged(path, how: str) -> None:
    intact = path.read_bytes()
    path.unlink()
    contents = {"cut": intact[: len(intact) // 2], "empty": b"", "garbage": bytes(range(256)) * 40}
    if how in contents:
        path.write_bytes(contents[how])
    elif how == "of another epoch":
        checkpoints.write_side_file(path.parent, side_of(77))
    elif how == "NaN":
        content = torch.load(io.BytesIO(intact), weights_only=False)
        next(content["model"].parameters()).data.fill_(float("nan"))
        torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((checkpoints.LAST, how) for how in ("cut", "empty", "garbage", "NaN", "gone")),
        *((checkpoints.SIDE, how) for how in ("cut", "empty", "garbage", "of another epoch", "gone")),
    ],
)
def test_a_damaged_newest_pair_falls_back_to_the_previous_one_with_a_warning(name, how, commit, capsys):
    weights_dir = Path("weights")  # short, since a long path is shortened in messages
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    damaged(weights_dir / name, how)
    last = checkpoints.restore(weights_dir)
    assert epoch_of(last) == 3 and checkpoints.load_side_file(weights_dir, 3)["features"] == {"factor": 3.1}
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 1 and name in output and "the previous checkpoint, of epoch 4" in output


@pytest.mark.parametrize("name", [checkpoints.LAST, checkpoints.SIDE])
def test_two_damaged_pairs_stop_with_one_line(name, commit):
    weights_dir = Path("weights")
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    damaged(weights_dir / name, "cut")
    damaged(weights_dir / "previous" / name, "empty")
    with pytest.raises(FGDError, match=rf"{name}.*the previous pair is not intact either: start a new run") as error:
        checkpoints.restore(weights_dir)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [checkpoints.LAST, checkpoints.SIDE])
def test_a_folder_in_place_of_a_file_is_named_and_nothing_is_replaced(name, commit, tmp_path):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4)
    (weights_dir / name).unlink()
    (weights_dir / name).mkdir()
    with pytest.raises(FGDError, match=rf"{name} is a folder and should be a file: move it away"):
        checkpoints.restore(weights_dir)
    assert (weights_dir / name).is_dir()


def test_a_training_that_has_ended_needs_no_last_checkpoint(commit, tmp_path, capsys):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 3)
    commit(weights_dir, 4, final=True)
    assert checkpoints.restore(weights_dir) is None and capsys.readouterr().out == ""
    (weights_dir / checkpoints.LAST).write_bytes(b"")
    assert checkpoints.restore(weights_dir) is None
    assert "best.pt is intact" in capsys.readouterr().out


def test_a_training_killed_in_its_final_evaluation_gets_its_final_checkpoints(commit, tmp_path):
    weights = tmp_path / "weights"
    for epoch in (NEW_EPOCHS - 2, NEW_EPOCHS - 1):
        commit(weights, epoch)
    assert checkpoints.restore(weights) is None and (weights / checkpoints.PREVIOUS).is_dir()
    checkpoints.complete(weights)
    assert listed(weights) == sorted([checkpoints.BEST, checkpoints.LAST, checkpoints.SIDE])
    for name in (checkpoints.LAST, checkpoints.BEST):
        assert checkpoints.is_finished(weights / name) and epoch_of(weights / name) == -1
    written = (weights / checkpoints.BEST).stat().st_mtime_ns
    checkpoints.complete(weights)
    assert (weights / checkpoints.BEST).stat().st_mtime_ns == written, "nothing is left to do"


def test_a_training_without_distillation_falls_back_to_its_previous_checkpoint(checkpoint, tmp_path):
    weights_dir = tmp_path / "weights"
    weights_dir.mkdir()
    for epoch in range(2):
        with checkpoints.staging(weights_dir) as folder:
            torch.save({**checkpoint, "epoch": epoch}, folder / checkpoints.LAST)
            checkpoints.commit(folder, weights_dir)
    assert listed(weights_dir) == ["last.pt", "previous", "previous/last.pt"]
    damaged(weights_dir / checkpoints.LAST, "cut")
    assert epoch_of(checkpoints.restore(weights_dir)) == 0


def test_a_full_disk_leaves_the_previous_pair_and_the_message_names_it(commit, tmp_path):
    weights_dir = tmp_path / "weights"
    commit(weights_dir, 0)
    before = listed(tmp_path)
    with (
        pytest.raises(FGDError, match=r"No space left.*previous ones are intact: make room"),
        checkpoints.staging(weights_dir) as folder,
    ):
        (folder / checkpoints.LAST).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert epoch_of(weights_dir / checkpoints.LAST) == 0
    assert listed(tmp_path) == before


def test_without_an_earlier_checkpoint_the_message_mentions_none(tmp_path):
    weights_dir = tmp_path / "weights"
    weights_dir.mkdir()
    with (
        pytest.raises(FGDError, match=r"No space left on device\); make room, then start again$"),
        checkpoints.staging(weights_dir),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("gone", [".", "weights"])
def test_a_folder_removed_during_the_training_is_not_created_again(gone, commit, tmp_path):
    weights_dir = tmp_path / "run" / "weights"
    commit(weights_dir, 0)
    with (
        pytest.raises(FGDError, match="weights was removed while the training ran"),
        checkpoints.staging(weights_dir) as folder,
    ):
        shutil.rmtree(tmp_path / "run" / gone)
        (folder / checkpoints.LAST).write_bytes(b"half")
        checkpoints.commit(folder, weights_dir)
    with pytest.raises(FGDError, match="weights was removed"), checkpoints.staging(weights_dir):
        pass
    assert not weights_dir.exists()


def test_only_an_unfinished_training_can_be_resumed(checkpoint, teacher_pt, tmp_path):
    assert checkpoints.resumable(tmp_path) is None and checkpoints.restore(tmp_path) is None
    torch.save({**checkpoint, "epoch": -1, "optimizer": None}, tmp_path / checkpoints.LAST)
    assert checkpoints.resumable(tmp_path) is None, "a stripped checkpoint is finished"
    torch.save({**checkpoint, "epoch": 4}, tmp_path / checkpoints.LAST)
    assert checkpoints.resumable(tmp_path) == checkpoints.restore(tmp_path) == tmp_path / checkpoints.LAST
    torch.save({**checkpoint, "epoch": NEW_EPOCHS - 1}, tmp_path / checkpoints.LAST)
    assert checkpoints.restore(tmp_path) is None, "its last epoch is done"


def test_a_damaged_checkpoint_is_named(tmp_path, tiny_data):
    save_checkpoint(tmp_path / checkpoints.LAST, "yolov8n.yaml", tiny_data)
    intact = (tmp_path / checkpoints.LAST).read_bytes()
    (tmp_path / checkpoints.LAST).write_bytes(intact[: len(intact) // 2])
    with pytest.raises(FGDError, match="damaged"):
        checkpoints.resumable(tmp_path)


def test_rows_of_epochs_that_run_again_are_dropped(tmp_path):
    results = tmp_path / "results.csv"
    checkpoints.drop_later_rows(results, 1)
    assert not results.exists()
    results.write_text("epoch,time\n1,10\n2,20\n10,30\n")
    checkpoints.drop_later_rows(results, 2)
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
def test_complete_rows_stay_and_malformed_ones_are_dropped(odd, tmp_path):
    results = tmp_path / "results.csv"
    results.write_text(f"epoch,time\n{odd}", encoding="utf-8", errors="surrogateescape")
    checkpoints.drop_later_rows(results, 2)
    assert results.read_text() == "epoch,time\n1,10\n2,20\n"


@pytest.mark.parametrize("torn", ["", "\n\n", "epoch,time\n", "epoch,time\n\n", "1,10\n2,20\n", "\udcff\x00"])
def test_a_table_without_a_row_or_a_header_is_removed(torn, tmp_path):
    results = tmp_path / "results.csv"
    results.write_text(torn, encoding="utf-8", errors="surrogateescape")
    checkpoints.drop_later_rows(results, 2)
    assert not results.exists()


def test_lost_rows_are_reported(tmp_path, capsys):
    results = tmp_path / "results.csv"
    results.write_text("epoch,time\n1,10\n2\n")
    checkpoints.drop_later_rows(results, 2)
    assert "the rows of 1 of 2 epochs are missing or damaged" in capsys.readouterr().out
    assert results.read_text() == "epoch,time\n1,10\n"
