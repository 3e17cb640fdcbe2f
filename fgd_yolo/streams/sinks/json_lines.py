"""A sink that writes one line of JSON per result, to a file or to standard output."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.json_message import VERSION
from fgd_yolo.streams.sinks.message import gap_message, result_message, to_line

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result
    from fgd_yolo.streams.stream_options import RunOptions

_BACKUPS = 5
_BLOCK_BYTES = 1 << 16
_LINE_START = to_line({"version": VERSION, "kind": ""})[:-2]  # of every line that this sink writes


class JsonLinesSink:
    """Writes one line per result and per gap, in the format of `message.py`.

    A line is a single unbuffered write, so a killed process leaves complete lines. A partial last line, after a full
    disk or a power failure, is removed when the file is opened again. An existing file is appended to, but only if it
    ends with a line of results.

    Args:
        path: the file, whose folder is created; `-` is standard output.
        rotate_mb: size at which the file is renamed to NAME.1, NAME.1 to NAME.2 and so on up to 5; None never rotates.
        on_closed_pipe: called when the reader of standard output has closed it.
    Raises:
        FGDError: the file cannot be opened, or does not end with a line of results.
    """

    def __init__(
        self, path: str | Path, *, rotate_mb: float | None = None, on_closed_pipe: Callable[[], object] | None = None
    ):
        self.name = f"JSON lines {path}"
        self._path = None if str(path) == "-" else Path(path)
        self._limit = float("inf") if rotate_mb is None else rotate_mb * (1 << 20)
        self._on_closed_pipe = on_closed_pipe
        self._descriptor = self._open()

    @classmethod
    def from_options(cls, options: RunOptions, stop_run: Callable[[], object]) -> JsonLinesSink:
        """Open the file of `--json`; a reader that closes standard output ends the run."""
        return cls(options.json_lines, on_closed_pipe=stop_run)

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
        if not _remove_partial_line(descriptor):
            os.close(descriptor)
            raise FGDError(f"{self._path} does not end with a line of results and is left unchanged; name another file")
        return descriptor

    def _write(self, message: dict[str, Any]) -> None:
        line = to_line(message) + b"\n"
        if self._path is not None and 0 < _size(self._descriptor) > self._limit - len(line):
            self._rotate()
        size_before, unwritten = _size(self._descriptor), memoryview(line)
        try:
            while unwritten:
                unwritten = unwritten[os.write(self._descriptor, unwritten) :]
        except BrokenPipeError:
            if self._on_closed_pipe:
                self._on_closed_pipe()
            raise
        except OSError:
            if len(unwritten) < len(line) and _is_file(self._descriptor):
                os.ftruncate(self._descriptor, size_before)
            raise

    def _rotate(self) -> None:
        names = [self._path.with_name(f"{self._path.name}.{number}") for number in range(1, _BACKUPS + 1)]
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


def _remove_partial_line(descriptor: int) -> bool:
    """Truncate a file after its last line break; return False and change nothing if its last line is not a result."""
    if not _is_file(descriptor):
        return True
    end = _size(descriptor)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    # A power failure may leave zeros instead of a line. They are removed if the file itself starts with a result.
    tail = os.pread(descriptor, len(_LINE_START), end).rstrip(b"\0")
    if end < _size(descriptor):
        if not _LINE_START.startswith(tail or os.pread(descriptor, len(_LINE_START), 0)):
            return False
        os.ftruncate(descriptor, end)
    return True
