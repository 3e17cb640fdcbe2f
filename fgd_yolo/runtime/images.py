"""Read images from files, and check arrays from applications: uint8, with as many channels as a model takes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.image_headers import read_header, tiff_pages
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget
from fgd_yolo.text import counted

_NO_DETAIL = "cannot be read"
_READ_FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}
"""OpenCV's flag by number of channels, as in Ultralytics; any other number is read with `IMREAD_UNCHANGED`."""


class UnreadableImageError(FGDError):
    """A file is not an image that can be read; the message may have a reason."""


def try_load_image(path: str | Path, budget: PixelBudget | None = None, channels: int = 3) -> np.ndarray | None:
    """Load an image as `load_image` does, or return None if that fails."""
    try:
        return load_image(path, budget, channels)
    except (UnreadableImageError, ImageTooLargeError):
        return None


def failure_detail(error: FGDError) -> str:
    """Return the reason why `load_image` failed, to be appended to a message; empty if there is none."""
    return "" if str(error) == _NO_DETAIL else f": {error}"


def load_image(path: str | Path, budget: PixelBudget | None = None, channels: int = 3) -> np.ndarray:
    """Load an image for a model of 1, 3 or more channels, with the same pixels as Ultralytics.

    Convention:
        16-bit values are reduced to their high byte. For 1 and 3 channels, the image is rotated and mirrored by its
        EXIF orientation, or by the properties of an AVIF or HEIC file; alpha is dropped; a file of several pages gives
        its first one. A grey image becomes three equal channels. A colour image becomes grey in its decoder, which for
        a JPEG of strong colours differs from `cv2.cvtColor` of its decoded colours.

        For any other number of channels, the file must have that number. Its channels and its orientation stay as they
        are stored: four channels are BGRA as in OpenCV, and the pages of a grey TIFF are the channels of one image.
    Args:
        path: the file; its name may contain any character.
        budget: limit of its size; None uses the default limit.
        channels: number of channels that the model takes.
    Returns:
        (H, W, channels) uint8; BGR for three channels.
    Raises:
        UnreadableImageError: the file cannot be read as an image, or not with this number of channels.
        ImageTooLargeError: the image exceeds the budget; it was not decoded.
    """
    budget = budget or PixelBudget()
    return decode_image(read_file(path, budget), budget, channels)


def read_file(path: str | Path, budget: PixelBudget) -> bytes:
    """Return the content of an image file, whose length is checked before.

    Raises:
        UnreadableImageError: the file cannot be read.
        ImageTooLargeError: it has too many bytes.
    """
    try:
        with Path(path).open("rb") as file:
            budget.check_bytes(os.fstat(file.fileno()).st_size)
            data = file.read(budget.bytes + 1)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(_NO_DETAIL) from error
    budget.check_bytes(len(data))  # the size of a pipe or device is not known before
    return data


def decode_image(data: bytes, budget: PixelBudget, channels: int = 3) -> np.ndarray:
    """Decode the content of an image file as `load_image` does.

    Args:
        data: the content of the file.
        budget: limit of its size, checked before anything is decoded.
        channels: number of channels that the model takes.
    Raises:
        UnreadableImageError: the data is not an image, or not one of this number of channels.
        ImageTooLargeError: the image exceeds the budget.
    """
    header = read_header(data)
    if header is None:
        raise UnreadableImageError(_NO_DETAIL)
    budget.check(header.width, header.height, header.bytes_per_pixel)
    try:
        if header.kind in ("AVIF", "HEIF"):
            image = _decode_with_pillow(data, header.kind, grey=channels == 1)
        elif header.kind == "TIFF" and channels == 3:
            image = _first_tiff_page(np.frombuffer(data, np.uint8))
        elif header.kind == "TIFF" and channels != 1:
            image = _tiff_channels(data, budget, channels)
        else:
            flag = _READ_FLAGS.get(channels, cv2.IMREAD_UNCHANGED)
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # a damaged header
        image = None
    if image is None:
        raise UnreadableImageError(_NO_DETAIL)
    image = _to_bytes(np.atleast_3d(image))
    if image.dtype != np.uint8:
        raise UnreadableImageError(f"its values are {image.dtype}, but must have 8 or 16 bits")
    if image.shape[2] != channels:
        raise UnreadableImageError(f"it has {counted(image.shape[2], 'channel')}, but the model takes {channels}")
    return image


def _decode_with_pillow(data: bytes, kind: str, grey: bool) -> np.ndarray | None:
    """Decode AVIF and HEIC as Ultralytics does: OpenCV ignores the orientation of AVIF, and cannot read HEIC."""
    try:
        from PIL import ImageOps
        from PIL.AvifImagePlugin import AvifImageFile as ImageFile

        if kind == "HEIF":
            from pi_heif import HeifImageFile as ImageFile
    except ImportError as error:
        package = {"PIL": "pillow", "pi_heif": "fgd_yolo[heic]"}.get((error.name or "").partition(".")[0], "pillow")
        name = "HEIC" if kind == "HEIF" else kind
        raise UnreadableImageError(
            f"{name} cannot be read without another package: run pip install '{package}'"
        ) from None
    try:
        # Image.open would apply its own limit of pixels.
        with ImageOps.exif_transpose(ImageFile(io.BytesIO(data))) as image:
            if grey:
                return np.asarray(image.convert("L"))
            return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    except Exception:  # decoders raise all kinds of exceptions for a damaged file
        return None


def _first_tiff_page(data: np.ndarray) -> np.ndarray | None:
    # IMREAD_COLOR converts the depth and alpha of some TIFFs differently, so Ultralytics reads them unchanged.
    decoded, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(0, 1))
    if decoded and pages[0].ndim == 3 and pages[0].dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(_to_bytes(pages[0])[..., :3])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def _tiff_channels(data: bytes, budget: PixelBudget, channels: int) -> np.ndarray | None:
    """Decode the first page of a TIFF unchanged or, if the pages are grey, as many of them as channels of one image."""
    encoded, headers = np.frombuffer(data, np.uint8), tiff_pages(data)
    count = channels if len(headers) == channels else 1
    sides = (max(sizes) for sizes in zip(*(page[1:3] for page in headers[:count]), strict=True))
    budget.check(*sides, sum(page.bytes_per_pixel for page in headers[:count]))
    decoded, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, range=(0, count))
    if not decoded:
        return cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if pages[0].ndim == 3:
        return pages[0]
    if len(headers) > 1 and count == 1:
        raise UnreadableImageError(
            f"it has {len(headers)} grey pages, but the model takes {counted(channels, 'channel')}"
        )
    if len({page.shape for page in pages}) > 1:
        raise UnreadableImageError("its pages have different sizes, so they are not the channels of one image")
    return np.stack(pages, axis=2)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """Reduce 16-bit values to their high byte."""
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def convert_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Check an application's array and return it with the number of channels that a model takes.

    Convention:
        For 3 channels, grey becomes three equal channels and alpha is dropped. For 1 channel, BGR becomes grey as by
        `cv2.cvtColor`, and alpha is dropped. For any other number, the array must have that number.
    Args:
        image: (H, W), (H, W, 1), (H, W, 3) BGR, (H, W, 4) BGRA as in OpenCV, or (H, W, channels); uint8, or uint16,
            which is reduced to the high byte.
        channels: number of channels that the model takes.
    Returns:
        (H, W, channels) uint8, C-contiguous; not copied if the array is that already.
    Raises:
        FGDError: the array has another type or shape, or no pixels.
    """
    expected = f"(height, width, {counted(channels, 'channel')}{' BGR' if channels == 3 else ''})"
    image = _checked(image, expected)
    count = image.shape[2]
    if count == channels:
        return np.ascontiguousarray(image)
    if channels not in (1, 3) or count not in (1, 3, 4):
        raise FGDError(f"an image must have the shape {expected} for this model, got {image.shape}")
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if count == 4 else cv2.COLOR_BGR2GRAY)[..., None]
    return as_bgr(image)


def as_bgr(image: np.ndarray) -> np.ndarray:
    """Return an image of any number of channels as BGR, to be drawn on.

    Convention:
        As in Ultralytics: grey becomes three equal channels, a third channel beside two is 0, and of more than three
        the first three are kept.
    Args:
        image: (H, W) or (H, W, C), uint8 or uint16.
    Returns:
        (H, W, 3) uint8, C-contiguous; not copied if the array is that already.
    Raises:
        FGDError: the array has another type or shape, or no pixels.
    """
    image = _checked(image, "(height, width, channels)")
    if image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 2:
        return np.dstack([image, np.zeros_like(image[..., 0])])
    return np.ascontiguousarray(image[..., :3])


def _checked(image: np.ndarray, expected: str) -> np.ndarray:
    """Return an array as (H, W, C) uint8; raise FGDError, which names the expected shape, if it is not an image."""
    if not isinstance(image, np.ndarray):
        raise FGDError(
            f"an image must be a path or an array as cv2.imread returns it, got {type(image).__name__} "
            "(for a PIL image: numpy.asarray(image.convert('RGB'))[..., ::-1])"
        )
    if image.ndim not in (2, 3):
        raise FGDError(f"an image must have the shape {expected}, got {image.shape}")
    if not image.size:
        raise FGDError(f"an image of shape {image.shape} has no pixels: check that it was read")
    image = _to_bytes(np.atleast_3d(image))
    if image.dtype != np.uint8:
        raise FGDError(f"an image must be uint8, got {image.dtype}: scale it to 0..255 and convert it to uint8")
    return image
