"""Distillation methods in plain torch, independent of detectors and trainers.

A method is one file, and one row of the tables: `METHODS` for a loss module that compares neck maps, `HEAD_TERMS` for
terms that compare the outputs of heads. Its options are in `fgd_yolo.config`.

Methods that compare neck maps:

- `fgd`: Focal and Global Distillation
- `fitnet`: plain imitation of the neck maps
- `cwd`: channel-wise distillation
- `mgd`: masked generative distillation
- `pkd`: Pearson correlation of the neck maps
- `score_l2`: imitation of the neck maps, weighted by the teacher's scores
- `method`: the base class of their loss modules
- `composition`: several of them as one

Methods that compare the outputs of heads:

- `head_loss`: the sum of their terms
- `predictions`: these outputs, of a student and of its teachers
- `class_term`, `box_terms`, `mask_term`, `keypoint_terms`: the terms of method `heads`, by kind of output
- `bckd_cls`, `bckd_box`, `ld`, `dfine`, `crosshead`: methods of other publications

Shared by them:

- `alignment`: makes a student's map comparable with its teacher's
- `attention_maps`, `box_masks`, `global_context`: the formulas of FGD
- `rotated_masks`, `segment_masks`: the foreground of rotated boxes and of instance masks, in the place of boxes
- `painting`: the cells that objects fill, and the largest of their weights
- `reductions`: the sums that every FGD term needs, with a hand-written gradient
- `standardisation`: channels with mean 0 and variance 1
- `placement`: small tensors and columns on a GPU, without waiting for it
"""

from collections.abc import Sequence

from fgd_yolo.config import FeatureOptions
from fgd_yolo.methods.composition import ComposedLoss
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
"""Loss module of each method that compares neck maps, by its name in `METHOD_OPTIONS`."""


def build_level_loss(
    student_channels: int, teacher_channels: int, methods: Sequence[str], options: FeatureOptions
) -> LevelLoss:
    """Build the loss module of one level.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map.
        methods: names of methods in `METHODS`, at least one.
        options: options of these methods.
    """
    losses = {name: METHODS[name].from_options(student_channels, teacher_channels, options) for name in methods}
    return next(iter(losses.values())) if len(losses) == 1 else ComposedLoss(losses)


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
