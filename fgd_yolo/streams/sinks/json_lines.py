"""Results as lines of JSON, in a file or on standard output."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.streams.sinks.message import VERSION, gap_message, result_message, to_line

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_KEPT = 5
_TAIL = 1 << 16
_HEAD = to_line({"version": VERSION, "kind": ""})[:-2]  # how each of our lines begins


class JsonLinesSink:
    """One line per result and per gap, as `message.py` says; `-` is standard output.

    A line is one write without a buffer, so a process that is killed leaves whole lines; the rest of one that was cut
    all the same, by a full disk or a power cut, is taken away when the file is opened again. An existing file is
    continued, but never one that ends in something else.

    Args:
        path: the file; its folder is made.
        rotate_mb: a file that is so large is renamed to NAME.1, that one to NAME.2 and so on up to 5; None never does.
        on_gone: is called when nobody reads the standard output any more.
    Raises:
        FGDError: the file cannot be opened, or does not end in a line of results.
    """

    def __init__(
        self, path: str | Path, *, rotate_mb: float | None = None, on_gone: Callable[[], object] | None = None
    ):
        self.name = f"JSON lines {path}"
        self._path = None if str(path) == "-" else Path(path)
        self._limit = float("inf") if rotate_mb is None else rotate_mb * (1 << 20)
        self._on_gone = on_gone
        self._descriptor = self._open()

    def write(self, result: Result) -> None:
        """Write one line."""
        self._write(result_message(result))

    def gap(self, stream: str, reason: str) -> None:
        """Write one line."""
        self._write(gap_message(stream, reason))

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            os.close(self._descriptor)

    def _open(self) -> int:
        if self._path is None:
            sys.stdout.flush()
            return sys.stdout.fileno()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FGDError(f"cannot write {self._path}: {one_line(error)}; name another file") from error
        if not _cut_tail(descriptor):
            os.close(descriptor)
            raise FGDError(f"{self._path} does not end in a line of results: it is left as it is; name another file")
        return descriptor

    def _write(self, message: dict[str, Any]) -> None:
        line = to_line(message) + b"\n"
        if self._path is not None and 0 < _size(self._descriptor) > self._limit - len(line):
            self._rotate()
        before, left = _size(self._descriptor), memoryview(line)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except BrokenPipeError:
            if self._on_gone:
                self._on_gone()
            raise
        except OSError:
            if len(left) < len(line) and _is_file(self._descriptor):
                os.ftruncate(self._descriptor, before)
            raise

    def _rotate(self) -> None:
        names = [self._path.with_name(f"{self._path.name}.{number}") for number in range(1, _KEPT + 1)]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        self._path.replace(names[0])
        os.close(self._descriptor)
        self._descriptor = self._open()


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size


def _cut_tail(descriptor: int) -> bool:
    """Take away what stands behind the last end of a line; False, and nothing else, if that is no line of ours."""
    if not _is_file(descriptor):
        return True
    end = _size(descriptor)
    while end:
        start = max(0, end - _TAIL)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    # After a power cut zeros may stand in place of a line: they are ours where the whole file is.
    tail = os.pread(descriptor, len(_HEAD), end).rstrip(b"\0")
    if end < _size(descriptor):
        if not _HEAD.startswith(tail or os.pread(descriptor, len(_HEAD), 0)):
            return False
        os.ftruncate(descriptor, end)
    return True
