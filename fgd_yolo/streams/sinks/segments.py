"""Where the files of a recording lie: their names, and the room that they may take on the disk."""

from __future__ import annotations

import re
import string
from contextlib import suppress
from datetime import datetime, timezone
from itertools import count, takewhile
from pathlib import Path

from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.streams.address import redact

LEDGER = ".fgd_yolo-segments"
"""Beside the recordings: the names of those that a cap may delete, one a line."""

_PLACEHOLDERS = {"stream", "time"}
_NAME_BYTES = 120


class Segments:
    """Names new files and deletes the oldest own ones where they take more room than they may.

    Own are the files that were written with a cap, in earlier runs too: they stand in a ledger beside them. Nothing
    else is ever deleted or overwritten.

    Args:
        pattern: a path that ends in .mp4, in which {stream} and {time} are filled in; any other is a folder, and
            means FOLDER/{stream}/{time}.mp4. A name that is taken gets -2, -3 and so on.
        disk_mb: the cap; None is none.
    Raises:
        UsageError: the pattern has another placeholder.
        FGDError: the folder cannot be written.
    """

    def __init__(self, pattern: str | Path, disk_mb: float | None = None):
        path = Path(pattern)
        self._pattern = path if path.suffix.lower() == ".mp4" else path / "{stream}" / "{time}.mp4"
        _check_pattern(str(self._pattern))
        self.root = Path(*takewhile(lambda part: "{" not in part, self._pattern.parent.parts))
        self.cap = None if disk_mb is None else int(disk_mb * (1 << 20))
        self._ledger = self.root / LEDGER
        self._finished: dict[Path, int] = {}  # the oldest first
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if self.cap is not None:
                self._ledger.touch()
                self._finished = {path: path.stat().st_size for path in self._recorded()}
        except OSError as error:
            raise FGDError(f"cannot record to {self.root}: {one_line(error)}; name another folder") from error

    def new(self, stream: str, started: float) -> Path:
        """Make an empty file for a stream, of the seconds since 1970 at which it starts; it is in use until `finish`.

        Raises:
            OSError: it cannot be made.
        """
        when = datetime.fromtimestamp(started, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        wanted = Path(str(self._pattern).format(stream=safe_name(stream), time=when))
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = wanted if number == 1 else wanted.with_stem(f"{wanted.stem}-{number}")
            try:
                path.open("xb").close()
            except FileExistsError:
                continue
            try:
                self._note(path)
            except OSError:  # no cap would ever delete it
                path.unlink()
                raise
            return path

    def finish(self, path: Path) -> None:
        """From now on the file may be deleted to make room."""
        with suppress(FileNotFoundError):  # somebody else deleted it
            self._finished[path] = path.stat().st_size

    def trim(self, in_use_bytes: int) -> None:
        """Delete the oldest files until all take no more than the cap, with the bytes of those in use."""
        if self.cap is None:
            return
        total = in_use_bytes + sum(self._finished.values())
        while total > self.cap and self._finished:
            path = next(iter(self._finished))
            total -= self._finished.pop(path)
            path.unlink(missing_ok=True)

    def _note(self, path: Path) -> None:
        if self.cap is not None:
            with self._ledger.open("a", encoding="utf-8") as ledger:
                # A full disk or a power cut may have left the last line without its end.
                ledger.write(f"\n{path.relative_to(self.root).as_posix()}\n")

    def _recorded(self) -> list[Path]:
        """Return the ledger's files that are there, oldest first, and nothing that a changed ledger could lure to."""
        names = self._ledger.read_text(encoding="utf-8", errors="replace").split("\n")
        paths = {self.root / name for name in names if name.lower().endswith(".mp4")}
        home = self.root.resolve()
        own = [path for path in paths if path.is_file() and home in path.resolve().parents]
        return sorted(own, key=lambda path: path.stat().st_mtime_ns)


def safe_name(stream: str) -> str:
    """Return a stream's name as one part of a path: without separators, leading dots, passwords or great length.

    Example:
        >>> safe_name("../../etc/door 1"), safe_name("..")
        ('etc_door_1', 'stream')
    """
    plain = re.sub(r"[^\w.-]+", "_", redact(stream)).strip("._-")
    return plain.encode()[:_NAME_BYTES].decode(errors="ignore") or "stream"


def _check_pattern(pattern: str) -> None:
    try:
        fields = {field for _, field, spec, kind in string.Formatter().parse(pattern) if field is not None}
    except ValueError:
        fields = {""}
    if fields - _PLACEHOLDERS:
        raise UsageError(f"the recording's name '{pattern}' may hold {{stream}} and {{time}}, and no other braces")
