"""How folders of results get their names, how files appear whole or not at all, and what a kill leaves is removed."""

from __future__ import annotations

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

from fgd_yolo.errors import FGDError

_OWNED = re.compile(r"\.partial-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-\d+-")
_FOREIGN_AFTER_S = 24 * 3600.0  # nobody can ask another machine whether its process lives
_LONGEST_NAME = 100  # bytes of the target's name; a file system takes 255 altogether
_numbers = count()


def numbered_folder(wanted: Path) -> Path:
    """Make a new folder, numbered like the host's (`NAME-2`, ...) where it exists, and return it.

    Raises:
        FGDError: it cannot be made.
    """
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise FGDError(f"cannot make the folder {folder}: {error.strerror or error}; name another") from error
        return folder


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; it takes the target's place when the block ends well.

    Raises:
        FGDError: it cannot be written; the target is untouched.
    """
    if target.exists() and not target.is_file():
        raise FGDError(f"cannot write {target}: it exists and is no file")
    partial = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise FGDError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # where nothing can be written nothing can be removed either
            partial.unlink(missing_ok=True)


@contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Give a new empty folder beside `target`; it is removed at the end, with whatever is left in it.

    Raises:
        OSError: it cannot be made; the folder that `target` is in must exist.
    """
    folder = partial_path(target)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def partial_path(target: Path) -> Path:
    """Return a new hidden path beside `target`; its name holds this process, the owner for `remove_leftovers`."""
    owner = f"{_machine()}-{os.getpid()}-{_started(os.getpid()) or 0}"
    name = os.fsdecode(os.fsencode(target.name)[-_LONGEST_NAME:])  # the end, which has the suffix
    return target.with_name(f".partial-{owner}-{next(_numbers)}-{name}")


def remove_leftovers(folder: Path, recursive: bool = False) -> None:
    """Remove what killed processes left half-written in a folder.

    What a living process owns stays; so does, for a day, what a process of another machine or container made.

    Args:
        folder: where to look; may be missing.
        recursive: look into its folders too.
    """
    with suppress(OSError):  # another process sweeps too, or the folder is not ours to read
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
    if owner["machine"] != _machine():
        return time.time() - path.lstat().st_mtime > _FOREIGN_AFTER_S
    return _started(int(owner["pid"])) != owner["start"] and _proc_is_here()


@lru_cache(maxsize=1)
def _machine() -> str:
    """Eight digits for this machine and its process numbers: containers may share a name and a disk, not those."""
    namespace = Path("/proc/self/ns/pid")
    numbers = namespace.stat().st_ino if namespace.exists() else 0
    return sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


def _proc_is_here() -> bool:
    return Path("/proc/self/stat").exists()


def _started(pid: int) -> str | None:
    """Return when a process began, in clock ticks since boot, or None where none is alive.

    Process numbers are used again, so the number alone does not say whether the one that is meant still lives.

    Source: proc_pid_stat(5): fields 3 (state) and 22 (starttime); the name before them may hold spaces and brackets.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
