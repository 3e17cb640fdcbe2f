"""Make a clone of BCCD a YOLO data set: `python bccd_dataset.py BCCD_Dataset/BCCD bccd` writes `bccd/bccd.yaml`.

The boxes of its VOC annotations become fractions of the image, in their order, and the split is that of its
ImageSets: trainval is train (292 images), test is val (72).
"""

import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

CLASSES = ("RBC", "WBC", "Platelets")
SPLITS = {"train": "trainval", "val": "test"}


def label_line(box: ET.Element, width: int, height: int) -> str:
    """Return a line of a label file for an object of an annotation: class, centre and size as fractions."""
    x1, y1, x2, y2 = (int(box.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join([str(CLASSES.index(box.findtext("name"))), *(f"{value:.6f}" for value in values)])


def convert(annotation: Path, label: Path) -> None:
    """Write the label file of an annotation."""
    image = ET.parse(annotation).getroot()
    width, height = (int(image.findtext(f"size/{side}")) for side in ("width", "height"))
    lines = [label_line(box, width, height) for box in image.iter("object")]
    label.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main(source: str, target: str) -> None:
    """Make the data set."""
    clone, folder = Path(source), Path(target)
    for split, listed in SPLITS.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for name in (clone / f"ImageSets/Main/{listed}.txt").read_text(encoding="utf-8").split():
            shutil.copy(clone / f"JPEGImages/{name}.jpg", folder / "images" / split)
            convert(clone / f"Annotations/{name}.xml", folder / f"labels/{split}/{name}.txt")
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    text = f"train: images/train\nval: images/val\nnames:\n{names}"
    (folder / f"{folder.name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
