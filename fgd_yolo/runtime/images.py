"""Pictures as the detector takes them: BGR, 8 bits, three channels, from files or from an application's arrays."""

from __future__ import annotations

import glob
import io
import os
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.runtime.image_headers import read_header
from fgd_yolo.runtime.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaKind, list_files, media_kind
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget

STREAM_ADVICE = "run 'fgd-yolo stream --source {}', which plays videos"


UNREADABLE = "cannot be read"


class UnreadableImageError(FGDError):
    """A file is no picture that can be read here; the text says why."""


def read_image(path: str | Path, budget: PixelBudget | None = None) -> np.ndarray | None:
    """Read a picture as `load_image` does, and return None where that is not possible."""
    try:
        return load_image(path, budget)
    except (UnreadableImageError, ImageTooLargeError):
        return None


def failure_detail(error: FGDError) -> str:
    """Return what there is to say about a picture that `load_image` did not read, after its name; often nothing."""
    return "" if str(error) == UNREADABLE else f": {error}"


def load_image(path: str | Path, budget: PixelBudget | None = None) -> np.ndarray:
    """Read a picture as Ultralytics does, so that both see the same pixels.

    Convention:
        A photo is turned and mirrored as its EXIF note, or in AVIF and HEIC its own properties, say. Alpha is dropped;
        of 16 bits the high byte is kept; a grey picture becomes three equal channels; of several pages the first is
        taken.
    Args:
        path: the file; its name may hold any character.
        budget: how large it may be; the default one if absent.
    Returns:
        (H, W, 3) BGR uint8.
    Raises:
        UnreadableImageError: it cannot be read as a picture.
        ImageTooLargeError: it is above the budget; nothing of it was decoded.
    """
    budget = budget or PixelBudget()
    try:
        with Path(path).open("rb") as file:
            budget.check_bytes(os.fstat(file.fileno()).st_size)
            data = file.read(budget.bytes + 1)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(UNREADABLE) from error
    budget.check_bytes(len(data))  # what is no plain file has no size
    return decode_image(data, budget)


def decode_image(data: bytes, budget: PixelBudget) -> np.ndarray:
    """Decode a picture's file as `load_image` does.

    Args:
        data: the content of the file.
        budget: asked before anything is decoded.
    Raises:
        UnreadableImageError: it is no picture.
        ImageTooLargeError: it is above the budget.
    """
    header = read_header(data)
    if header is None:
        raise UnreadableImageError(UNREADABLE)
    budget.check(header.width, header.height, header.bytes_per_pixel)
    try:
        if header.kind in ("AVIF", "HEIF"):
            image = _through_pillow(data, header.kind)
        elif header.kind == "TIFF":
            image = _first_tiff_page(np.frombuffer(data, np.uint8))
        else:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a damaged header
        image = None
    if image is None:
        raise UnreadableImageError(UNREADABLE)
    return image


def _through_pillow(data: bytes, kind: str) -> np.ndarray | None:
    """Read AVIF and HEIC as Ultralytics does: OpenCV does not turn the one and cannot read the other."""
    try:
        from PIL import ImageOps
        from PIL.AvifImagePlugin import AvifImageFile as Opener

        if kind == "HEIF":
            from pi_heif import HeifImageFile as Opener
    except ImportError as error:
        needed = {"PIL": "pillow", "pi_heif": "fgd_yolo[heic]"}.get((error.name or "").partition(".")[0], "pillow")
        name = "HEIC" if kind == "HEIF" else kind
        raise UnreadableImageError(
            f"{name} cannot be read without another package: run pip install '{needed}'"
        ) from None
    try:
        # Not by Image.open, whose own limit of pixels is another one.
        with ImageOps.exif_transpose(Opener(io.BytesIO(data))) as photo:
            return cv2.cvtColor(np.asarray(photo.convert("RGB")), cv2.COLOR_RGB2BGR)
    except Exception:  # a decoder throws anything at a damaged file
        return None


def _first_tiff_page(data: np.ndarray) -> np.ndarray | None:
    # IMREAD_COLOR loses the depth and alpha of some TIFFs in a way of its own, so Ultralytics reads them as they are.
    found, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(0, 1))
    if found and pages[0].ndim == 3 and pages[0].dtype in (np.uint8, np.uint16):
        return as_bgr(pages[0][..., :3])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def as_bgr(image: np.ndarray) -> np.ndarray:
    """Return an application's array as BGR, or say why it is no picture.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, as OpenCV gives them; uint8, or uint16, of which the
            high byte is kept.
    Returns:
        (H, W, 3) BGR uint8 in one piece; without a copy where the array is that already.
    Raises:
        FGDError: another type, another shape, or no pixels.
    """
    if not isinstance(image, np.ndarray):
        advice = (
            "give a path or an array as cv2.imread returns it (for PIL: numpy.asarray(photo.convert('RGB'))[..., ::-1])"
        )
        raise FGDError(f"{type(image).__name__} is no picture: {advice}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise FGDError(f"an array of shape {image.shape} is no picture: the shape is (height, width, 3 channels BGR)")
    if not image.size:
        raise FGDError(f"a picture of shape {image.shape} has no pixels: was it read at all?")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise FGDError(f"a picture of {image.dtype} has no known range: scale it to 0..255 and convert it to uint8")
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])


def list_images(source: str | Path) -> list[Path]:
    """Return the pictures that a source names, in Ultralytics' order.

    Args:
        source: a file of any name; a folder, of which the pictures directly in it are taken; or a pattern such as
            `photos/**/*.jpg`, of which the pictures are taken.
    Raises:
        UsageError: there is none; videos are named, which the stream command plays.
    """
    path = Path(source)
    try:
        if path.is_file():
            return [_no_video(path)]
    except (OSError, ValueError) as error:
        raise UsageError(f"'{source}' cannot be read: {one_line(error)}") from None
    images = list_files(source, IMAGE_SUFFIXES)
    if images:
        return images
    if videos := list_files(source, VIDEO_SUFFIXES):
        count = f"{len(videos)} videos" if len(videos) > 1 else "a video"
        raise UsageError(f"there is no picture in '{source}', but {count}: {STREAM_ADVICE.format(source)}")
    if path.is_dir():
        raise UsageError(f"there is no picture in {path}; of folders in it say '{path}/**/*.jpg'")
    if glob.has_magic(str(source)):
        raise UsageError(f"no picture has a name like '{source}'")
    raise UsageError(f"'{source}' does not exist: name a picture, a folder of pictures or a pattern such as '*.jpg'")


def _no_video(path: Path) -> Path:
    kind = media_kind(path)
    if kind is MediaKind.MJPEG or (kind is MediaKind.OTHER and path.suffix[1:].lower() in VIDEO_SUFFIXES.split()):
        raise UsageError(f"{path} is a video, and this reads pictures: {STREAM_ADVICE.format(path)}")
    return path
