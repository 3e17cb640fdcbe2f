"""A folder of frames: links to images, frames of videos, and a manifest, which is written last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from fgd_yolo.cache import make_folder
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.strict_json import to_json
from fgd_yolo.text import listed, printable

FORMAT_VERSION = 1
"""Part of the names of the folders: increase it when the same sources give other files."""
_MANIFEST = "frames.json"


class FrameCounts(NamedTuple):
    """What became of the frames of all sources."""

    kept: int
    duplicates: int = 0
    """Near-duplicates of a frame that was kept."""
    unreadable: int = 0
    """Files that are missing, or not images or videos that can be read."""
    videos: int = 0
    """Videos that gave a frame."""
    damaged_videos: int = 0
    """Of these, videos that are cut off or have parts that cannot be decoded; the frames from the others are kept."""

    @property
    def found(self) -> int:
        """Images, frames sampled from videos, and files that could not be read."""
        return self.kept + self.duplicates + self.unreadable


class Frame(NamedTuple):
    """A frame of a folder."""

    name: str
    """File in the folder."""
    height: int
    width: int
    content: str
    """SHA-256 of the file, in hexadecimal."""
    source: int
    """Number of its source: a folder of images, or a video. Frames of one source are in the order of their times."""


@dataclass(frozen=True)
class Frames:
    """Frames without labels.

    Convention:
        All tuples have the same order: source by source, and within a source by name or time.
    Args:
        folder: where they are: links to images, and the frames of videos as JPEG files.
        files: their paths in the folder. Suffixes match the contents, so that Ultralytics reads them.
        shapes: (height, width) in pixels, upright as Ultralytics reads them.
        digest: SHA-256 of all contents in their order, in hexadecimal; independent of folders and names.
        counts: what became of the frames of all sources.
        contents: SHA-256 of each file, in hexadecimal.
        sources: number of the source of each frame: a folder of images, or a video.
    """

    folder: Path
    files: tuple[Path, ...]
    shapes: tuple[tuple[int, int], ...]
    digest: str
    counts: FrameCounts
    contents: tuple[str, ...]
    sources: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def entries(self) -> list[Frame]:
        """The frames as they stand in the manifest."""
        rows = zip(self.files, self.shapes, self.contents, self.sources, strict=True)
        return [Frame(file.name, *shape, content, source) for file, shape, content, source in rows]


def origin(file: Path) -> Path:
    """Return the image to which a file of a folder links, or the file itself for a frame of a video."""
    return file.readlink() if file.is_symlink() else file


def write_manifest(folder: Path, frames: Sequence[Frame], counts: FrameCounts) -> None:
    """Write the manifest of a folder, which completes it.

    Raises:
        OSError: it cannot be written.
    """
    content = {"version": FORMAT_VERSION, "counts": counts._asdict(), "frames": frames}
    (folder / _MANIFEST).write_text(to_json(content, separators=(",", ":")), encoding="utf-8")


def read_frames(folder: str | Path) -> Frames:
    """Read the frames of a folder that `gather_frames` or `hold_out` has filled.

    Raises:
        FGDError: it is no such folder, or images to which it links are no longer there.
    """
    folder = Path(folder)
    try:
        counts, frames = _parse(json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FGDError(
            f"'{printable(folder)}' is not a folder of frames: {one_line(error)}; gather them again"
        ) from None
    files = tuple(folder / frame.name for frame in frames)
    missing = [origin(file) for file in files if not file.is_file()]
    if missing:
        raise FGDError(f"{len(missing)} of {len(files)} frames are no longer there: {listed(missing)}")
    return Frames(
        folder=folder,
        files=files,
        shapes=tuple((frame.height, frame.width) for frame in frames),
        digest=sha256("".join(frame.content for frame in frames).encode()).hexdigest(),
        counts=counts,
        contents=tuple(frame.content for frame in frames),
        sources=tuple(frame.source for frame in frames),
    )


def filled_folder(folder: Path, fill: Callable[[Path], None]) -> Frames:
    """Return the frames of a folder of the cache, filling it by `fill(folder)` if it is missing or incomplete.

    Raises:
        FGDError: it cannot be written, or what `fill` raises; no half folder is left.
    """
    if folder.exists():
        try:
            return read_frames(folder)
        except FGDError:  # files were removed from it
            shutil.rmtree(folder, ignore_errors=True)
    return read_frames(make_folder(folder, fill))


def _parse(manifest: Any) -> tuple[FrameCounts, list[Frame]]:
    if manifest["version"] != FORMAT_VERSION:
        raise ValueError(f"its manifest has version {manifest['version']}, not {FORMAT_VERSION}")
    return FrameCounts(**manifest["counts"]), [Frame(*frame) for frame in manifest["frames"]]
