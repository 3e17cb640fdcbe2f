"""Pictures as the detector takes them: BGR, 8 bits, three channels, from files or from an application's arrays."""

from __future__ import annotations

import glob
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.errors import FGDError, UsageError, one_line

_PICTURES = "avif bmp dng heic heif jp2 jpeg jpg mpo pbm pgm png ppm tif tiff webp"
_VIDEOS = "asf avi gif m4v mkv mov mp4 mpeg mpg ts webm wmv"


def read_image(path: str | Path) -> np.ndarray | None:
    """Read a picture as Ultralytics does, so that both see the same pixels.

    Convention:
        A photo is turned as its EXIF note says. Alpha is dropped; of 16 bits the high byte is kept; a grey picture
        becomes three equal channels.
    Args:
        path: the file; its name may hold any character.
    Returns:
        (H, W, 3) BGR uint8, or None if the file cannot be read as a picture.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except (OSError, ValueError):
        return None
    try:
        if Path(path).suffix.lower() in {".tif", ".tiff"}:
            return _first_tiff_page(data)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # empty, larger than OpenCV takes, or a damaged header
        return None


def _first_tiff_page(data: np.ndarray) -> np.ndarray | None:
    # IMREAD_COLOR loses the depth and alpha of some TIFFs in a way of its own, so Ultralytics reads them as they are.
    found, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED)
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
    """Return the pictures that a source names, sorted.

    Args:
        source: a file of any name; a folder, of which the pictures directly in it are taken; or a pattern such as
            `photos/**/*.jpg`, of which the pictures are taken.
    Raises:
        UsageError: there is none.
    """
    path = Path(source)
    try:
        if path.is_file():
            return [_no_video(path)]
        found = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(source), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        images = sorted(file for file in found if _is_picture(file))
    except (OSError, ValueError) as error:
        raise UsageError(f"'{source}' cannot be read: {one_line(error)}") from None
    if images:
        return images
    if path.is_dir():
        raise UsageError(f"there is no picture in {path}; of folders in it say '{path}/**/*.jpg'")
    if glob.has_magic(str(source)):
        raise UsageError(f"no picture has a name like '{source}'")
    raise UsageError(f"'{source}' does not exist: name a picture, a folder of pictures or a pattern such as '*.jpg'")


def _no_video(path: Path) -> Path:
    if path.suffix[1:].lower() in _VIDEOS.split():
        raise UsageError(f"{path} is a video, and this reads pictures: cut frames out of it first")
    return path


def _is_picture(file: Path) -> bool:
    return file.suffix[1:].lower() in _PICTURES.split() and not file.name.startswith(".") and file.is_file()
