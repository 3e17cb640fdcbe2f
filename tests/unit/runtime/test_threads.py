from __future__ import annotations

import os
from pathlib import Path

import pytest

from fgd_yolo.runtime import threads
from fgd_yolo.runtime.threads import available_cores, cpu_quota, machine_name


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_version_2_quota_is_read_in_cores(tmp_path):
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"})
    assert cpu_quota(tmp_path) == 1.5


def test_without_a_version_2_limit_there_is_no_quota(tmp_path):
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert cpu_quota(tmp_path) is None


def test_the_smallest_quota_of_all_parent_groups_counts(tmp_path):
    files = {
        "proc/self/cgroup": "0::/kubepods/pod7/box\n",
        "sys/fs/cgroup/kubepods/cpu.max": "800000 100000",
        "sys/fs/cgroup/kubepods/pod7/cpu.max": "200000 100000",
        "sys/fs/cgroup/kubepods/pod7/box/cpu.max": "400000 100000",
    }
    assert cpu_quota(write(tmp_path, files)) == 2


def test_a_group_with_its_name_outside_the_container_falls_back_to_the_mount(tmp_path):
    files = {"proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "300000 100000"}
    assert cpu_quota(write(tmp_path, files)) == 3


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_a_version_1_quota_is_read(tmp_path, mount):
    files = {
        "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n",
        f"sys/fs/cgroup/{mount}/box/cpu.cfs_quota_us": "250000\n",
        f"sys/fs/cgroup/{mount}/box/cpu.cfs_period_us": "100000\n",
    }
    assert cpu_quota(write(tmp_path, files)) == 2.5


def test_without_a_version_1_limit_there_is_no_quota(tmp_path):
    files = {
        "proc/self/cgroup": "4:cpu:/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert cpu_quota(write(tmp_path, files)) is None


def test_a_group_of_another_controller_does_not_count(tmp_path):
    files = {
        "proc/self/cgroup": "6:cpuset:/other\n4:cpu:/box\n",
        "sys/fs/cgroup/cpu/other/cpu.cfs_quota_us": "100000\n",
        "sys/fs/cgroup/cpu/other/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "300000\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
    }
    assert cpu_quota(write(tmp_path, files)) == 3


def test_of_two_mounted_versions_the_smaller_quota_counts(tmp_path):
    files = {
        "proc/self/cgroup": "4:cpu:/\n0::/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu.max": "700000 100000",
    }
    assert cpu_quota(write(tmp_path, files)) == 2


@pytest.mark.parametrize("text", ["", "damaged", "100000 0", "1.5 100000", "max"])
def test_a_malformed_quota_file_is_ignored(tmp_path, text):
    assert cpu_quota(write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})) is None


def test_a_machine_without_cgroups_has_no_quota(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.5, 1), (1.9, 1), (3.0, 3), (64.0, 8)])
def test_the_cores_are_the_quota_rounded_down_but_at_least_one(monkeypatch, quota, cores):
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert available_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_core_has_one():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_machine_is_named_with_the_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 3)
    assert machine_name().startswith("3 CPU cores (") and machine_name().endswith(")")
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    assert machine_name().startswith("1 CPU core (")
