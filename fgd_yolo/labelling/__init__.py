"""The predictions of a model as labels: found on images, counted, and written as label files.

- `image_labels.py`: the labels of one image, and the numbers of many
- `labeller.py`: runs a model on images, with Ultralytics' own predictor
- `exported_labeller.py`: runs an exported file on images
- `found_objects.py`: turns what was found, in pixels, into labels
- `readable_images.py`: reads the images, and leaves out those that cannot be read
- `yolo_files.py`: writes labels as the text files that Ultralytics trains on
- `coco_json.py`: writes labels as a COCO file, with scores
"""

from fgd_yolo.labelling.coco_json import write_coco
from fgd_yolo.labelling.exported_labeller import ExportedLabeller
from fgd_yolo.labelling.image_labels import ImageLabels, LabelledObject, LabelNumbers, label_numbers
from fgd_yolo.labelling.labeller import Labeller, label_images
from fgd_yolo.labelling.yolo_files import write_yolo

__all__ = [
    "ExportedLabeller",
    "ImageLabels",
    "LabelNumbers",
    "LabelledObject",
    "Labeller",
    "label_images",
    "label_numbers",
    "write_coco",
    "write_yolo",
]
