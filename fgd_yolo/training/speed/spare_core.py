"""Whether a training on a CPU has cores left for a second thread."""

from __future__ import annotations

import torch

from fgd_yolo.distributed.world import current_world
from fgd_yolo.runtime.threads import available_cores


def has_spare_core() -> bool:
    """Return whether as many cores as PyTorch uses are left, if the processes of a machine share its cores."""
    return available_cores() // current_world().local_size >= 2 * torch.get_num_threads()
