"""The labels of a demo scene in Ultralytics' format of each task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fgd_yolo.demo.outlines import mask_outline
from fgd_yolo.demo.rendering import Placement, Scene, place
from fgd_yolo.demo.signs import KEYPOINTS, MIRRORED_KEYPOINTS, SIGNS, Sign
from fgd_yolo.label_lines import HIDDEN, OCCLUDED, VISIBLE, label_line


class LabelFormat(NamedTuple):
    """How the labels of a task are written.

    Convention:
        `rows(scene)` yields one row of numbers after the class for each labelled object, in the order of the scene.
        Coordinates are fractions of the image. `folder_part` is the task's part of the folder name, `yaml_entries` what
        the data YAML holds besides images and names.
    """

    rows: Callable[[Scene], Iterable[np.ndarray]]
    folder_part: str
    yaml_entries: Mapping[str, Any]

    def text(self, scene: Scene) -> str:
        """Return the label file of a scene: a line for each object, with a class index and six decimals."""
        lines = zip(scene.classes, self.rows(scene), strict=True)
        return "".join(label_line(index, row) for index, row in lines)


def box_rows(scene: Scene) -> Iterable[np.ndarray]:
    """Yield `x y width height`: centre and size of the box around the visible part."""
    low, high = scene.boxes_xyxy[:, :2], scene.boxes_xyxy[:, 2:]
    return np.concatenate([(low + high) / 2 / _size(scene), (high - low) / _size(scene)], axis=1)


def polygon_rows(scene: Scene) -> Iterable[np.ndarray]:
    """Yield `x1 y1 x2 y2 ...`: the outline of the visible part, see `mask_outline`."""
    return ((mask_outline(scene.layers == layer) / _size(scene)).ravel() for layer in scene.object_layers)


def keypoint_rows(scene: Scene) -> Iterable[np.ndarray]:
    """Yield `x y width height`, then `x y visibility` of each keypoint; all zeros for a sign without keypoints."""
    objects = zip(box_rows(scene), scene.classes, scene.poses, scene.object_layers, strict=True)
    for box, index, pose, layer in objects:
        sign = SIGNS[index]
        keypoints = np.zeros((len(KEYPOINTS), 3))
        if sign.keypoints is not None:
            points_px = upright_keypoints(sign, place(sign, pose))
            keypoints[:, 2] = visibility(points_px, scene.layers, layer)
            keypoints[:, :2] = points_px / _size(scene) * (keypoints[:, 2:] != HIDDEN)
        yield np.concatenate([box, keypoints.ravel()])


def rotated_box_rows(scene: Scene) -> Iterable[np.ndarray]:
    """Yield `x1 y1 x2 y2 x3 y3 x4 y4`: the box along the sign's own axes around the visible part.

    The corners are the sign's top left, top right, bottom right and bottom left. They may be outside the image.
    """
    for pose, layer in zip(scene.poses, scene.object_layers, strict=True):
        right = np.array([np.cos(pose.angle), np.sin(pose.angle)])
        axes = np.stack([right, [-right[1], right[0]]])
        rows, columns = np.nonzero(scene.layers == layer)
        along = np.stack([columns + 0.5, rows + 0.5], axis=1) @ axes.T
        (left, top), (end, bottom) = along.min(axis=0) - 0.5, along.max(axis=0) + 0.5
        corners = np.array([[left, top], [end, top], [end, bottom], [left, bottom]]) @ axes
        yield (corners / _size(scene)).ravel()


def upright_keypoints(sign: Sign, placement: Placement) -> np.ndarray:
    """Return the keypoints of a placed sign, (6, 2) in pixels.

    After some rotations the points of a sign are where they were, and only a mark, if any, tells them apart, which is
    too small to be learnt in a short training. Of the equal ways to name them, the one whose `top` is uppermost in the
    image is taken. This stays right under a horizontal flip, but not under a vertical flip or a rotation of the image.
    """
    candidates = []
    for turn in np.arange(sign.symmetry) * (2 * np.pi / sign.symmetry):
        cos, sin = np.cos(turn), np.sin(turn)
        candidates.append(placement(sign.keypoints @ np.array([[cos, sin], [-sin, cos]])))
    top = KEYPOINTS.index("top")
    return min(candidates, key=lambda points_px: points_px[top, 1])


def visibility(points_px: np.ndarray, layers: np.ndarray, layer: int) -> np.ndarray:
    """Return whether points of a shape are visible, (N,): a shape painted later has a higher layer and covers them."""
    columns, rows = np.floor(points_px).astype(int).T
    height, width = layers.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    covering = layers[rows.clip(0, height - 1), columns.clip(0, width - 1)] > layer
    return np.where(inside, np.where(covering, OCCLUDED, VISIBLE), HIDDEN)


def _size(scene: Scene) -> np.ndarray:
    """Return width and height of the image in pixels."""
    return np.array(scene.image.shape[1::-1])


LABEL_FORMATS: dict[str, LabelFormat] = {
    "detect": LabelFormat(box_rows, "", {}),
    "segment": LabelFormat(polygon_rows, "-segment", {}),
    "pose": LabelFormat(
        keypoint_rows,
        "-pose",
        {"kpt_shape": [len(KEYPOINTS), 3], "flip_idx": list(MIRRORED_KEYPOINTS)},
    ),
    "obb": LabelFormat(rotated_box_rows, "-obb", {}),
}
