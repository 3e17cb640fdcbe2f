"""The lines of Ultralytics' label files: a class, and values as fractions of the image."""

from __future__ import annotations

from collections.abc import Iterable

HIDDEN, OCCLUDED, VISIBLE = 0, 1, 2
"""Visibility of a keypoint: outside the image or not labelled, covered by something else, visible."""


def label_line(class_index: int, values: Iterable[float]) -> str:
    """Return the line of one object, with its line break: the class, and the values with six decimals."""
    return f"{class_index} {' '.join(f'{value:.6f}' for value in values)}\n"
