"""Helpers for tests that use the simulators."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.cameras import processes
from tests.cameras.processes import Server


def rtsp_server(*options: object) -> Server:
    """Start a camera at `rtsp://127.0.0.1:PORT/cam`; without GStreamer skip the test, or fail it in CI."""
    if not processes.rtsp_works():
        if os.environ.get("CI") == "true":
            pytest.fail(processes.MISSING)
        pytest.skip(processes.MISSING)
    return processes.rtsp_server(*options)


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Wait until a condition holds, and return whether it holds within the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
