"""The processes that train together, as the environment variables of `torchrun` describe them."""

from __future__ import annotations

import os
from typing import NamedTuple

from fgd_yolo.errors import UsageError

_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class World(NamedTuple):
    """The place of this process among those that train together.

    Convention:
        Ranks start at 0. Rank 0 writes the run folder and prints; each machine has its own local ranks.

    Args:
        size: number of processes on all machines; 1 without `torchrun`.
        rank: number of this process.
        local_rank: number of this process on its machine, which chooses its GPU.
        local_size: number of processes on this machine.
    """

    size: int = 1
    rank: int = 0
    local_rank: int = 0
    local_size: int = 1

    @property
    def several(self) -> bool:
        """Whether more than one process trains."""
        return self.size > 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0


def current_world() -> World:
    """Return the place of this process, from the environment.

    Ultralytics reads the same variables when it is imported, so they must not change afterwards.

    Raises:
        UsageError: a variable is missing or no integer, or they contradict each other.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return World()
    values = {}
    for name in _VARIABLES:
        text = os.environ.get(name)
        if text is None:
            raise UsageError(f"the environment has WORLD_SIZE and no {name}: start the processes with torchrun")
        if not text.isdecimal():
            raise UsageError(f"{name}={text} in the environment is not a number: start the processes with torchrun")
        values[name] = int(text)
    world = World(*values.values())
    if not (world.rank < world.size and world.local_rank < world.local_size <= world.size):
        given = ", ".join(f"{name}={value}" for name, value in values.items())
        raise UsageError(f"{given} in the environment contradict each other: start the processes with torchrun")
    return world
