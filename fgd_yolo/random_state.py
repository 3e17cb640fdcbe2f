"""Keep the random streams of a training as they were while something else looks at it."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserve_random_state(seed: int | None = None):
    """Put the torch (CPU and CUDA), numpy and Python random states back at the end of the block.

    On a CPU the host augments in the training process itself, so that a single number drawn elsewhere changes every
    batch that follows.

    Args:
        seed: seeds torch inside the block, so that what is built there is the same in every run; None leaves it.
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
