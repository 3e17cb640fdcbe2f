"""The formulas of distillation, in plain torch: nothing here knows a detector or its trainer."""

from fgd_yolo.methods.fgd import FGDLoss, FGDTerms
from fgd_yolo.methods.fitnet import FitNetLoss, FitNetTerms
from fgd_yolo.methods.head_loss import HeadLoss, HeadTerms

__all__ = ["FGDLoss", "FGDTerms", "FitNetLoss", "FitNetTerms", "HeadLoss", "HeadTerms"]
