"""Fine-tune a teacher for each seed on the labelled part alone of a comparison with few labels.

`python few_labels_teachers.py PRETRAINED DATA FRACTION EPOCHS TARGET SEED...` writes `TARGET/NAME-SEED.pt`, NAME that
of the data set (`demo` for the built-in scenes), where `fgd-yolo compare --label-fraction FRACTION
--teacher TARGET/{data}-{seed}.pt` finds it. The labelled part is that of the comparison, repeated to as many images an
epoch as the whole train split has; 128 px, batches of 16, a step for each.
"""

import shutil
import sys
from pathlib import Path

from ultralytics import YOLO

from fgd_yolo.compare.labelled_part import make_labelled_part
from fgd_yolo.compare.options import data_name
from fgd_yolo.datasets import demo_data
from fgd_yolo.safe_loading import safe_loading


@safe_loading()
def main(pretrained: str, data: str, fraction: str, epochs: str, target: str, *seeds: str) -> None:
    """Train the teachers of all seeds that are missing."""
    folder = Path(target).absolute()
    for seed in map(int, seeds):
        teacher = folder / f"{data_name(data)}-{seed}.pt"
        if teacher.is_file():
            continue
        source = demo_data() if data == "demo" else data
        work = folder / f"work-{data_name(data)}-{seed}"
        part = make_labelled_part(source, float(fraction), seed, work / "data")
        settings = {"imgsz": 128, "batch": 16, "nbs": 16, "patience": 0, "workers": 0, "plots": False}
        place = {"project": str(work), "name": "train", "exist_ok": True}
        YOLO(pretrained).train(data=str(part.repeated), epochs=int(epochs), seed=seed, **settings, **place)
        shutil.copyfile(work / "train" / "weights" / "last.pt", teacher)


if __name__ == "__main__":
    main(*sys.argv[1:])
