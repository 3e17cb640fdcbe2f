"""Convert images to network inputs, and coordinates back to images, equal to Ultralytics' to the pixel.

A YOLO's input is letterboxed: the image keeps its aspect ratio and is padded. RT-DETR's is stretched to the input.

`InputFormat` describes the input of an exported file. The export writes one of the two formats defined here, for the
model's number of channels, into the metadata, and the runtime refuses a file with any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

PADDING = 114


class InputFormat(NamedTuple):
    """The input that an exported file takes. The field names are the keys in the file's metadata.

    Args:
        input: element type.
        layout: order of the axes: N images, H rows, W columns, C channels.
        channels: order of the channels: RGB or BGR, `GRAY` for one channel, `UNCHANGED` for any other number, whose
            channels have the order of the image file.
        scale: factor that turns a pixel value of 0 to 255 into an input value.
        padding: pixel value around the image on its canvas.
        fit: how an image is brought to the size of the input: `letterbox`, or `stretch`, which leaves no padding.
    """

    input: str
    layout: str
    channels: str
    scale: float
    padding: int
    fit: str = "letterbox"

    def of_channels(self, count: int) -> InputFormat:
        """Return the format of a model whose images have this number of channels; three are colours."""
        return self._replace(channels={1: "GRAY", 3: self.channels}.get(count, "UNCHANGED"))

    def of_fit(self, stretched: bool) -> InputFormat:
        """Return the format of a model whose images are stretched, or letterboxed."""
        return self._replace(fit="stretch" if stretched else "letterbox")

    def axis(self, letter: str) -> int:
        """Return the index of an axis of the layout, such as `H`."""
        return self.layout.index(letter)

    def differences(self, described: Mapping[str, Any]) -> list[str]:
        """Return the entries of a file's metadata, as `key value`, that contradict this format.

        Args:
            described: the entries; a missing key is no contradiction.
        """
        expected = self._asdict()
        return [
            f"{key} {described[key]}"
            for key, value in expected.items()
            if key in described and not _equal(described[key], value)
        ]


FLOAT_INPUT = InputFormat(input="float32", layout="NCHW", channels="RGB", scale=1 / 255, padding=PADDING)
UINT8_INPUT = InputFormat(input="uint8", layout="NHWC", channels="BGR", scale=1, padding=PADDING)


class Placement(NamedTuple):
    """The placement of an image on a canvas. All sizes are (height, width) in pixels.

    Args:
        image: size of the image itself.
        canvas: size of the canvas.
        content: size of the scaled image on the canvas.
        top: rows of padding above it.
        left: columns of padding to its left.
        stretched: whether the image fills the canvas, whatever its aspect ratio.
    """

    image: tuple[int, int]
    canvas: tuple[int, int]
    content: tuple[int, int]
    top: int
    left: int
    stretched: bool = False


def place(image: tuple[int, int], canvas: tuple[int, int], stride: int | None = None) -> Placement:
    """Return the placement of the largest centred copy of an image that fits on a canvas; small images are enlarged.

    Convention:
        Each side of the copy is rounded to the nearest pixel, halves to the even one, and is at least 1. Of an odd
        number of padding pixels the extra one goes to the bottom or the right.
    Args:
        image: height and width of the image.
        canvas: height and width to fit into.
        stride: if given, the canvas shrinks until less than one stride of padding is left on each axis.
    """
    gain = min(canvas[0] / image[0], canvas[1] / image[1])
    height, width = (max(round(side * gain), 1) for side in image)
    spare_y, spare_x = canvas[0] - height, canvas[1] - width
    if stride:
        spare_y, spare_x = spare_y % stride, spare_x % stride
    top, left = round(spare_y / 2 - 0.1), round(spare_x / 2 - 0.1)
    return Placement(image, (height + spare_y, width + spare_x), (height, width), top, left)


def stretch(image: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """Return the placement of an image that fills a canvas, each (height, width)."""
    return Placement(image, canvas, content=canvas, top=0, left=0, stretched=True)


def letterbox(image: np.ndarray, placement: Placement, out: np.ndarray | None = None) -> np.ndarray:
    """Paint an image onto its canvas, with grey padding around it.

    Args:
        image: (H, W, C) uint8, of the placement's image size.
        placement: placement of the image on the canvas.
        out: canvas (height, width, C) uint8 to paint on; None allocates one.
    Returns:
        The canvas.
    """
    height, width = placement.content
    bottom, right = placement.top + height, placement.left + width
    canvas = np.empty((*placement.canvas, image.shape[2]), np.uint8) if out is None else out
    canvas[: placement.top] = PADDING
    canvas[bottom:] = PADDING
    canvas[placement.top : bottom, : placement.left] = PADDING
    canvas[placement.top : bottom, right:] = PADDING
    cv2.resize(
        image,
        (width, height),
        dst=canvas[placement.top : bottom, placement.left : right],
        interpolation=cv2.INTER_LINEAR,
    )
    return canvas


def to_planes(canvas: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write a canvas as planes in [0, 1], equal to Ultralytics' bit for bit: BGR as RGB, other channels as they are.

    Contiguous planes and one exact division in place, instead of a product with 1/255, were the fastest variant.
    `cv2.dnn.blobFromImage` took over ten times as long.

    Args:
        canvas: (H, W, C) uint8.
        out: (1, C, H, W) floating point to write to.
    Returns:
        `out`.
    """
    planes = cv2.split(canvas)
    for plane, values in zip(out[0], planes[::-1] if len(planes) == 3 else planes, strict=True):
        plane[:] = values
    return np.divide(out, out.dtype.type(255), out=out)


def to_image(points: np.ndarray, placement: Placement) -> np.ndarray:
    """Move points from the canvas to the image, clipped to its border.

    Convention:
        As in Ultralytics, gain and padding of a letterbox are recomputed from the two sizes. On a canvas without
        padding whose content was rounded this may differ from the true ones by a fraction of a canvas pixel.
    Args:
        points: (..., 2) float32, x and y in canvas pixels. A corner pair (..., 2, 2) is two points.
        placement: placement of the image.
    Returns:
        The points in image pixels: x in [0, width], y in [0, height].
    """
    height, width = placement.image
    offset, gain = _offset_and_gain(placement)
    return np.clip((points - offset) / gain, np.float32(0), np.array([width, height], np.float32))


def rotated_to_image(boxes_cxcywhr: np.ndarray, placement: Placement) -> np.ndarray:
    """Move rotated boxes (n, 5) from the canvas to the image; they are not clipped, and angles stay as they are."""
    offset, gain = _offset_and_gain(placement)
    centres = (boxes_cxcywhr[:, :2] - offset) / gain
    return np.concatenate([centres, boxes_cxcywhr[:, 2:4] / gain, boxes_cxcywhr[:, 4:]], axis=1)


def _offset_and_gain(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Return the padding before the image and its gain, each (x, y)."""
    if placement.stretched:
        gain = placement.canvas[1] / placement.image[1], placement.canvas[0] / placement.image[0]
        return np.zeros(2, np.float32), np.array(gain, np.float32)
    recomputed = place(placement.image, placement.canvas)
    gain = recomputed.content[1] / recomputed.image[1], recomputed.content[0] / recomputed.image[0]
    return np.array([recomputed.left, recomputed.top], np.float32), np.array(gain, np.float32)


def _equal(described: Any, expected: Any) -> bool:
    if isinstance(expected, str):
        return described == expected
    return isinstance(described, (int, float)) and math.isclose(described, expected, rel_tol=1e-3)
