"""A lock that lets one process at a time write to a folder."""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import has_ended, process_identity

LOCK = ".lock"
_ENDED_HOLDER_S = 30.0


class FolderLock:
    """A lock on a folder, used as a context manager or through `acquire` and `release`.

    It is a lock of the operating system (flock), which is released even if its holder is killed. It works on local
    disks and, on Linux, on NFS and SMB; on a file system without such locks, filelock falls back to a lock file. The
    file `.lock.json` in the folder describes the holder, for the error message of a second process. If the holder is a
    process of this machine that has ended, the lock is about to be released, and `acquire` waits for it.

    Args:
        folder: existing folder to lock.
        name: name of the lock file, for a folder with several locks.
    """

    def __init__(self, folder: Path, name: str = LOCK):
        self.folder = folder
        self._file, self._holder = folder / name, folder / f"{name}.json"
        self._lock = FileLock(self._file, timeout=0, thread_local=False)
        self._identity: tuple[int, int] | None = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._identity is not None

    def acquire(self) -> None:
        """Acquire the lock.

        Raises:
            FGDError: another process holds it (the message names the process), or the folder cannot be locked.
        """
        if not self.folder.is_dir():  # filelock would create it
            raise FGDError(f"{self.folder} does not exist or is not a folder")
        try:
            self._lock.acquire()
        except Timeout as error:
            if not self._file.exists():  # released in the meantime
                return self.acquire()
            if not (self._holder_has_ended() and self._wait()):
                raise FGDError(f"{self.folder} is in use by {self._owner()}: wait until it ends, or stop it") from error
        except OSError as error:
            raise FGDError(
                f"cannot lock {self.folder} ({one_line(error)}): a run must be able to write there"
            ) from error
        self._identity = self._file_identity()
        now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        process = process_identity(os.getpid())
        holder = {"pid": os.getpid(), "host": platform.node(), "since": now, "process": process}
        with suppress(OSError):  # only for messages; a full disk must not stop the run
            self._holder.write_text(json.dumps(holder) + "\n", encoding="utf-8")

    def release(self) -> None:
        """Release the lock; does nothing if it is not held."""
        if self.held:
            with suppress(OSError):
                if self._file_identity() == self._identity:
                    self._holder.unlink(missing_ok=True)
                    self._file.unlink()  # while held: a process that locks the removed file notices and opens a new one
            self._identity = None
            self._lock.release()

    def check(self) -> None:
        """Check that the folder is still the one that was locked.

        Raises:
            FGDError: the folder was removed or replaced.
        """
        if self._file_identity() != self._identity:
            raise FGDError(f"{self.folder} was removed while it was in use: start again")

    def _file_identity(self) -> tuple[int, int] | None:
        """Return device and inode of the lock file; the inode is not reused while the file is open."""
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _holder_has_ended(self) -> bool:
        """Return whether the recorded holder is a process of this machine that has ended."""
        try:
            return has_ended(json.loads(self._holder.read_text(encoding="utf-8"))["process"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return False

    def _wait(self) -> bool:
        """Wait for the lock of a holder that has ended, until another one is recorded; return whether it was acquired.

        A killed process may leave a child that dies a moment later, and a network file system notices the end late.
        """
        end = time.monotonic() + _ENDED_HOLDER_S
        while self._holder_has_ended() and time.monotonic() < end:
            with suppress(Timeout):
                self._lock.acquire(timeout=0.5, poll_interval=0.05)
                return True
        return False

    def _owner(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {int(holder['pid'])} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, TypeError, KeyError):
            return "another process"


def remove_stale_lock(folder: Path) -> None:
    """Remove the lock files of a killed process from a folder; those of a running process stay."""
    if (folder / LOCK).exists():
        with suppress(FGDError), FolderLock(folder):
            pass
