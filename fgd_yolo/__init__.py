"""FGD (Focal and Global Knowledge Distillation) for Ultralytics YOLO detectors.

The public names are imported on first use. Importing the package imports neither torch nor Ultralytics, so a camera box
needs neither.

Packages and modules, from top to bottom; each imports only those below it:

- `cli`: the commands
- `compare`: several methods over data sets and seeds. `inference_benchmark`: the speed of exported files.
  `disagreement`: the frames on which a student and its teacher differ most.
- `workflow`: from two model names to a finished run
- `training`: Ultralytics' trainer with a teacher, and the loss for other training loops
- `attention`: attention maps as figures. `export`: from a checkpoint to a checked ONNX file.
  `labelling`: the predictions of a model as labels.
- `frames`: images and videos without labels, gathered from folders, lists and recordings
- `streams`: cameras and files through a detector
- `runtime`: the detector
- `datasets`: data sets, read safely and checked. `train_arguments`: train arguments of Ultralytics.
- `neck`: hooks on neck maps and heads. `class_columns`: classes by name. `ultralytics`: models, loaded safely.
  `ultralytics_log`: what it prints.
- `distributed`: several processes that train together
- `task_table`: detect, segment, pose and obb, and what differs between them
- `safe_loading`: keeps Ultralytics from executing files. `random_state`: preserves random states.
- `methods`: the distillation methods
- `config`: options of a distillation, and recipes
- `preprocessing`: the letterbox. `demo`: the demo scenes.
- `cache`, `console`, `locking`, `timing`, `files`, `stopping`, `strict_json`, `json_message`, `checked_options`,
  `completion`, `label_lines`, `page_template`, `errors`, `text`: basics.
  `near_duplicates`: whether an image shows a view again.

`fgd_yolo.cfg`, the folder `cfg` of the repository, holds the recipes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors, type checkers and the reference; a test compares it with _HOME
    from fgd_yolo.config import FGDConfig
    from fgd_yolo.errors import FGDError
    from fgd_yolo.export import export_onnx
    from fgd_yolo.methods import FGDLoss
    from fgd_yolo.runtime.detections import Detections
    from fgd_yolo.runtime.detector import OnnxDetector
    from fgd_yolo.streams.pipeline import Pipeline
    from fgd_yolo.training.distillation_loss import DistillationLoss
    from fgd_yolo.training.trainer import FGDTrainer
    from fgd_yolo.workflow.distill import distill

__version__ = "0.1.0"
"""Version of the package."""

_HOME = {
    "Detections": "fgd_yolo.runtime.detections",
    "DistillationLoss": "fgd_yolo.training.distillation_loss",
    "FGDConfig": "fgd_yolo.config",
    "FGDError": "fgd_yolo.errors",
    "FGDLoss": "fgd_yolo.methods",
    "FGDTrainer": "fgd_yolo.training.trainer",
    "OnnxDetector": "fgd_yolo.runtime.detector",
    "Pipeline": "fgd_yolo.streams.pipeline",
    "distill": "fgd_yolo.workflow.distill",
    "export_onnx": "fgd_yolo.export",
}
__all__ = [
    "Detections",
    "DistillationLoss",
    "FGDConfig",
    "FGDError",
    "FGDLoss",
    "FGDTrainer",
    "OnnxDetector",
    "Pipeline",
    "__version__",
    "distill",
    "export_onnx",
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'fgd_yolo' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
