"""Small and read-only disks for tests: real ones if this process may mount them."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Create a folder on a disk of so many kilobytes; without the right to mount, writing more to it fails."""

    def is_full(data: bytes) -> bool:
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return used + len(data) > kilobytes << 10

    with _disk(folder, f"size={kilobytes}k", errno.ENOSPC, is_full):
        yield folder


@contextmanager
def read_only_disk(folder: Path) -> Iterator[Path]:
    """Create a folder on a disk that cannot be written to; without the right to mount, writing to it fails."""
    with _disk(folder, "ro", errno.EROFS, lambda data: True):
        yield folder


@contextmanager
def _disk(folder: Path, options: str, number: int, refuses: Callable[[bytes], bool]) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        try:
            yield
        finally:
            subprocess.run(["umount", folder], check=True)
        return
    write_bytes = Path.write_bytes

    def write(self: Path, data: bytes) -> int:
        if self.is_relative_to(folder) and refuses(data):
            raise OSError(number, os.strerror(number), str(self))
        return write_bytes(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", write)
        yield
