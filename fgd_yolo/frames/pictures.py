"""One frame after the other, from images and videos; what cannot be read is reported in between."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import cv2
import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.frames.frame_files import FrameFile
from fgd_yolo.frames.video_samples import VideoSamples, stated_length_s
from fgd_yolo.runtime.image_headers import read_header
from fgd_yolo.runtime.images import decode_image, failure_detail, read_file
from fgd_yolo.runtime.pixel_budget import PixelBudget

# Ultralytics chooses its reader by the suffix. The first one is for files whose name does not match their content.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "TIFF": (".tif", ".tiff", ".dng"),
    "BMP": (".bmp",),
    "JPEG 2000": (".jp2",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Picture:
    """A frame.

    Args:
        file: the image, or the video that it was sampled from.
        pixels: (H, W, 3) BGR uint8, upright.
        suffix: of the file that it becomes, in lower case.
        content: SHA-256 of the image's file, in hexadecimal; None for a frame of a video.
        time_s: its time in the video, None for an image.
    """

    file: FrameFile
    pixels: np.ndarray
    suffix: str
    content: str | None = None
    time_s: float | None = None

    def as_jpeg(self) -> bytes:
        """Return the frame as a JPEG file."""
        return cv2.imencode(".jpg", self.pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


@dataclass(frozen=True)
class Problem:
    """A file that cannot be read, or a video whose frames before and after the problem have been read."""

    file: FrameFile
    reason: str
    is_partial: bool = False


class Pictures:
    """Reads files, each once. The length is that of images, and of videos by their own statement.

    Args:
        files: images and videos.
        every: seconds from one frame of a video to the next.
    """

    def __init__(self, files: Sequence[FrameFile], every: float):
        self._files, self._every = files, every
        self._budget = PixelBudget()
        self._length: int | None = None

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(self._expected(file) for file in self._files)
        return self._length

    def __iter__(self) -> Iterator[Picture | Problem]:
        for file in self._files:
            if not os.path.isfile(file.path):  # noqa: PTH113 (Path.is_file raises for odd names)
                yield Problem(file, "does not exist")
            elif file.is_video:
                yield from self._sample(file)
            else:
                yield self._read(file)

    def _expected(self, file: FrameFile) -> int:
        length = stated_length_s(file.path) if file.is_video else None
        return 1 if length is None else max(1, math.ceil(length / self._every))

    def _read(self, file: FrameFile) -> Picture | Problem:
        try:
            data = read_file(file.path, self._budget)
            pixels = decode_image(data, self._budget)
        except FGDError as error:
            return Problem(file, f"cannot be read{failure_detail(error)}")
        kind = read_header(data).kind
        suffixes = _SUFFIXES.get(kind)
        if suffixes is None:
            return Problem(file, f"Ultralytics does not train on {kind} images")
        own = file.path.suffix.lower()
        return Picture(file, pixels, own if own in suffixes else suffixes[0], sha256(data).hexdigest())

    def _sample(self, file: FrameFile) -> Iterator[Picture | Problem]:
        samples = VideoSamples(file.path, self._every, self._budget)
        count = 0
        for time_s, pixels in samples:
            count += 1
            yield Picture(file, pixels, ".jpg", time_s=time_s)
        if samples.problem:
            yield Problem(file, samples.problem, is_partial=count > 0)
