"""Start simulated cameras for tests and benchmarks: each is a process that reports its port and takes commands."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fgd_yolo.errors import FGDError

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"  # GStreamer's bindings come from Debian and belong to its Python
MISSING = "GStreamer's RTSP server is not installed (Debian: gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-*)"
_CHECK_RTSP = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; "
    "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'jpegenc', 'rtpjpegpay')))"
)
_MAX_S = 3600  # a camera also stops at the end of its input, so at once when the benchmark is killed


class Server:
    """A running server process; its `with` block stops it at the end.

    Args:
        script: the Python file of the server.
        options: its command line.
        python: the interpreter.
    Raises:
        FGDError: the process ended before it reported its port.
    """

    def __init__(self, script: Path, *options: object, python: str = sys.executable):
        command = [python, str(script), *map(str, options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port = self.process.stdout.readline()
        if not port:
            self.stop()
            raise FGDError(f"the server {script.name} did not start; its error is printed above")
        self.port = int(port)

    def send(self, command: str) -> None:
        """Send a command and wait until it is done."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise FGDError(f"the server did not confirm the command '{command}'")

    def stop(self) -> None:
        """Kill the process, as a power cut does."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@functools.cache
def rtsp_works() -> bool:
    """Return whether GStreamer's RTSP server is installed, with the plugins for H.264 and JPEG."""
    command = [SYSTEM_PYTHON, "-c", _CHECK_RTSP]
    return Path(SYSTEM_PYTHON).exists() and subprocess.run(command, capture_output=True).returncode == 0


def rtsp_server(*options: object) -> Server:
    """Start a camera at `rtsp://127.0.0.1:PORT/cam`, with the options of `rtsp_server.py`."""
    return Server(HERE / "rtsp_server.py", *options, python=SYSTEM_PYTHON)


def mjpeg_server(*options: object) -> Server:
    """Start a camera at `http://127.0.0.1:PORT/cam`, with the options of `mjpeg_server.py`."""
    return Server(HERE / "mjpeg_server.py", *options)


def fault_proxy(server: Server, *options: object) -> Server:
    """Start a proxy in front of a server, with the options of `fault_proxy.py`."""
    return Server(HERE / "fault_proxy.py", server.port, *options)


@contextmanager
def camera(kind: str, images: Sequence[np.ndarray], fps: int) -> Iterator[str]:
    """Serve images at the frame rate of a camera from a separate process, stamped with their time; yield the address.

    Over RTSP each frame is encoded once, and all clients receive it at the same time.

    Args:
        kind: `RTSP`, which is H.264, or `MJPEG`.
        images: (H, W, 3) BGR, repeated forever.
        fps: frames per second.
    """
    start, scheme = {"RTSP": (rtsp_server, "rtsp"), "MJPEG": (mjpeg_server, "http")}[kind]
    height, width = images[0].shape[:2]
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-camera-") as folder:
        raw_video = Path(folder) / "video.bgr"
        np.stack(images).tofile(raw_video)
        options = ("--raw-video", raw_video, "--size", f"{width}x{height}", "--fps", fps, "--seconds", _MAX_S)
        with start(*options) as server:
            yield f"{scheme}://127.0.0.1:{server.port}/cam"
