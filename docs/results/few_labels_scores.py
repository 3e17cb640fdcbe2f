"""Count how often a teacher of the few-labels comparison is right on its frames, by its score.

`python few_labels_scores.py DATA FRACTION TEACHERS TARGET SEED...` labels the images that have no labels in the
comparison with `TEACHERS/NAME-SEED.pt`, compares its boxes with the true labels, and writes a row for each range of
scores to the CSV file TARGET. A box is right if it overlaps a true box of its class by IoU 0.5, which no box with a
higher score has taken. No val image is read.
"""

import csv
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import box_convert, box_iou
from ultralytics.data.utils import img2label_paths

from fgd_yolo.compare.labelled_part import make_labelled_part
from fgd_yolo.compare.options import data_name
from fgd_yolo.labelling import ImageLabels, label_images

EDGES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COLUMNS = ("data", "seed", "images", "objects", "from", "to", "boxes", "right")
MIN_IOU = 0.5


def main(data: str, fraction: str, teachers: str, target: str, *seeds: str) -> None:
    """Write the rows of all seeds."""
    rows = []
    for seed in map(int, seeds):
        with tempfile.TemporaryDirectory() as folder:
            part = make_labelled_part(data, float(fraction), seed, Path(folder) / "data")
        teacher = Path(teachers) / f"{data_name(data)}-{seed}.pt"
        labels = label_images(teacher, part.unlabelled, min_score=EDGES[0], imgsz=128)
        truths = [_true_boxes(own.image) for own in labels]
        scores, right = (np.concatenate(own) for own in zip(*map(_judged, labels, truths), strict=True))
        common = {"data": data_name(data), "seed": seed, "images": len(labels), "objects": sum(map(len, truths))}
        for low, high in pairwise(EDGES):
            inside = (scores >= low) & (scores < high if high < EDGES[-1] else scores <= high)
            rows.append({**common, "from": low, "to": high, "boxes": inside.sum(), "right": right[inside].sum()})
    with Path(target).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _true_boxes(image: Path) -> np.ndarray:
    """Return (n, 5): class, and centre and size as fractions of the image."""
    file = Path(img2label_paths([str(image)])[0])
    return np.loadtxt(file, ndmin=2).reshape(-1, 5) if file.is_file() and file.stat().st_size else np.zeros((0, 5))


def _judged(labels: ImageLabels, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the boxes of an image, highest first, and whether each is right."""
    found = sorted(labels.objects, key=lambda entry: -entry.score)
    scores, right = np.array([entry.score for entry in found]), np.zeros(len(found), bool)
    free = np.ones(len(truth), bool)
    size = torch.tensor([labels.width, labels.height, labels.width, labels.height])
    true_boxes = box_convert(torch.tensor(truth[:, 1:]), "cxcywh", "xyxy") * size
    for number, entry in enumerate(found):
        box = box_convert(torch.tensor([entry.box], dtype=torch.float64), "cxcywh", "xyxy") * size
        overlap = box_iou(box, true_boxes)[0].numpy() * free * (truth[:, 0] == entry.class_id)
        if len(overlap) and overlap.max() >= MIN_IOU:
            right[number], free[overlap.argmax()] = True, False
    return scores, right


if __name__ == "__main__":
    main(*sys.argv[1:])
