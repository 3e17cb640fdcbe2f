"""A folder lock has one holder, which error messages name; a killed process holds no lock."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from threading import Timer

import pytest

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import process_identity
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
    """A function that starts a process which holds the lock of the folder, with a child process if `fork` is given."""
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


def test_a_second_process_gets_an_error_with_the_holder_and_the_time(holder, folder):
    process = holder()
    with pytest.raises(FGDError) as error, FolderLock(folder):
        pass
    holder_text = rf"process {process.pid} on {re.escape(platform.node())} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(rf"{re.escape(str(folder))} is in use by {holder_text}: wait until", str(error.value))


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_the_lock_of_a_killed_process_is_free_at_once_even_while_its_child_runs(words, holder, folder):
    process = holder(*words)
    process.kill()
    process.wait()
    with FolderLock(folder) as lock:
        assert lock.held


def test_the_lock_of_a_holder_that_has_ended_is_waited_for(holder, folder):
    process = holder()
    record = json.loads((folder / ".lock.json").read_text())
    ended = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.DEVNULL)
    record["process"] = process_identity(ended.pid)
    ended.wait()
    (folder / ".lock.json").write_text(json.dumps(record))
    Timer(0.3, process.kill).start()
    with FolderLock(folder) as lock:
        assert lock.held and process.wait() == -9


def test_a_holder_on_another_machine_is_not_waited_for(holder, folder):
    process = holder()
    running = (folder / ".lock.json").read_text()
    (folder / ".lock.json").write_text(running.replace(process_identity(process.pid), "00000000-1-1"))
    with pytest.raises(FGDError, match=f"in use by process {process.pid}"), FolderLock(folder):
        pass  # of another machine, so nothing is known about it


def test_a_released_folder_can_be_locked_again_and_contains_no_lock_files(folder):
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


def test_a_damaged_holder_file_is_not_an_error_of_its_own(holder, folder):
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


def test_a_folder_that_cannot_be_locked_is_a_one_line_error(folder):
    (folder / ".lock").mkdir()
    with pytest.raises(FGDError, match=r"cannot lock .*run \(.+\): a run must be able to write there$") as error:
        FolderLock(folder).acquire()
    assert "\n" not in one_line(error.value)
    with pytest.raises(FGDError, match=r"missing does not exist or is not a folder"):
        FolderLock(folder / "missing").acquire()
    assert not (folder / "missing").exists()


def test_no_two_of_several_processes_hold_the_lock_at_once(folder):
    """Each process increments a counter in a file without other protection."""
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


def test_lock_files_of_a_killed_process_are_removed_and_those_of_a_running_one_stay(holder, folder):
    process = holder()
    remove_stale_lock(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", ".lock.json"]
    process.kill()
    process.wait()
    remove_stale_lock(folder)
    remove_stale_lock(folder / "none")
    assert list(folder.iterdir()) == []
