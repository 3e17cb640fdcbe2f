"""The files of recordings: their names, and the cap on their disk space."""

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
"""Name of the file beside the recordings that lists those that a cap may delete, one per line."""

_PLACEHOLDERS = {"stream", "time"}
_MAX_NAME_BYTES = 120


class Segments:
    """Names new recordings, and deletes the oldest ones when they exceed a cap on disk space.

    Only files that were recorded with a cap are deleted, including those of earlier runs: a ledger beside them lists
    their names. No other file is ever deleted, and none is overwritten.

    Args:
        pattern: a path that ends in .mp4, in which {stream} and {time} are replaced; any other path is a folder and
            means FOLDER/{stream}/{time}.mp4. If the file exists, -2, -3 and so on is appended to its name.
        disk_mb: the cap; None means no cap.
    Raises:
        UsageError: the pattern has another placeholder.
        FGDError: the folder is not writable.
    """

    def __init__(self, pattern: str | Path, disk_mb: float | None = None):
        path = Path(pattern)
        self._pattern = path if path.suffix.lower() == ".mp4" else path / "{stream}" / "{time}.mp4"
        _check_pattern(str(self._pattern))
        self.root = Path(*takewhile(lambda part: "{" not in part, self._pattern.parent.parts))
        self.cap = None if disk_mb is None else int(disk_mb * (1 << 20))
        self._ledger = self.root / LEDGER
        self._finished: dict[Path, int] = {}  # oldest first
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if self.cap is not None:
                self._ledger.touch()
                self._finished = {path: path.stat().st_size for path in self._recorded()}
        except OSError as error:
            raise FGDError(f"cannot record to {self.root}: {one_line(error)}; name another folder") from error

    def new(self, stream: str, started: float) -> Path:
        """Create an empty file, which is in use until `finish`.

        Args:
            stream: its name.
            started: start of the recording in seconds since the epoch.
        Raises:
            OSError: the file cannot be created.
        """
        time = datetime.fromtimestamp(started, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        first = Path(str(self._pattern).format(stream=safe_name(stream), time=time))
        first.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = first if number == 1 else first.with_stem(f"{first.stem}-{number}")
            try:
                path.open("xb").close()
            except FileExistsError:
                continue
            try:
                self._add_to_ledger(path)
            except OSError:  # without an entry the cap would never delete it
                path.unlink()
                raise
            return path

    def finish(self, path: Path) -> None:
        """Mark a file as finished: it may be deleted from now on."""
        with suppress(FileNotFoundError):  # deleted by another program
            self._finished[path] = path.stat().st_size

    def trim(self, in_use_bytes: int) -> None:
        """Delete the oldest finished files until all, including those in use, fit the cap."""
        if self.cap is None:
            return
        total = in_use_bytes + sum(self._finished.values())
        while total > self.cap and self._finished:
            path = next(iter(self._finished))
            total -= self._finished.pop(path)
            path.unlink(missing_ok=True)

    def _add_to_ledger(self, path: Path) -> None:
        if self.cap is not None:
            with self._ledger.open("a", encoding="utf-8") as ledger:
                # The last line may have no line break, after a full disk or a power failure.
                ledger.write(f"\n{path.relative_to(self.root).as_posix()}\n")

    def _recorded(self) -> list[Path]:
        """Return the existing files of the ledger, oldest first; entries that lead out of the folder are ignored."""
        names = self._ledger.read_text(encoding="utf-8", errors="replace").split("\n")
        paths = {self.root / name for name in names if name.lower().endswith(".mp4")}
        root = self.root.resolve()
        recordings = [path for path in paths if path.is_file() and root in path.resolve().parents]
        return sorted(recordings, key=lambda path: path.stat().st_mtime_ns)


def safe_name(stream: str) -> str:
    """Return a stream's name as one part of a path: short, without separators, leading dots or passwords.

    Examples:
        >>> safe_name("../../etc/door 1"), safe_name("..")
        ('etc_door_1', 'stream')
    """
    name = re.sub(r"[^\w.-]+", "_", redact(stream)).strip("._-")
    return name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore") or "stream"


def _check_pattern(pattern: str) -> None:
    try:
        fields = {field for _, field, spec, kind in string.Formatter().parse(pattern) if field is not None}
    except ValueError:
        fields = {""}
    if fields - _PLACEHOLDERS:
        raise UsageError(f"the recording's name '{pattern}' may hold {{stream}} and {{time}} but no other braces")
