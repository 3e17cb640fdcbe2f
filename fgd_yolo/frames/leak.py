"""Refuse frames that are also validated on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fgd_yolo.errors import FGDError
from fgd_yolo.files import sha256_of_file
from fgd_yolo.frames.frame_folder import Frames, origin
from fgd_yolo.text import listed


def refuse_leak(frames: Frames, val_images: Iterable[Path]) -> None:
    """Check that no frame has the content of a val image; names do not matter.

    Args:
        frames: from `gather_frames`.
        val_images: images of the val split; only those of the same size as a frame are read.
    Raises:
        FGDError: a frame is a val image; the message names the first ones.
    """
    sizes = {file.stat().st_size for file in frames.files}
    by_content = dict(zip(frames.contents, frames.files, strict=True))
    leaked = [
        by_content[content]
        for image in val_images
        if image.is_file() and image.stat().st_size in sizes and (content := sha256_of_file(image)) in by_content
    ]
    if leaked:
        raise FGDError(
            f"{len(leaked)} of {len(frames)} frames are also in the val split "
            f"({listed(map(origin, leaked), most=2, longest=80)}): what is learned from them cannot be measured there; "
            "remove them from the frames"
        )
