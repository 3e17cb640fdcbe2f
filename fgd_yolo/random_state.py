"""Preserve the random states of a process, so that checks around a training do not change it."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserve_random_state(seed: int | None = None):
    """Restore the random states of torch (CPU and CUDA), numpy and Python at the end of the block.

    On a CPU Ultralytics augments images in the training process, so drawing a single random number would change all
    later batches.

    Args:
        seed: seed for torch inside the block, so that modules built there are reproducible; None does not seed.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            if seed is not None:
                torch.manual_seed(seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
