"""Read images from files, and check arrays from applications: BGR, uint8, three channels."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.image_headers import read_header
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget

_NO_DETAIL = "cannot be read"


class UnreadableImageError(FGDError):
    """A file is not an image that can be read; the message may have a reason."""


def try_load_image(path: str | Path, budget: PixelBudget | None = None) -> np.ndarray | None:
    """Load an image as `load_image` does, or return None if that fails."""
    try:
        return load_image(path, budget)
    except (UnreadableImageError, ImageTooLargeError):
        return None


def failure_detail(error: FGDError) -> str:
    """Return the reason why `load_image` failed, to be appended to a message; empty if there is none."""
    return "" if str(error) == _NO_DETAIL else f": {error}"


def load_image(path: str | Path, budget: PixelBudget | None = None) -> np.ndarray:
    """Load an image, with the same pixels as Ultralytics.

    Convention:
        The image is rotated and mirrored by its EXIF orientation, or by the properties of an AVIF or HEIC file. Alpha
        is dropped; 16-bit values are reduced to their high byte; a grey image becomes three equal channels; a file of
        several pages gives its first one.
    Args:
        path: the file; its name may contain any character.
        budget: limit of its size; None uses the default limit.
    Returns:
        (H, W, 3) BGR uint8.
    Raises:
        UnreadableImageError: the file cannot be read as an image.
        ImageTooLargeError: the image exceeds the budget; it was not decoded.
    """
    budget = budget or PixelBudget()
    try:
        with Path(path).open("rb") as file:
            budget.check_bytes(os.fstat(file.fileno()).st_size)
            data = file.read(budget.bytes + 1)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(_NO_DETAIL) from error
    budget.check_bytes(len(data))  # the size of a pipe or device is not known before
    return decode_image(data, budget)


def decode_image(data: bytes, budget: PixelBudget) -> np.ndarray:
    """Decode the content of an image file as `load_image` does.

    Args:
        data: the content of the file.
        budget: limit of its size, checked before anything is decoded.
    Raises:
        UnreadableImageError: the data is not an image.
        ImageTooLargeError: the image exceeds the budget.
    """
    header = read_header(data)
    if header is None:
        raise UnreadableImageError(_NO_DETAIL)
    budget.check(header.width, header.height, header.bytes_per_pixel)
    try:
        if header.kind in ("AVIF", "HEIF"):
            image = _decode_with_pillow(data, header.kind)
        elif header.kind == "TIFF":
            image = _first_tiff_page(np.frombuffer(data, np.uint8))
        else:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a damaged header
        image = None
    if image is None:
        raise UnreadableImageError(_NO_DETAIL)
    return image


def _decode_with_pillow(data: bytes, kind: str) -> np.ndarray | None:
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
            return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    except Exception:  # decoders raise all kinds of exceptions for a damaged file
        return None


def _first_tiff_page(data: np.ndarray) -> np.ndarray | None:
    # IMREAD_COLOR converts the depth and alpha of some TIFFs differently, so Ultralytics reads them unchanged.
    decoded, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(0, 1))
    if decoded and pages[0].ndim == 3 and pages[0].dtype in (np.uint8, np.uint16):
        return as_bgr(pages[0][..., :3])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def as_bgr(image: np.ndarray) -> np.ndarray:
    """Check an application's array and return it as BGR.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA as in OpenCV; uint8, or uint16, which is reduced to
            the high byte.
    Returns:
        (H, W, 3) BGR uint8, C-contiguous; not copied if the array is that already.
    Raises:
        FGDError: the array has another type or shape, or no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise FGDError(
            f"an image must be a path or an array as cv2.imread returns it, got {type(image).__name__} "
            "(for a PIL image: numpy.asarray(image.convert('RGB'))[..., ::-1])"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise FGDError(f"an image must have the shape (height, width, 3 channels BGR), got {image.shape}")
    if not image.size:
        raise FGDError(f"an image of shape {image.shape} has no pixels: check that it was read")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise FGDError(f"an image must be uint8, got {image.dtype}: scale it to 0..255 and convert it to uint8")
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])
