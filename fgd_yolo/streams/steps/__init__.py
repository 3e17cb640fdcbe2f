"""What runs on every result between the detector and the sinks, in the order of a stream's frames.

`class_filter` keeps the classes of `--classes`, `tracking` assigns track ids, `zones` counts objects in zones and at
lines. `step_chain` calls the steps and contains their errors. The table `STEPS` lists the steps that a run can have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fgd_yolo.streams.steps.class_filter import ClassFilter
from fgd_yolo.streams.steps.tracking import ObjectTracker
from fgd_yolo.streams.steps.zones import ZoneCounter

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result
    from fgd_yolo.streams.stream_options import RunOptions

    Step = Callable[[Result], object]

STEPS: tuple[Callable[[RunOptions, Mapping[int, str]], Step | None], ...] = (
    ClassFilter.from_options,
    ObjectTracker.from_options,
    ZoneCounter.from_options,
)
"""In the order of the calls: creates a step, given the options and the class names; None if it is not asked for."""


def create_steps(options: RunOptions, names: Mapping[int, str]) -> list[Step]:
    """Create the steps that the options ask for.

    Args:
        options: the options of the run.
        names: the detector's class names by number.
    Raises:
        UsageError: a class or a zone is invalid.
        FGDError: a package is missing.
    """
    steps = [create(options, names) for create in STEPS]
    return [step for step in steps if step is not None]
