"""Cameras and faults for tests: each server is a process that says its port, takes commands and ends by itself."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"  # GStreamer's bindings come from Debian and belong to its Python
_NEEDS = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
    "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'jpegenc', 'rtpjpegpay')))"
)


class Server:
    """A running server; leave its `with` block to stop it."""

    def __init__(self, script: str, *options: object, python: str = sys.executable):
        self._command = [python, str(HERE / script), *map(str, options)]
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        assert said, f"{script} did not start"
        self.port = int(said)

    def tell(self, command: str) -> None:
        """Give a command and wait until it is done."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def stop(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        self.stop()


@functools.cache
def _rtsp_works() -> bool:
    command = [SYSTEM_PYTHON, "-c", _NEEDS]
    return Path(SYSTEM_PYTHON).exists() and subprocess.run(command, capture_output=True).returncode == 0


def rtsp_server(*options: object) -> Server:
    """Start a camera at `rtsp://127.0.0.1:PORT/cam`; without GStreamer the test is skipped, in CI it fails."""
    if not _rtsp_works():
        reason = "GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-*)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Server("rtsp_server.py", *options, python=SYSTEM_PYTHON)


def mjpeg_server(*options: object) -> Server:
    """Start a camera at `http://127.0.0.1:PORT/cam`."""
    return Server("mjpeg_server.py", *options)


def fault_proxy(server: Server, *options: object) -> Server:
    """Start a proxy in front of a server."""
    return Server("fault_proxy.py", server.port, *options)


def until(condition: Callable[[], object], within_s: float = 10.0) -> bool:
    """Wait until something is so, and say whether it became so in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
