"""One process at a time, which is named; a killed one holds nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.locking import FolderLock, remove_stale_lock

HOLD = (
    "import os, sys, time; from pathlib import Path; from fgd_yolo.locking import FolderLock\n"
    "lock = FolderLock(Path(sys.argv[1]))\n"
    "lock.acquire()\n"
    "child = os.fork() if 'fork' in sys.argv else None\n"
    "os.write(1, b'held\\n')\n"
    "time.sleep(60)"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def holder(folder):
    """Start a process that holds the lock of the test's folder, and a child of its own where asked; return it."""
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, folder, *words], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        for _ in range(1 + len(words)):
            assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


def test_the_second_is_told_who_holds_the_folder_and_since_when(holder, folder):
    process = holder()
    with pytest.raises(FGDError) as error, FolderLock(folder):
        pass
    who = rf"process {process.pid} on {re.escape(platform.node())} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(rf"{re.escape(str(folder))} is in use by {who}: wait until", str(error.value))


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_a_killed_holders_lock_is_free_at_once_even_while_its_child_lives(words, holder, folder):
    process = holder(*words)
    process.kill()
    process.wait()
    with FolderLock(folder) as lock:
        assert lock.held


def test_a_folder_that_is_given_back_is_free_and_says_nothing_of_its_last_holder(folder):
    lock = FolderLock(folder)
    with lock, pytest.raises(FGDError, match=f"process {os.getpid()} on"):
        FolderLock(folder).acquire()
    assert not lock.held and list(folder.iterdir()) == []
    lock.release()
    with FolderLock(folder), FolderLock(folder, ".other"):
        pass


def test_two_locks_of_different_names_share_a_folder(folder):
    with FolderLock(folder) as one, FolderLock(folder, ".worker.lock") as other:
        assert one.folder == other.folder == folder


def test_a_holders_name_that_cannot_be_read_is_no_error_of_its_own(holder, folder):
    holder()
    for content in (b"", b"[1]", b"{}", bytes(range(256)), b'{"pid": "x"}'):
        (folder / ".lock.json").write_bytes(content)
        with pytest.raises(FGDError, match="is in use by another process: wait"):
            FolderLock(folder).acquire()


def test_a_folder_that_was_removed_or_replaced_is_noticed(folder):
    with FolderLock(folder) as lock:
        lock.check()
        shutil.rmtree(folder)
        with pytest.raises(FGDError, match="run was removed while it was in use"):
            lock.check()
        folder.mkdir()
        with FolderLock(folder) as other, pytest.raises(FGDError, match="run was removed while it was in use"):
            other.check()
            lock.check()
    assert not (folder / ".lock.json").exists()


def test_a_place_that_cannot_be_locked_is_one_line(folder):
    (folder / ".lock").mkdir()
    with pytest.raises(FGDError, match=r"cannot lock .*run \(.+\): a run must be able to write there$") as error:
        FolderLock(folder).acquire()
    assert "\n" not in one_line(error.value)
    with pytest.raises(FGDError, match=r"missing does not exist or is not a folder"):
        FolderLock(folder / "missing").acquire()
    assert not (folder / "missing").exists()


def test_of_many_that_take_turns_never_two_hold_the_folder_at_once(folder):
    """Each counts one further in a file that has no other protection."""
    code = (
        "import sys, time; from pathlib import Path; from fgd_yolo.errors import FGDError\n"
        "from fgd_yolo.locking import FolderLock\n"
        "folder, done, end = Path(sys.argv[1]), 0, time.monotonic() + 60\n"
        "while done < 20 and time.monotonic() < end:\n"
        "    try:\n"
        "        with FolderLock(folder):\n"
        "            count = folder.parent / 'count'\n"
        "            now = int(count.read_text())\n"
        "            time.sleep(0)\n"
        "            count.write_text(str(now + 1))\n"
        "            done += 1\n"
        "    except FGDError: time.sleep(0.001)\n"
        "print(done)"
    )
    (folder.parent / "count").write_text("0")
    words = [sys.executable, "-c", code, str(folder)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == ["20"] * 3
    assert (folder.parent / "count").read_text() == "60" and list(folder.iterdir()) == []


def test_what_a_killed_holder_left_is_removed_and_what_is_held_stays(holder, folder):
    process = holder()
    remove_stale_lock(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", ".lock.json"]
    process.kill()
    process.wait()
    remove_stale_lock(folder)
    remove_stale_lock(folder / "none")
    assert list(folder.iterdir()) == []
