from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.files import (
    atomic_path,
    numbered_folder,
    partial_path,
    remove_leftovers,
    sha256_of_file,
    sha256_of_json,
)


def test_a_place_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FGDError, match="cannot create the folder"):
        numbered_folder(tmp_path / "file" / "below")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "run" / "student.pt"
    target.parent.mkdir()
    target.write_text("old")
    with (
        pytest.raises(FGDError, match=r"cannot write .*student\.pt: No space left on device"),
        atomic_path(target) as path,
    ):
        path.write_text("ha")
        raise OSError(28, "No space left on device")
    assert [(file.name, file.read_text()) for file in target.parent.iterdir()] == [("student.pt", "old")]


def test_what_is_no_file_is_never_replaced(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, folder):
        with pytest.raises(FGDError, match="it exists and is not a file"), atomic_path(target) as path:
            path.write_text("ha")
    assert pipe.is_fifo() and list(folder.iterdir()) == [pipe]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def partial_of(process: subprocess.Popen, folder: Path) -> Path:
    """Let a process name something of its own in a folder."""
    process.stdin.write(f"{folder / 'student.onnx'}\n")
    process.stdin.flush()
    return Path(process.stdout.readline().strip())


@pytest.fixture
def writer():
    """A process that answers each path with the name of a half-written file beside it."""
    code = (
        "import sys; from pathlib import Path; from fgd_yolo.files import partial_path\n"
        "for line in sys.stdin: print(partial_path(Path(line.strip())), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(writer, folder):
    theirs, ours = partial_of(writer, folder), partial_path(folder / "student.onnx")
    theirs.mkdir()
    (theirs / "half").touch()
    for path in (ours, folder / "student.onnx", folder / ".partial-of-my-own"):
        path.touch()
    remove_leftovers(folder)
    assert len(list(folder.iterdir())) == 4
    writer.kill()  # not waited for: a zombie still has its number
    deadline = time.monotonic() + 30
    while theirs.exists() and time.monotonic() < deadline:
        remove_leftovers(folder)
    assert sorted(folder.iterdir()) == sorted([ours, folder / "student.onnx", folder / ".partial-of-my-own"])


def test_a_process_that_got_the_number_of_a_dead_one_owns_nothing_of_it(folder):
    ours = partial_path(folder / "a")
    ours.touch()
    before_us = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{os.getpid()}-1"))
    before_us.touch()
    remove_leftovers(folder)
    assert list(folder.iterdir()) == [ours]


def test_what_another_machine_writes_stays_for_a_day(folder):
    ours = partial_path(folder / "a")
    machine = ours.name.removeprefix(".partial-").partition("-")[0]
    theirs = [ours.with_name(ours.name.replace(machine, f"0123456{digit}")) for digit in (1, 2)]
    for path in theirs:
        path.touch()
    os.utime(theirs[1], (time.time() - 25 * 3600,) * 2)
    remove_leftovers(folder)
    assert list(folder.iterdir()) == theirs[:1]


def test_folders_below_are_swept_only_where_asked_and_links_are_not_followed(writer, folder):
    (folder / "student").mkdir()
    (folder / "kept").mkdir()
    (folder / "kept/photo").touch()
    below, link = partial_of(writer, folder / "student"), partial_of(writer, folder)
    below.touch()
    link.symlink_to(folder / "kept")
    writer.kill()
    writer.wait()
    remove_leftovers(folder)
    assert below.exists() and not link.is_symlink() and (folder / "kept/photo").exists()
    remove_leftovers(folder, recursive=True)
    assert not below.exists()
    remove_leftovers(folder / "missing")


def test_a_name_as_long_as_a_disk_takes_is_written_too(folder):
    for name in ("x" * 251 + ".txt", "\u00e9" * 125 + ".txt"):
        with atomic_path(folder / name) as path:
            assert path.suffix == ".txt"
            path.write_text("whole")
        assert (folder / name).read_text() == "whole"


def test_two_threads_that_write_the_same_file_do_not_share_a_half(folder):
    with atomic_path(folder / "file") as one, atomic_path(folder / "file") as other:
        one.write_text("one")
        other.write_text("other")
    assert (folder / "file").read_text() == "one" and len(list(folder.iterdir())) == 1


def test_digests_are_those_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_json({"b": 1, "a": Path("x")}) == sha256_of_json({"a": "x", "b": 1})
