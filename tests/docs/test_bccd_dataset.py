"""The data set of the results is made from a clone as it is published."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml

from fgd_yolo.datasets import scan_dataset

SCRIPT = Path(__file__).parents[2] / "docs/results/bccd_dataset.py"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def clone(folder: Path, **boxes: list[tuple]) -> Path:
    """Make a clone with an image for each name; the first is the one of the test split."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for name, found in boxes.items():
        cv2.imwrite(str(folder / f"JPEGImages/{name}.jpg"), np.zeros((480, 640, 3), np.uint8))
        objects = "".join(OBJECT.format(*box) for box in found)
        size = "<size><width>640</width><height>480</height></size>"
        (folder / f"Annotations/{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    first, *others = boxes
    (folder / "ImageSets/Main/test.txt").write_text(f"{first}\n")
    (folder / "ImageSets/Main/trainval.txt").write_text("\n".join(others))
    return folder


def test_a_clone_becomes_a_data_set_with_its_split_and_its_boxes_in_their_order(tmp_path):
    # The boxes of BloodImage_00000, and the centre and size by hand.
    cells = [("WBC", 260, 177, 491, 376), ("RBC", 78, 336, 184, 435)]
    source = clone(tmp_path / "BCCD", val_image=[("Platelets", 0, 0, 640, 480)], first=cells, second=[])
    target = tmp_path / "bccd"
    subprocess.run([sys.executable, SCRIPT, source, target], check=True)
    assert (target / "labels/train/first.txt").read_text().splitlines() == [
        "1 0.586719 0.576042 0.360938 0.414583",
        "0 0.204687 0.803125 0.165625 0.206250",
    ]
    assert (target / "labels/val/val_image.txt").read_text() == "2 0.500000 0.500000 1.000000 1.000000\n"
    assert yaml.safe_load((target / "bccd.yaml").read_text())["names"] == {0: "RBC", 1: "WBC", 2: "Platelets"}
    scan = scan_dataset(str(target / "bccd.yaml"), {}).scan
    assert (scan.train_images, scan.val_images) == (2, 1)


def test_a_data_set_that_exists_is_not_mixed_with_another(tmp_path):
    source = clone(tmp_path / "BCCD", only=[])
    shutil.copytree(source, tmp_path / "bccd/images/train")
    assert subprocess.run([sys.executable, SCRIPT, source, tmp_path / "bccd"], capture_output=True).returncode
