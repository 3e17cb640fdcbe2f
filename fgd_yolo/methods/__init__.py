"""Distillation methods in plain torch, independent of detectors and trainers.

A method is one file with its loss module and its options, and one row of `METHODS`:

- `fgd`: Focal and Global Distillation, the default
- `fitnet`: plain imitation of the neck maps
- `cwd`: channel-wise distillation
- `method`: the base classes of loss modules and options

Shared by them:

- `head_loss`: imitation of the head's outputs, which can be combined with any method
- `alignment`: makes a student's map comparable with its teacher's
- `attention_maps`, `box_masks`, `global_context`: the formulas of FGD
- `reductions`: the sums that every FGD term needs, with a hand-written gradient
"""

from fgd_yolo.methods.cwd import CWDOptions
from fgd_yolo.methods.fgd import FGDLoss, FGDOptions, FGDTerms
from fgd_yolo.methods.fitnet import FitNetOptions
from fgd_yolo.methods.head_loss import HeadLoss, HeadTerms
from fgd_yolo.methods.method import LevelLoss, MethodOptions

METHODS: dict[str, type[MethodOptions]] = {
    "fgd": FGDOptions,
    "fitnet": FitNetOptions,
    "cwd": CWDOptions,
}
"""Options class of each method by its name, the value of `method`. `cfg/` has a recipe of the same name for each."""

__all__ = [
    "METHODS",
    "FGDLoss",
    "FGDTerms",
    "HeadLoss",
    "HeadTerms",
    "LevelLoss",
    "MethodOptions",
]
