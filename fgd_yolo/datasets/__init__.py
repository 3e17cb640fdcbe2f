"""Data sets: read safely, scanned before a training, and given to Ultralytics as a plain copy of their YAML.

- `dataset.py`: a data set on this disk, and the copy of its YAML
- `reading.py`: read the YAML without executing what is in it
- `scanning.py`: read all images and labels before a training
- `recorded_data.py`: the data that run folders and checkpoints name
- `linked_data.py`: data sets of links to the images of others
- `image_places.py`: where the images of a split are
- `label_checks.py`: labels that are not those of the task
- `unlabeled_images.py`: data sets of images whose label files are never opened
"""

from fgd_yolo.datasets.dataset import (
    AGREEMENT_YAML,
    DATA_FOLDER,
    LABELLED_BY,
    SPLITS,
    TRAIN_LABELS,
    Dataset,
    Scan,
)
from fgd_yolo.datasets.linked_data import link_images, write_data_yaml
from fgd_yolo.datasets.reading import demo_data, read_dataset
from fgd_yolo.datasets.recorded_data import (
    count_trained_on,
    has_images,
    moved_dataset,
    run_dataset,
    same_images,
    split_images,
)
from fgd_yolo.datasets.scanning import scan_dataset

__all__ = [
    "AGREEMENT_YAML",
    "DATA_FOLDER",
    "LABELLED_BY",
    "SPLITS",
    "TRAIN_LABELS",
    "Dataset",
    "Scan",
    "count_trained_on",
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
