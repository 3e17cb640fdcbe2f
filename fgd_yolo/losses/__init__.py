"""The formulas of distillation, in plain torch: nothing here knows a detector or its trainer."""

from fgd_yolo.losses.fgd import FGDLoss, FGDTerms
from fgd_yolo.losses.fitnet import FitNetLoss, FitNetTerms

__all__ = ["FGDLoss", "FGDTerms", "FitNetLoss", "FitNetTerms"]
