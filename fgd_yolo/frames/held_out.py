"""Hold out frames: they are not trained on, so that what is measured on them means something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.frames.frame_folder import FrameCounts, Frames, filled_folder, write_manifest


def hold_out(frames: Frames, fraction: float = 0.1) -> tuple[Frames, Frames]:
    """Split frames into those to train on and those held out, each in a folder of links beside that of `frames`.

    Neighbouring frames of one camera are alike. So the frames held out are the last ones of each source.

    Convention:
        Rounded over all sources, not for each: of ten sources with two frames each, a fraction of 0.1 holds out two
        frames. At least one frame is held out, and one is left.
    Args:
        frames: from `gather_frames`.
        fraction: share to hold out, between 0 and 1.
    Returns:
        The frames to train on, and those held out; both in their former order.
    Raises:
        UsageError: the fraction is not between 0 and 1.
        FGDError: there is only one frame, or the cache cannot be written.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the fraction of frames to hold out must be between 0 and 1, got {fraction}")
    if len(frames) < 2:
        raise FGDError("one frame cannot be split into frames to train on and frames held out: give more frames")
    held, percent = _last_of_each(frames.sources, fraction), f"{100 * fraction:g}"
    return (
        _part(frames, [not is_held for is_held in held], f"train-{percent}"),
        _part(frames, held, f"held-out-{percent}"),
    )


def _last_of_each(sources: Sequence[int], fraction: float) -> list[bool]:
    """Return for each frame whether it is held out."""
    sizes = Counter(sources)
    total = min(max(round(len(sources) * fraction), 1), len(sources) - 1)
    first_held, before, held = {}, 0, 0
    for source, size in sizes.items():
        before += size
        count = round(total * before / len(sources)) - held
        first_held[source], held = size - count, held + count
    places: Counter[int] = Counter()
    result = []
    for source in sources:
        result.append(places[source] >= first_held[source])
        places[source] += 1
    return result


def _part(frames: Frames, chosen: Sequence[bool], name: str) -> Frames:
    entries = [entry for entry, is_chosen in zip(frames.entries, chosen, strict=True) if is_chosen]

    def fill(folder: Path) -> None:
        for entry in entries:
            file = frames.folder.absolute() / entry.name
            (folder / entry.name).symlink_to(file.readlink() if file.is_symlink() else file)
        write_manifest(folder, entries, FrameCounts(len(entries)))

    return filled_folder(frames.folder.with_name(f"{frames.folder.name}-{name}"), fill)
