"""The soak, in a process of its own: after other tests, memory that they have freed would be taken for growth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.slow
def test_cameras_that_fail_at_random_leave_nothing_behind_and_no_frame_uncounted():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", str(SOAK)]
    done = subprocess.run(command, cwd=SOAK.parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-10_000:]
    assert "1 passed" in done.stdout
