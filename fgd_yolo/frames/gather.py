"""Gather frames from all sources into a folder of the cache, without near-duplicates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from fgd_yolo.cache import cache_root
from fgd_yolo.console import print_status, progress
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.files import sha256_of_json
from fgd_yolo.frames.frame_files import FrameFile, find_frame_files
from fgd_yolo.frames.frame_folder import FORMAT_VERSION, Frame, FrameCounts, Frames, filled_folder, write_manifest
from fgd_yolo.frames.pictures import Picture, Pictures, Problem
from fgd_yolo.near_duplicates import NearDuplicates
from fgd_yolo.streams.sinks.segments import safe_name
from fgd_yolo.text import counted, listed


def gather_frames(paths: Sequence[str | Path], *, every: float = 1.0) -> Frames:
    """Gather frames from folders, images, list files, videos, and what `stream` has recorded or collected.

    Every image is read once. Near-duplicates of earlier frames are dropped, files that cannot be read are counted. The
    frames are in `cache_root()/frames/KEY`: links to images, and frames of videos as JPEG files. The same sources,
    unchanged, give the same folder again without being read. Labels beside an image are never opened.

    Convention:
        The order of frames is that of `find_frame_files`, and of their times in a video.
    Args:
        paths: sources, see `find_frame_files`.
        every: seconds from one frame of a video to the next.
    Raises:
        UsageError: a path does not exist or is neither image nor video, or `every` is not above 0.
        FGDError: no frame can be read, all show the same view, or the cache cannot be written.
    """
    if not 0 < every < math.inf:
        raise UsageError(f"every must be a number of seconds above 0, got {every}")
    files = find_frame_files(paths)
    folder = cache_root() / "frames" / _key(files, every)
    frames = filled_folder(folder, lambda partial: _fill(partial, files, every))
    _print_counts(frames.counts)
    return frames


def _key(files: Sequence[FrameFile], every: float) -> str:
    """Return the name of the folder for these files as they are now."""
    stats = [(str(file.path), file.is_video, *_size_and_time(file.path)) for file in files]
    interval = every if any(file.is_video for file in files) else None
    return sha256_of_json([FORMAT_VERSION, interval, stats])[:20]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except (OSError, ValueError):  # missing, or no name that a file can have
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _fill(folder: Path, files: Sequence[FrameFile], every: float) -> None:
    gathering = _Gathering(folder)
    for found in progress(Pictures(files, every), "reading frames"):
        if isinstance(found, Picture):
            gathering.add(found)
        else:
            gathering.problems.append(found)
    gathering.finish()


@dataclass
class _Gathering:
    """A folder while it is filled."""

    folder: Path
    frames: list[Frame] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: int = 0
    _seen: NearDuplicates = field(default_factory=NearDuplicates)
    _sources: dict[Path, int] = field(default_factory=dict)
    _videos: set[Path] = field(default_factory=set)

    def add(self, picture: Picture) -> None:
        """Add a frame to the folder unless it shows a view again."""
        path = picture.file.path
        if picture.file.is_video:
            self._videos.add(path)
        if not self._seen.is_new(picture.pixels):
            self.duplicates += 1
            return
        time = "" if picture.time_s is None else f"-{picture.time_s:.2f}s"
        # The number keeps their order and makes names unique; the rest is for people.
        target = self.folder / f"{len(self.frames):07}-{safe_name(path.stem)}{time}{picture.suffix}"
        content = picture.content
        if content is None:
            data = picture.as_jpeg()
            target.write_bytes(data)
            content = sha256(data).hexdigest()
        else:
            target.symlink_to(path)
        source = self._sources.setdefault(picture.file.source, len(self._sources))
        self.frames.append(Frame(target.name, *picture.pixels.shape[:2], content, source))

    def finish(self) -> None:
        """Write the manifest.

        Raises:
            FGDError: there is no frame, or all show the same view.
        """
        unreadable = [problem for problem in self.problems if not problem.is_partial]
        if not self.frames:
            raise FGDError(f"no frame can be read: {_reasons(unreadable)}")
        if len(self.frames) == 1 and self.duplicates:
            raise FGDError(
                f"all {self.duplicates + 1} frames show the same view (near-duplicates): give frames of more places, "
                "or of more hours"
            )
        if self.problems:
            print_status(f"frames: not or not wholly read: {_reasons(self.problems)}")
        damaged = len(self.problems) - len(unreadable)
        counts = FrameCounts(len(self.frames), self.duplicates, len(unreadable), len(self._videos), damaged)
        write_manifest(self.folder, self.frames, counts)


def _reasons(problems: Sequence[Problem]) -> str:
    """Return how many files have each problem, the most frequent first, and their names."""
    reasons = Counter(problem.reason for problem in problems)
    names = {reason: [problem.file.path.name for problem in problems if problem.reason == reason] for reason in reasons}
    parts = [f"{listed(names[reason], most=2)}: {reason}" for reason, _ in reasons.most_common(3)]
    others = f" and {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
    return f"{counted(len(problems), 'file')} ({'; '.join(parts)}{others})"


def _print_counts(counts: FrameCounts) -> None:
    videos = f"; {counted(counts.videos, 'video')}" if counts.videos else ""
    damaged = f", {counts.damaged_videos} of them damaged" if counts.damaged_videos else ""
    print_status(
        f"frames: {counts.kept} of {counts.found} kept, {counted(counts.duplicates, 'near-duplicate')} dropped, "
        f"{counts.unreadable} unreadable{videos}{damaged}"
    )
