"""Distillation methods in plain torch, independent of detectors and trainers.

A method is one file with its loss module and one row of `METHODS`; its options are in `fgd_yolo.config`:

- `fgd`: Focal and Global Distillation, the default
- `fitnet`: plain imitation of the neck maps
- `cwd`: channel-wise distillation
- `mgd`: masked generative distillation
- `pkd`: Pearson correlation of the neck maps
- `score_l2`: imitation of the neck maps, weighted by the teacher's scores
- `method`: the base class of the loss modules

Shared by them:

- `head_loss`: imitation of the heads' outputs, which can be combined with any method
- `predictions`: these outputs, of a student and of its teachers
- `class_term`, `box_terms`, `mask_term`, `keypoint_terms`: its terms, by kind of output
- `bckd_cls`, `bckd_box`, `ld`, `dfine`, `crosshead`: its terms of other publications, each a method of its own
- `alignment`: makes a student's map comparable with its teacher's
- `attention_maps`, `box_masks`, `global_context`: the formulas of FGD
- `rotated_masks`, `segment_masks`: the foreground of rotated boxes and of instance masks, in the place of boxes
- `painting`: the cells that objects fill, and the largest of their weights
- `reductions`: the sums that every FGD term needs, with a hand-written gradient
"""

from fgd_yolo.config import FeatureOptions
from fgd_yolo.methods.cwd import CWDLoss
from fgd_yolo.methods.fgd import FGDLoss, FGDTerms
from fgd_yolo.methods.fitnet import FitNetLoss
from fgd_yolo.methods.head_loss import HEAD_TERMS, HeadLoss, HeadTerms
from fgd_yolo.methods.method import LabelledObjects, LevelLoss
from fgd_yolo.methods.mgd import MGDLoss
from fgd_yolo.methods.pkd import PKDLoss
from fgd_yolo.methods.predictions import Predictions, TeacherPredictions
from fgd_yolo.methods.score_l2 import ScoreL2Loss

METHODS: dict[str, type[LevelLoss]] = {
    "fgd": FGDLoss,
    "fitnet": FitNetLoss,
    "cwd": CWDLoss,
    "mgd": MGDLoss,
    "pkd": PKDLoss,
    "score_l2": ScoreL2Loss,
}
"""Loss module of each method by its name, the value of `features.method`. `cfg/` has a recipe of each name."""


def build_level_loss(student_channels: int, teacher_channels: int, options: FeatureOptions) -> LevelLoss:
    """Build the loss module of one level for the method that the options belong to."""
    return METHODS[options.method].from_options(student_channels, teacher_channels, options)


__all__ = [
    "HEAD_TERMS",
    "METHODS",
    "FGDLoss",
    "FGDTerms",
    "HeadLoss",
    "HeadTerms",
    "LabelledObjects",
    "LevelLoss",
    "Predictions",
    "TeacherPredictions",
    "build_level_loss",
]
