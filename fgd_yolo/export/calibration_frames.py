"""Frames without labels, in place of a data set: some to calibrate int8 on, the others to measure the file on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fgd_yolo.datasets import has_images, read_dataset, split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration import MIN_IMAGES
from fgd_yolo.export.sample_images import spread
from fgd_yolo.frames import gather_frames, hold_out, refuse_leak

HELD_OUT = 0.25
"""Share of the frames that is not calibrated on. 16 frames suffice to calibrate; a check gains from every one."""
CHECKED_FRAMES = 200
"""Frames at most that agreement is measured on: each attempt runs on all of them."""


class CalibrationFrames(NamedTuple):
    """Readable frames.

    Args:
        names: where they come from: the last part of each path of the user.
        calibration: frames to calibrate on.
        held_out: frames to measure on; none of them is calibrated on.
    """

    names: tuple[str, ...]
    calibration: tuple[Path, ...]
    held_out: tuple[Path, ...]


def calibration_frames(paths: Sequence[str | Path], data: Any = None) -> CalibrationFrames:
    """Return frames of folders, list files, videos or collections, without near-duplicates.

    A quarter of them is held out, the last ones of each source: neighbouring frames of a camera are alike.

    Args:
        paths: what the user names.
        data: labelled data that the file will be measured on; no frame may be one of its val images.
    Raises:
        FGDError: no frame can be read, they are too few, or one is a val image.
        UsageError: a path does not exist.
    """
    frames = gather_frames(paths)
    if data is not None:
        refuse_leak(frames, split_images(data, "val", "to measure int8 on"))
    if round(len(frames) * (1 - HELD_OUT)) < MIN_IMAGES:
        raise FGDError(
            f"int8 must be calibrated on at least {MIN_IMAGES} frames, and a quarter of them is held out to measure "
            f"on, but there are only {len(frames)} different ones: pass more of them to calibrate= (--calibrate)"
        )
    calibration, held_out = hold_out(frames, HELD_OUT)
    names = tuple(Path(path).name for path in paths)
    return CalibrationFrames(names, calibration.files, tuple(spread(held_out.files, CHECKED_FRAMES)))


def frames_of_run(data: Any) -> CalibrationFrames | None:
    """Return the frames of a run without labels, whose data set has a teacher's labels; None for other data.

    Args:
        data: dataset, as the user or a checkpoint names it.
    """
    if not is_labelled_by_teacher(data):
        return None
    held_out = split_images(data, "val", "to measure int8 on")
    train = split_images(data, "train", "to calibrate int8 on")
    return CalibrationFrames((Path(data).name,), tuple(train), tuple(spread(held_out, CHECKED_FRAMES)))


def is_labelled_by_teacher(data: Any) -> bool:
    """Return whether a data set on this disk has the labels of a teacher, so that no accuracy is measured on it."""
    try:
        return read_dataset(data, recorded=True).labelled_by is not None
    except FGDError:  # it is reported where its images are read
        return False


def has_labels(data: Any, recorded: bool) -> bool:
    """Return whether a data set has other labels than those of a teacher; if a checkpoint names it, it must be there.

    Args:
        data: dataset, as the user or a checkpoint names it.
        recorded: whether a checkpoint names it.
    """
    return not is_labelled_by_teacher(data) and (not recorded or has_images(data))
