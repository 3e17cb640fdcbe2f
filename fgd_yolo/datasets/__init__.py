"""Data sets: read safely, scanned before a training, and given to Ultralytics as a plain copy of their YAML.

- `dataset.py`: a data set on this disk, and the copy of its YAML
- `reading.py`: read the YAML without executing what is in it
- `scanning.py`: read all images and labels before a training
- `recorded_data.py`: the data that run folders and checkpoints name
- `seen_images.py`: which images a checkpoint was trained on
- `linked_data.py`: data sets of links to the images of others
- `image_places.py`: where the images of a split are
- `label_checks.py`: labels that are not those of the task
- `unlabeled_images.py`: data sets of images whose label files are never opened
"""

from fgd_yolo.datasets.dataset import (
    AGREEMENT_YAML,
    DATA_FOLDER,
    FRAMES_LIST,
    LABELLED_BY,
    SPLITS,
    TRAIN_LABELS,
    Dataset,
    Scan,
)
from fgd_yolo.datasets.linked_data import link_images, write_data_yaml
from fgd_yolo.datasets.reading import demo_data, read_dataset
from fgd_yolo.datasets.recorded_data import has_images, moved_dataset, run_dataset, same_images, split_images
from fgd_yolo.datasets.scanning import scan_dataset
from fgd_yolo.datasets.seen_images import count_seen

__all__ = [
    "AGREEMENT_YAML",
    "DATA_FOLDER",
    "FRAMES_LIST",
    "LABELLED_BY",
    "SPLITS",
    "TRAIN_LABELS",
    "Dataset",
    "Scan",
    "count_seen",
    "demo_data",
    "has_images",
    "link_images",
    "moved_dataset",
    "read_dataset",
    "run_dataset",
    "same_images",
    "scan_dataset",
    "split_images",
    "write_data_yaml",
]
