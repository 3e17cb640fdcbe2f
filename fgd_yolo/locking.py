"""A folder that one process at a time writes to."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fgd_yolo.errors import FGDError, one_line

LOCK = ".lock"
HOLDER = ".lock.json"


class FolderLock:
    """Keeps other processes out of a folder, as a context manager or by `acquire` and `release`.

    The lock is the operating system's (flock), which frees it when its holder ends, however that ends. It works on
    local disks and, on Linux, on NFS and SMB; where a disk has no such locks filelock falls back to a file that names
    its holder. What is written into the folder, `.lock.json`, only serves the message to the one who comes second.

    Args:
        folder: to lock; it must exist.
        name: of the lock, where a folder has several.
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
        """Take the lock.

        Raises:
            FGDError: another process has it, which is named, or the folder cannot be locked.
        """
        if not self.folder.is_dir():  # filelock would make it
            raise FGDError(f"{self.folder} is no folder, or was removed")
        try:
            self._lock.acquire()
        except Timeout as error:
            if not self._file.exists():  # its holder gave it back at this very moment
                return self.acquire()
            raise FGDError(
                f"{self.folder} is in use by {self._who()}: wait until that has ended, or stop it"
            ) from error
        except OSError as error:
            raise FGDError(f"cannot lock {self.folder} ({one_line(error)}): a run needs to write there") from error
        self._identity = self._found()
        holder = {"pid": os.getpid(), "host": platform.node(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        with suppress(OSError):  # a message for others; a full disk must not stop what might free it
            self._holder.write_text(json.dumps(holder) + "\n", encoding="utf-8")

    def release(self) -> None:
        """Give the lock back; no error where it is not held."""
        if self.held:
            with suppress(OSError):
                if self._found() == self._identity:
                    self._holder.unlink(missing_ok=True)
                    self._file.unlink()  # while it is held: who locks the removed file sees that, and opens a new one
            self._identity = None
            self._lock.release()

    def check(self) -> None:
        """Stop where the folder was removed or replaced since it was locked.

        Raises:
            FGDError: it was.
        """
        if self._found() != self._identity:
            raise FGDError(f"{self.folder} was removed while it was in use: start again")

    def _found(self) -> tuple[int, int] | None:
        """Which file the lock's is now: while this one is open, its number is not given to another."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {int(holder['pid'])} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, TypeError, KeyError):
            return "another process"


def remove_left_lock(folder: Path) -> None:
    """Remove the lock's files that a killed process left in a folder; a lock that somebody holds stays."""
    if (folder / LOCK).exists():
        with suppress(FGDError), FolderLock(folder):
            pass
