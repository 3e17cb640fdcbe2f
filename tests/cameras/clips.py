"""Short video files for tests, with numbered frames, rotations, or unusual containers."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np

from tests.cameras.stamp import draw_frame, read_stamp

SIZE = (320, 240)
ONE = 1 << 16
# The entries a, b, c and d of a display matrix, by its effect on the stored frame.
ORIENTATIONS = {
    "right": (0, 1, -1, 0),
    "over": (-1, 0, 0, -1),
    "left": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "flipped": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transversed": (0, -1, -1, 0),
}


def write_clip(
    path: Path, frames: int = 30, fps: int = 15, size: tuple[int, int] = SIZE, skipped: Collection[int] = ()
) -> Path:
    """Write an H.264 file of numbered frames, without the skipped ones; an MP4 can be read while it is downloaded."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        track = container.add_stream("libx264", rate=fps, options={"crf": "18", "g": str(fps)})
        track.width, track.height, track.pix_fmt = *size, "yuv420p"
        for index in sorted(set(range(frames)) - set(skipped)):
            image = np.frombuffer(draw_frame(*size, index, index), np.uint8).reshape(size[1], size[0], 3)
            frame = av.VideoFrame.from_ndarray(image, "bgr24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return path


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) BGR of a video file."""
    capture = cv2.VideoCapture(str(path))
    try:
        while (read := capture.read())[0]:
            yield read[1]
    finally:
        capture.release()


def write_frames(path: Path, frames: Iterable[np.ndarray], fps: int = 25) -> Path:
    """Write frames (H, W, 3) BGR of one size as H.264, encoded as by a camera; return the path."""
    frames = iter(frames)
    first = next(frames)
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "tune": "zerolatency"})
        track.height, track.width = first.shape[:2]
        track.pix_fmt = "yuv420p"
        for frame in chain([first], frames):
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(track.encode())
    return path


def frame_number(frame: av.VideoFrame) -> int:
    """Return the number of a frame of a file by `write_clip` or `encode`."""
    return read_stamp(frame.to_ndarray(format="bgr24"))


def encode(
    path: Path, codec: str, *, pix_fmt: str = "yuv420p", container: str | None = None, frames: int = 30, **options
):
    """Write numbered frames at 25 per second in another codec or container; return the path."""
    with av.open(str(path), "w", format=container) as writer:
        track = writer.add_stream(codec, rate=25, options=options)
        track.width, track.height, track.pix_fmt = *SIZE, pix_fmt
        track.bit_rate = 4_000_000
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_image(index), "bgr24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            writer.mux(track.encode(frame))
        writer.mux(track.encode())
    return path


def numbered_image(index: int) -> np.ndarray:
    """Return the image of a number (240, 320, 3)."""
    return np.frombuffer(draw_frame(*SIZE, index, index), np.uint8).reshape(SIZE[1], SIZE[0], 3)


def coloured_clip(path: Path, orientation: tuple[int, int, int, int] | None = None, frames: int = 3) -> Path:
    """Write an H.264 clip with the colours of `corners`, and an orientation in its container."""
    with av.open(str(path), "w") as writer:
        track = writer.add_stream("libx264", rate=25, options={"bf": "0"})
        track.width, track.height, track.pix_fmt = *SIZE, "yuv420p"
        if orientation:
            track.set_display_matrix(matrix(orientation))
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(coloured(), "bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            writer.mux(track.encode(frame))
        writer.mux(track.encode())
    return path


def with_matrix(source: Path, target: Path, orientation: tuple[int, int, int, int]) -> Path:
    """Copy a video into a container with an orientation, as phones write it."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0])
        copy.set_display_matrix(matrix(orientation))
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
    return target


def matrix(orientation: tuple[int, int, int, int]) -> list[int]:
    """Return the nine values of a display matrix."""
    a, b, c, d = (ONE * value for value in orientation)
    return [a, b, 0, c, d, 0, 0, 0, 1 << 30]


def coloured() -> np.ndarray:
    """Return an image (240, 320, 3) with a red, green, blue and black corner."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    image[:80, :100], image[:80, -100:], image[-80:, :100], image[-80:, -100:] = [
        (0, 0, 250),
        (0, 250, 0),
        (250, 0, 0),
        (0, 0, 0),
    ]
    return image


def corners(image: np.ndarray) -> str:
    """Return the colours of the corners: top left, top right, bottom left, bottom right."""
    names = []
    for y, x in ((30, 30), (30, -30), (-30, 30), (-30, -30)):
        pixel = image[y, x].astype(int)
        names.append("bgr"[pixel.argmax()] if pixel.max() > 150 else "k")
    return "".join(names)


def with_orientation(source: Path, target: Path, options: str) -> Path:
    """Copy a raw H.264 file with a display orientation in the video, such as `rotate=90:flip=horizontal`."""
    from av.bitstream import BitStreamFilterContext

    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        track = reader.streams.video[0]
        copy = writer.add_stream_from_template(track)
        insert = BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{options}", track)
        for index, packet in enumerate(reader.demux(track)):
            for changed in insert.filter(packet) if packet.size else ():
                changed.stream, changed.pts, changed.dts = copy, index * 48_000, index * 48_000
                writer.mux(changed)
    return target


def with_cover(source: Path, target: Path, jpeg: bytes) -> Path:
    """Copy an MP4 and insert a cover image before its tracks, which FFmpeg then lists as the first video."""
    data = bytearray(source.read_bytes())
    assert data.index(b"moov") > data.index(b"mdat"), "the index must follow the frames"
    cover = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + jpeg))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    extra = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", cover)))
    moov = data.index(b"moov") - 4
    header = moov + 8 + int.from_bytes(data[moov + 8 : moov + 12], "big")
    data[moov : moov + 4] = (int.from_bytes(data[moov : moov + 4], "big") + len(extra)).to_bytes(4, "big")
    data[header:header] = extra
    target.write_bytes(data)
    return target


def box(kind: bytes, body: bytes) -> bytes:
    """Return an MP4 box."""
    return struct.pack(">I4s", len(body) + 8, kind) + body
