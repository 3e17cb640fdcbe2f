"""Count the CPU cores that this process may use: in a container with a quota, fewer than the machine has."""

from __future__ import annotations

import os
from pathlib import Path

from fgd_yolo.text import counted
from fgd_yolo.timing import processor_name


def available_cores() -> int:
    """Return the cores that this process may use: the smaller of its affinity and its cgroup's quota, at least 1.

    onnxruntime counts the machine's cores instead; in a container with a quota its threads are then throttled while
    they hold each other's locks.

    Convention:
        A quota of 1.5 cores counts as 1: two busy threads would be throttled in every scheduling period.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, affinity if quota is None else min(affinity, int(quota)))


def machine_name() -> str:
    """Return the processor that times are measured on, and the number of cores that this process may use."""
    count = available_cores()
    return f"{counted(count, 'CPU core')} ({processor_name()})"


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of this process's cgroup in cores, or None without one.

    Limits of parent groups apply too, so the smallest quota of all groups counts. Both cgroup versions are read, even
    on machines that mount both.

    Args:
        root: folder that contains `proc` and `sys`.
    """
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            quotas += [_quota_v2(folder) for folder in _upwards(root / "sys/fs/cgroup", group)]
        elif "cpu" in controllers.split(","):
            for mount in dict.fromkeys((controllers, "cpu", "cpu,cpuacct")):
                quotas += [_quota_v1(folder) for folder in _upwards(root / "sys/fs/cgroup" / mount, group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(mount: Path, group: str) -> list[Path]:
    # In a container the group may have its name outside the container; then only the mount itself exists.
    folder = mount / group.strip("/")
    return [folder, *(parent for parent in folder.parents if parent == mount or mount in parent.parents)]


def _quota_v2(folder: Path) -> float | None:
    return _cores(*_read(folder / "cpu.max").split()[:2])


def _quota_v1(folder: Path) -> float | None:
    return _cores(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _cores(quota: str = "", period: str = "") -> float | None:
    # No limit is written as `max` (version 2) or -1 (version 1).
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
