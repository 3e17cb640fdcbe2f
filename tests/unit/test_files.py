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


def test_a_folder_that_cannot_be_created_is_a_one_line_error(tmp_path):
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


def test_folders_and_pipes_are_never_replaced(tmp_path):
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
    """Return a temporary path in a folder that the process owns."""
    process.stdin.write(f"{folder / 'student.onnx'}\n")
    process.stdin.flush()
    return Path(process.stdout.readline().strip())


@pytest.fixture
def writer():
    """A process that prints the temporary path for each path that it reads."""
    code = (
        "import sys; from pathlib import Path; from fgd_yolo.files import partial_path\n"
        "for line in sys.stdin: print(partial_path(Path(line.strip())), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_files_of_a_killed_process_are_removed_and_those_of_a_running_one_are_not(writer, folder):
    others, own = partial_of(writer, folder), partial_path(folder / "student.onnx")
    others.mkdir()
    (others / "half").touch()
    for path in (own, folder / "student.onnx", folder / ".partial-of-my-own"):
        path.touch()
    remove_leftovers(folder)
    assert len(list(folder.iterdir())) == 4
    writer.kill()  # not waited for: a zombie process still has its id
    deadline = time.monotonic() + 30
    while others.exists() and time.monotonic() < deadline:
        remove_leftovers(folder)
    assert sorted(folder.iterdir()) == sorted([own, folder / "student.onnx", folder / ".partial-of-my-own"])


def test_a_process_with_a_reused_id_does_not_own_the_files_of_the_previous_one(folder):
    own = partial_path(folder / "a")
    own.touch()
    before_us = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{os.getpid()}-1"))
    before_us.touch()
    remove_leftovers(folder)
    assert list(folder.iterdir()) == [own]


def test_files_of_another_machine_stay_for_a_day(folder):
    own = partial_path(folder / "a")
    machine = own.name.removeprefix(".partial-").partition("-")[0]
    others = [own.with_name(own.name.replace(machine, f"0123456{digit}")) for digit in (1, 2)]
    for path in others:
        path.touch()
    os.utime(others[1], (time.time() - 25 * 3600,) * 2)
    remove_leftovers(folder)
    assert list(folder.iterdir()) == others[:1]


def test_subfolders_are_cleaned_only_if_recursive_and_links_are_not_followed(writer, folder):
    (folder / "student").mkdir()
    (folder / "kept").mkdir()
    (folder / "kept/image").touch()
    below, link = partial_of(writer, folder / "student"), partial_of(writer, folder)
    below.touch()
    link.symlink_to(folder / "kept")
    writer.kill()
    writer.wait()
    remove_leftovers(folder)
    assert below.exists() and not link.is_symlink() and (folder / "kept/image").exists()
    remove_leftovers(folder, recursive=True)
    assert not below.exists()
    remove_leftovers(folder / "missing")


def test_names_of_maximum_length_can_be_written(folder):
    for name in ("x" * 251 + ".txt", "\u00e9" * 125 + ".txt"):
        with atomic_path(folder / name) as path:
            assert path.suffix == ".txt"
            path.write_text("complete")
        assert (folder / name).read_text() == "complete"


def test_two_writers_of_a_file_have_separate_temporary_files(folder):
    with atomic_path(folder / "file") as one, atomic_path(folder / "file") as other:
        one.write_text("one")
        other.write_text("other")
    assert (folder / "file").read_text() == "one" and len(list(folder.iterdir())) == 1


def test_digests_are_those_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_json({"b": 1, "a": Path("x")}) == sha256_of_json({"a": "x", "b": 1})
