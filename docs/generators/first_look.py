"""What a person wants to see first: the gain in mAP, and one image as a plain and as a distilled student see it.

The image is chosen by a rule, see `typical_image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import cv2
import numpy as np
import torch
from committed_rows import DATA, OURS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torchvision.ops import box_iou
from ultralytics.data.utils import img2label_paths

from fgd_yolo.compare.paired_differences import Estimate, Pair, estimate, pairs
from fgd_yolo.compare.plots import colours
from fgd_yolo.compare.results import Run
from fgd_yolo.config import DEFAULT_METHOD, PLAIN
from fgd_yolo.datasets import run_dataset, split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.images import load_image
from fgd_yolo.workflow.run_folder import STUDENT_ONNX

MIN_IOU = 0.5
_MARKERS = "osv^D"
_INK = "#222222"
_TITLE = {"fontsize": 11, "fontweight": "bold"}
_LABELS = {"found": "object found", "missed": "object missed", "false": "false detection"}
_STYLES = {"found": ("#00805C", "-"), "missed": ("#C62F14", (0, (3, 1.5))), "false": ("#2F4BC8", (0, (1, 1)))}


class Objects(NamedTuple):
    """Objects of an image: boxes (n, 4) x1, y1, x2, y2 in pixels, and classes (n,)."""

    boxes: np.ndarray
    classes: np.ndarray


class Sight(NamedTuple):
    """What a student sees of an image: boxes (n, 4) of labelled objects that it finds and misses, and false ones."""

    found: np.ndarray
    missed: np.ndarray
    false: np.ndarray

    @property
    def f1(self) -> float:
        """F1 score: twice the found objects over the labelled ones and the detections."""
        return 2 * len(self.found) / max(2 * len(self.found) + len(self.missed) + len(self.false), 1)


def draw_first_look(run: Path, plain: Path, rows: Sequence[Run]) -> Figure:
    """Draw one val image with the detections of both students, and the gain of distillation over all pairs of runs.

    Args:
        run: run folder of the distilled student, with its exported file.
        plain: run folder of the same student without a teacher.
        rows: rows of a comparison of the default with plain training.
    """
    path, sights = typical_image(run, plain)
    image = load_image(path)
    height, width = image.shape[:2]
    photo_in = 3.85 * height / width
    figure = Figure(figsize=(8, photo_in + 3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    above, below = figure.subfigures(2, 1, height_ratios=(1.75, photo_in + 1.25))
    differences = pairs(rows, OURS, PLAIN)
    gain = estimate([pair.points for pair in differences])
    interval = f"95 % interval {gain.low:+.2f} to {gain.high:+.2f}"
    above.suptitle(f"Gain of distillation: {gain.mean:+.2f} mAP50-95 points, {interval}", **_TITLE)
    _draw_gain(above.subplots(), differences, gain)
    below.suptitle("An image of typical difference", **_TITLE)
    names = ("plain student", "student distilled with fgd_yolo")
    for axes, name, sight in zip(below.subplots(1, 2), names, sights, strict=True):
        _draw_sight(axes, image, sight, name)
    handles = [_box(kind, label=label) for kind, label in _LABELS.items()]
    below.legend(handles=handles, loc="outside lower center", ncol=3)
    return figure


def typical_image(run: Path, plain: Path) -> tuple[Path, tuple[Sight, Sight]]:
    """Return the val image on which the two students differ as they typically do, and what they see, plain first.

    Of the val images on which their F1 scores differ, it is the one whose difference is the median; of several, the
    first by name.

    Raises:
        FGDError: the scores are equal on every image.
    """
    detectors = [OnnxDetector(folder / STUDENT_ONNX, device="cpu") for folder in (plain, run)]
    seen = {}
    for path in sorted(split_images(run_dataset(run), "val", "to draw")):
        image, objects = load_image(path), labelled_objects(path)
        seen[path] = tuple(match(objects, detector(image)) for detector in detectors)
    gains = {path: after.f1 - before.f1 for path, (before, after) in seen.items() if after.f1 != before.f1}
    if not gains:
        raise FGDError("both students score the same on every val image: name other runs")
    median = median_low(gains.values())
    chosen = next(path for path, gain in gains.items() if gain == median)
    return chosen, seen[chosen]


def labelled_objects(path: Path) -> Objects:
    """Return the labelled objects of an image."""
    height, width = load_image(path).shape[:2]
    lines = Path(img2label_paths([str(path)])[0]).read_text(encoding="utf-8").splitlines()
    rows = np.array([line.split() for line in lines], float).reshape(-1, 5)
    centres, halves = rows[:, 1:3], rows[:, 3:5] / 2
    return Objects(
        np.hstack([centres - halves, centres + halves]) * [width, height, width, height], rows[:, 0].astype(int)
    )


def match(objects: Objects, detections: Detections) -> Sight:
    """Match detections with labelled objects of their class, those of the highest scores first, as mAP50 does.

    A detection finds the object that it overlaps most, if their IoU is at least 0.5 and no other has found it.
    """
    overlaps = box_iou(torch.from_numpy(detections.xyxy).double(), torch.from_numpy(objects.boxes)).numpy()
    overlaps[detections.class_id[:, None] != objects.classes] = 0
    false = []
    for row, box in zip(overlaps, detections.xyxy, strict=True):
        if row.size and row.max() >= MIN_IOU:
            overlaps[:, row.argmax()] = -1
        else:
            false.append(box)
    found = overlaps.min(axis=0, initial=0) < 0
    return Sight(objects.boxes[found], objects.boxes[~found], np.array(false).reshape(-1, 4))


def _box(kind: str, corners: tuple[float, ...] = (0, 0, 1, 1), **style) -> Rectangle:
    """Return the outline of a box, in the style of its kind."""
    colour, pattern = _STYLES[kind]
    x1, y1, x2, y2 = corners
    style = {"edgecolor": colour, "linestyle": pattern, "linewidth": 1.9, **style}
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style)


def _draw_sight(axes: Axes, image: np.ndarray, sight: Sight, name: str) -> None:
    """Draw an image with the labelled objects, each found or missed, and false detections."""
    axes.imshow(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    for kind, boxes in sight._asdict().items():
        for box in boxes:
            # On a white line, so that it is legible on every image.
            axes.add_patch(_box(kind, box, edgecolor="white", linestyle="-", linewidth=3.4, alpha=0.7))
            axes.add_patch(_box(kind, box))
    axes.set_axis_off()
    axes.set_anchor("S")
    axes.set_title(name, **_TITLE, pad=21)
    objects = len(sight.found) + len(sight.missed)
    counts = f"{len(sight.found)} of {objects} objects found, {len(sight.false)} false detections"
    axes.annotate(counts, (0.5, 1), (0, 5), "axes fraction", "offset points", ha="center", fontsize=10)


def _draw_gain(axes: Axes, differences: list[Pair], gain: Estimate) -> None:
    """Draw the difference of every pair of runs, and their mean with its interval."""
    shade = colours([DEFAULT_METHOD])[DEFAULT_METHOD]
    for data, marker in zip(dict.fromkeys(pair.data for pair in differences), _MARKERS, strict=False):
        points = [pair.points for pair in differences if pair.data == data]
        label = f"{DATA.get(data, data)} ({len(points)})"
        axes.plot(points, [0] * len(points), marker, color=shade, alpha=0.6, markersize=7, mec="none", label=label)
    axes.plot([gain.low, gain.high], [1, 1], color=_INK, linewidth=2.4, solid_capstyle="butt")
    axes.plot(gain.mean, 1, "D", color=_INK, markersize=8, label="mean, 95 % interval")
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set(yticks=[], ylim=(-0.8, 1.7), xlabel=f"mAP50-95 points over the plain student, {gain.n} pairs of runs")
    axes.spines["left"].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
