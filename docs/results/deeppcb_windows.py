"""Cut one window of 128 px out of each image of DeepPCB: `python deeppcb_windows.py SOURCE TARGET TRAIN VAL`.

A defect is 19 px wide in an image of 320 px, and would be 8 px wide at the 128 px of the comparison; a window keeps
the resolution. It is the window, on a grid of 8 px, with the most complete boxes (the first if several). A box that
it cuts is clipped and kept if half of it is inside. TRAIN and VAL are the numbers of images: every n-th sorted name.
"""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np

SIDE, STEP = 128, 8


def window(boxes: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """Return left and top of the window with the most complete boxes (N x 4: x1, y1, x2, y2 in pixels)."""
    corners = [(x, y) for y in range(0, height - SIDE + 1, STEP) for x in range(0, width - SIDE + 1, STEP)]
    return max(
        corners,
        key=lambda c: sum(
            x1 >= c[0] and y1 >= c[1] and x2 <= c[0] + SIDE and y2 <= c[1] + SIDE for x1, y1, x2, y2 in boxes
        ),
    )


def cut(image: Path, label: Path, out_image: Path, out_label: Path) -> None:
    """Write the window of one image and its labels."""
    pixels = cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
    height, width = pixels.shape[:2]
    rows = np.loadtxt(label, ndmin=2)
    centre, size = rows[:, 1:3] * (width, height), rows[:, 3:5] * (width, height)
    boxes = np.hstack([centre - size / 2, centre + size / 2])
    left, top = window(boxes, height, width)
    clipped = np.clip(boxes - (left, top, left, top), 0, SIDE)
    kept = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) >= 0.5 * np.prod(size, axis=1)
    clipped = clipped[kept] / SIDE
    labels = np.column_stack([rows[kept, 0], (clipped[:, :2] + clipped[:, 2:]) / 2, clipped[:, 2:] - clipped[:, :2]])
    cv2.imwrite(str(out_image), pixels[top : top + SIDE, left : left + SIDE])
    np.savetxt(out_label, labels, fmt="%d %.6f %.6f %.6f %.6f")


def main(source: str, target: str, *counts: str) -> None:
    """Make the data set."""
    for split, count in zip(("train", "val"), map(int, counts), strict=True):
        images = sorted((Path(source) / "images" / split).iterdir())
        for kind in ("images", "labels"):
            (Path(target) / kind / split).mkdir(parents=True)
        for image in images[:: len(images) // count][:count]:
            label = Path(source) / "labels" / split / f"{image.stem}.txt"
            cut(
                image,
                label,
                Path(target) / "images" / split / f"{image.stem}.png",
                Path(target) / "labels" / split / label.name,
            )
    shutil.copy(next(Path(source).glob("*.yaml")), target)


if __name__ == "__main__":
    main(*sys.argv[1:])
