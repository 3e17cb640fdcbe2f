"""Tell whether an image shows the same view as an earlier one, by a perceptual hash.

The hash is ImageHash's `phash` of 16 x 16 bits, the signs of the low frequencies of a 64 x 64 px grey image. Of phash,
dhash, ahash and whash with 8 to 24 bits a side it alone separates what should be told apart. In bits that differ, on
images of BCCD and frames of the demo video:

| the same view | | something changed | |
|---|---|---|---|
| brightness x 0.8 and x 1.15 | at most 4 | an object moves to an IoU between 0.7 and 0.9 | at least 16 |
| noise of 8 levels | at most 4 | an object moves further | 95 % at least 16 |
| JPEG of quality 40 | at most 8 | an object comes or leaves | 95 % at least 22 |
| half the size, or shifted by 0.2 % | at most 8 | shifted by 5 %, or rotated by 5 degrees | 95 % at least 58 |

A new object of a tenth of the height differs by 28 bits in the median, but by 8 or less for one in twenty. With 8 x 8
bits a hash does not see it: dhash differs by 0 to 4 bits, as for noise. With 24 x 24 bits more of a hash is noise.
phash is also the fastest, since it is computed from an image that OpenCV has shrunk.
Of the 1364 images of BCCD, DeepPCB and Raccoon it drops six, which are other images saved again and differ from them by
at most 2 bits. The nearest two that are not the same differ by 20.
"""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np

from fgd_yolo.errors import UsageError, not_installed

DISTANCE = 10
"""Number of bits, of 256, up to which two images show the same view."""
_BITS = 16  # on each side
_SIDE_PX = 4 * _BITS  # phash's factor
# Below this spread of the shrunk image, in grey levels, its hash is that of the noise: 0.4 to 1.25 were measured for a
# plain area with noise of 4 to 16 levels, 16 to 24 for BCCD, 3.4 for a black image with a white spot of 8 x 8 px.
_LEAST_CONTRAST = 1.5
_FIRST_CAPACITY = 1024


class NearDuplicates:
    """Remembers the views it has seen. Not thread-safe.

    An image is compared with all that were new: with 100 000 of them this takes 1 ms, and they take 3.2 MB.

    Args:
        distance: number of bits, 0 to 256, up to which two images show the same view.
        remember: number of views to remember; a further one replaces the oldest. None remembers all.
    Raises:
        FGDError: ImageHash is not installed.
        UsageError: `remember` is below 1.
    """

    def __init__(self, distance: int = DISTANCE, remember: int | None = None):
        if remember is not None and remember < 1:
            raise UsageError(f"remember must be at least 1, got {remember}")
        _imagehash()
        self._distance, self._remember = distance, remember
        self._hashes = np.zeros((min(_FIRST_CAPACITY, remember or _FIRST_CAPACITY), _BITS * _BITS // 8), np.uint8)
        self._added = 0

    def __len__(self) -> int:
        """Return the number of views that are remembered."""
        return self._added if self._remember is None else min(self._added, self._remember)

    def is_new(self, image: np.ndarray) -> bool:
        """Return whether an image shows another view than all that are remembered, and remember it if so.

        Images without contrast (a covered lens, a black night) are one view, however their noise differs.

        Args:
            image: (H, W, 3) BGR uint8.
        """
        bits = _hash(image)
        if len(self):
            # The nearest one by Hamming distance, which OpenCV finds faster than numpy.
            nearest, _ = cv2.batchDistance(
                bits[None], self._hashes[: len(self)], cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1
            )
            if nearest[0, 0] <= self._distance:
                return False
        self._add(bits)
        return True

    def _add(self, bits: np.ndarray) -> None:
        if len(self) == len(self._hashes) != self._remember:
            capacity = 2 * len(self._hashes)
            grown = np.zeros((min(capacity, self._remember or capacity), self._hashes.shape[1]), np.uint8)
            grown[: len(self._hashes)] = self._hashes
            self._hashes = grown
        self._hashes[self._added % len(self._hashes)] = bits
        self._added += 1


def _hash(image: np.ndarray) -> np.ndarray:
    """Return the bits of an image's hash as bytes, (32,) uint8."""
    # Imported late: Pillow takes time to load.
    from PIL import Image

    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    if cv2.meanStdDev(grey)[1][0, 0] < _LEAST_CONTRAST:
        return np.zeros(_BITS * _BITS // 8, np.uint8)
    return np.packbits(_imagehash().phash(Image.fromarray(grey), hash_size=_BITS).hash)


def _imagehash() -> ModuleType:
    try:
        import imagehash
    except ImportError:
        raise not_installed("ImageHash", "stream") from None
    return imagehash
