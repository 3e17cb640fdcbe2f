"""The built-in demo as a run uses it: where its scenes lie, and settings that suit the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgd_yolo.console import print_status
from fgd_yolo.demo import cache_root, demo_dataset
from fgd_yolo.demo.settings import STUDENT, TEACHER


def demo_yaml() -> str:
    """Return the dataset YAML of the demo scenes, rendering them on first use."""
    print_status("no data was named: using the built-in demo scenes, rendered on first use")
    return str(demo_dataset(cache_root()))


def demo_arguments(said: Mapping[str, Any], device_type: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fill in what the user left open with the demo's settings for a device, and print it.

    Args:
        said: train arguments as the user gave them; they win, for student and teacher.
        device_type: "cpu" or "cuda".

    Returns:
        Train arguments of the student, and of the teacher's own stage.
    """
    filled = []
    for role, settings in (("student", STUDENT), ("teacher", TEACHER)):
        chosen = settings.get(device_type, settings["cpu"])
        filled.append({**chosen, **said})
        print_status(f"demo settings, {role}: {' '.join(f'{key}={filled[-1][key]}' for key in chosen)}")
    return filled[0], filled[1]
