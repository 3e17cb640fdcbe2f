"""Cameras and faults for tests: each server is a process that says its port, takes commands and ends by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cameras import processes
from tests.cameras.processes import Server, mjpeg_server

__all__ = ["Server", "fault_proxy", "mjpeg_server", "rtsp_server", "until"]


def rtsp_server(*options: object) -> Server:
    """Start a camera at `rtsp://127.0.0.1:PORT/cam`; without GStreamer the test is skipped, in CI it fails."""
    if not processes.rtsp_works():
        if os.environ.get("CI") == "true":
            pytest.fail(processes.MISSING)
        pytest.skip(processes.MISSING)
    return processes.rtsp_server(*options)


def fault_proxy(server: Server, *options: object) -> Server:
    """Start a proxy in front of a server."""
    return Server(Path(__file__).with_name("fault_proxy.py"), server.port, *options)


def until(condition: Callable[[], object], within_s: float = 10.0) -> bool:
    """Wait until something is so, and say whether it became so in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
