"""The files of collected frames: a JPEG and a JSON of the same name for each, and the limit of their disk space."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path

from fgd_yolo.files import atomic_path, remove_leftovers
from fgd_yolo.streams.sinks.segments import safe_name


class LimitReachedError(Exception):
    """Another frame would exceed the limit of the folder."""


class Collection:
    """A folder of frames: FOLDER/STREAM/TIME.jpg, with a TIME.json beside each.

    No file is overwritten or deleted, and every JPEG has its JSON, whenever the process is killed. What is in the
    folder at the start counts too, whoever wrote it.

    Args:
        folder: it is created with the first frame.
        limit_mb: limit of all files in the folder, in megabytes of 1024 * 1024 bytes.
    """

    def __init__(self, folder: Path, limit_mb: float):
        self.folder, self._limit = folder, int(limit_mb * (1 << 20))
        self._used: int | None = None  # None: not yet counted

    def add(self, stream: str, time: str, jpeg: bytes, message: bytes) -> Path:
        """Write a frame and return the path of its JPEG.

        Args:
            stream: name of its stream.
            time: in UTC as in messages, such as `2026-11-28T10:39:15.244Z`. If a frame has it already, -2, -3 and so on
                is appended to the name.
            jpeg: content of the image.
            message: content of the JSON.
        Raises:
            LimitReachedError: the frame does not fit.
            OSError: the folder cannot be read or written.
            FGDError: a file cannot be written.
        """
        if self._used is None:
            self._used = self._open()
        size = len(jpeg) + len(message)
        if self._used + size > self._limit:
            self._used = self._bytes()  # frames may have been moved away
            if self._used + size > self._limit:
                raise LimitReachedError
        image = self._free_path(stream, "".join(letter for letter in time if letter.isalnum()))
        description = image.with_suffix(".json")
        # Both are complete before the first is renamed, and the JSON is renamed before the JPEG.
        try:
            with atomic_path(image) as partial_image, atomic_path(description) as partial_description:
                partial_image.write_bytes(jpeg)
                partial_description.write_bytes(message)
        except BaseException:
            with suppress(OSError):
                description.unlink(missing_ok=True)
            raise
        self._used += size
        return image

    def _open(self) -> int:
        """Create the folder, remove what killed processes left, and return the bytes of its files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder, recursive=True)
        return self._bytes()

    def _bytes(self) -> int:
        """Return the bytes of all files in the folder; another process may remove some meanwhile."""
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):
                total += path.lstat().st_size if path.is_file() else 0
        return total

    def _free_path(self, stream: str, name: str) -> Path:
        """Return a path that neither a JPEG nor a JSON has; two streams may share a folder."""
        for number in count(1):
            path = self.folder / safe_name(stream) / f"{name if number == 1 else f'{name}-{number}'}.jpg"
            if not path.exists() and not path.with_suffix(".json").exists():
                return path
        raise AssertionError("unreachable")
