"""Count the batches in which terms were not finite, and stop a run that has too many."""

from __future__ import annotations

import torch
from torch import Tensor

from fgd_yolo.distributed.sums import sum_over_ranks
from fgd_yolo.errors import FGDError
from fgd_yolo.training.speed.later_value import LaterValue

MAX_DROPPED = 0.01  # of the batches so far
MIN_DROPPED = 10  # batches; fewer never stop a run


class DroppedBatches:
    """Counts batches of a run in which terms of a level or branch were left out, since they were not finite.

    The count stays on the device; the CPU learns it some batches later. Each rank counts its own batches.
    """

    def __init__(self):
        self.known = 0
        self.on_all_ranks = self._summed = 0
        self._count = torch.zeros((), dtype=torch.int64)
        self._later: list[LaterValue] = []

    def add(self, finite: list[Tensor], batch: int) -> None:
        """Count a batch.

        Args:
            finite: boolean scalars, whether the terms of each level and branch are finite.
            batch: its number.

        Raises:
            FGDError: terms of more than 1 % of the batches so far, and of at least 10, were not finite.
        """
        if finite:
            self._count = self._count.to(finite[0].device) + ~torch.stack(finite).all()
            self._later.append(LaterValue(self._count, batch))
        while self._later and self._later[0].is_due(batch):
            self._read(self._later.pop(0))

    def end_epoch(self) -> int:
        """Return the count of all ranks; waits for the device, and every rank must call it."""
        while self._later:
            self._read(self._later.pop(0))
        self.on_all_ranks += int(sum_over_ranks(torch.tensor(self.known - self._summed)))
        self._summed = self.known
        return self.on_all_ranks

    def restore(self, count: int) -> None:
        """Continue from the count of all ranks."""
        self.known = self._summed = self.on_all_ranks = count
        self._count, self._later = torch.tensor(count), []

    def _read(self, later: LaterValue) -> None:
        before, self.known, batches = self.known, int(later.read()), later.batch + 1
        if self.known > before and self.known >= MIN_DROPPED and self.known > MAX_DROPPED * batches:
            raise FGDError(
                f"distillation terms were not finite in {self.known} of {batches} batches: the neck maps of teacher "
                "or student hold NaN or infinity. Check the teacher on this data, or lower lr0; in half precision, set "
                "teacher_precision=fp32 and amp=False"
            )
