"""Numbered result folders, atomic writes, and removal of the temporary files of killed processes."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from fgd_yolo.errors import FGDError

_OWNED = re.compile(r"\.partial-(?P<process>(?P<machine>[0-9a-f]{8})-\d+-\d+)-\d+-")
_FOREIGN_AFTER_S = 24 * 3600.0  # for other machines, whose processes cannot be checked
_LONGEST_NAME = 100  # bytes of the target's name; file systems allow 255 in total
_MIDDLE_BYTES = 64 * 1024
_numbers = count()


def numbered_folder(path: Path) -> Path:
    """Create and return a new folder; if it exists, a numbered one as in Ultralytics (`NAME-2`, ...).

    Raises:
        FGDError: the folder cannot be created.
    """
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise FGDError(f"cannot create the folder {folder}: {error.strerror or error}; choose another") from error
        return folder


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    return sha256(Path(path).read_bytes()).hexdigest()


def middle_of_file(path: Path, size: int) -> bytes:
    """Return the middle 64 KiB of a file, or all of a smaller one.

    Args:
        path: the file.
        size: its size in bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(max(size - _MIDDLE_BYTES, 0) // 2)
        return file.read(_MIDDLE_BYTES)


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a value as JSON, in hexadecimal; keys are sorted, unknown types become text."""
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it if the block succeeds.

    Raises:
        FGDError: the file cannot be written; the target is unchanged.
    """
    if target.exists() and not target.is_file():
        raise FGDError(f"cannot write {target}: it exists and is not a file")
    partial = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise FGDError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # if the disk cannot be written to
            partial.unlink(missing_ok=True)


@contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside `target`, which is removed at the end with its contents.

    Raises:
        OSError: the folder cannot be created; the parent of `target` must exist.
    """
    folder = partial_path(target)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def partial_path(target: Path) -> Path:
    """Return a new hidden path beside `target` whose name identifies this process as its owner."""
    owner = process_identity(os.getpid())
    name = os.fsdecode(os.fsencode(target.name)[-_LONGEST_NAME:])  # the end, which holds the suffix
    return target.with_name(f".partial-{owner}-{next(_numbers)}-{name}")


def remove_leftovers(folder: Path, recursive: bool = False) -> None:
    """Remove temporary files and folders that killed processes left in a folder.

    Those of running processes stay, and those of another machine or container stay for a day.

    Args:
        folder: folder to clean up; may be missing.
        recursive: search subfolders too.
    """
    with suppress(OSError):  # another process is removing them, or the folder is not readable
        for path in list((folder.rglob if recursive else folder.glob)(".partial-*")):
            if _abandoned(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _abandoned(path: Path) -> bool:
    owner = _OWNED.match(path.name)
    if owner is None:
        return False
    if owner["machine"] != machine_id():
        return time.time() - path.lstat().st_mtime > _FOREIGN_AFTER_S
    return has_ended(owner["process"])


def process_identity(pid: int) -> str:
    """Return a text that identifies a running process: its machine and PID namespace, its id, and when it started."""
    return f"{machine_id()}-{pid}-{process_start(pid) or 0}"


def has_ended(identity: str) -> bool:
    """Return whether a process has ended; False if it runs, or if that cannot be known, as for another machine.

    Args:
        identity: text of `process_identity`.

    Raises:
        ValueError: it is another text.
    """
    machine, pid, start = identity.split("-")
    return machine == machine_id() and process_start(int(pid)) != start and _has_proc()


@lru_cache(maxsize=1)
def machine_id() -> str:
    """Return eight hex digits for this machine and PID namespace; containers may share a host name and a disk."""
    namespace = Path("/proc/self/ns/pid")
    numbers = namespace.stat().st_ino if namespace.exists() else 0
    return sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def process_start(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot, or None if it is not running.

    Process ids are reused, so the id alone does not identify a process.

    Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime); the name before them may contain spaces and brackets.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
