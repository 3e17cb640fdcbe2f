"""The formulas of distillation, in plain torch: nothing here knows a detector or its trainer."""

from fgd_yolo.losses.fgd import FGDLoss, FGDTerms
from fgd_yolo.losses.fitnet import FitNetLoss, FitNetTerms
from fgd_yolo.losses.heads import HeadLoss, HeadTerms

__all__ = ["FGDLoss", "FGDTerms", "FitNetLoss", "FitNetTerms", "HeadLoss", "HeadTerms"]
