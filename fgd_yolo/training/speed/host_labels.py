"""The labels of a batch on the CPU, for what is painted before the device has them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

LABELS = ("cls", "bboxes", "batch_idx", "masks")
"""Keys of a batch whose values the distiller reads."""
HOST_LABELS = "host_labels"
"""Key of a batch with its `HostLabels`."""


class HostLabels:
    """The labels of a batch on the CPU, where they can be read and painted without waiting for a GPU.

    Not a mapping: DistributedDataParallel would copy its tensors to the GPU.

    Args:
        batch: Ultralytics' batch before it is moved to the device.
    """

    def __init__(self, batch: dict[str, Any]):
        self.values = {name: batch[name] for name in LABELS if name in batch}


def labels_of(batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return the labels of a batch, on the CPU if it has them there too."""
    return batch[HOST_LABELS].values if HOST_LABELS in batch else batch
