"""Cameras for benchmarks and tests: each is a process that says its port, takes commands and ends by itself."""

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
_NEEDS = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; "
    "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'jpegenc', 'rtpjpegpay')))"
)
_LONGEST_S = 3600  # what a benchmark that was killed leaves behind ends at once, by the end of its input


class Server:
    """A running server; leave its `with` block to stop it.

    Args:
        script: a file that serves.
        options: of its command line.
        python: what runs it.
    Raises:
        FGDError: it ended before it served.
    """

    def __init__(self, script: Path, *options: object, python: str = sys.executable):
        command = [python, str(script), *map(str, options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        if not said:
            self.stop()
            raise FGDError(f"the camera {script.name} did not start: run it by hand to see why")
        self.port = int(said)

    def tell(self, command: str) -> None:
        """Give a command and wait until it is done."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise FGDError(f"the camera did not do '{command}'")

    def stop(self) -> None:
        """End it as a power cut does."""
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
    """Return whether GStreamer's RTSP server is there, with what it needs for H.264."""
    command = [SYSTEM_PYTHON, "-c", _NEEDS]
    return Path(SYSTEM_PYTHON).exists() and subprocess.run(command, capture_output=True).returncode == 0


def rtsp_server(*options: object) -> Server:
    """Start a camera at `rtsp://127.0.0.1:PORT/cam`, with the options of `rtsp_server.py`."""
    return Server(HERE / "rtsp_server.py", *options, python=SYSTEM_PYTHON)


def mjpeg_server(*options: object) -> Server:
    """Start a camera at `http://127.0.0.1:PORT/cam`, with the options of `mjpeg_server.py`."""
    return Server(HERE / "mjpeg_server.py", *options)


@contextmanager
def camera(kind: str, pictures: Sequence[np.ndarray], fps: int) -> Iterator[str]:
    """Serve pictures at a camera's pace from a process of its own, the time of each in its pixels; yield the address.

    Over RTSP a picture is encoded once, and all who watch get it at the same time.

    Args:
        kind: `RTSP`, which is H.264, or `MJPEG`.
        pictures: (height, width, 3) BGR, shown again and again.
        fps: pictures per second.
    """
    start, scheme = {"RTSP": (rtsp_server, "rtsp"), "MJPEG": (mjpeg_server, "http")}[kind]
    height, width = pictures[0].shape[:2]
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-camera-") as folder:
        film = Path(folder) / "film.bgr"
        np.stack(pictures).tofile(film)
        options = ("--pictures", film, "--size", f"{width}x{height}", "--fps", fps, "--seconds", _LONGEST_S)
        with start(*options) as server:
            yield f"{scheme}://127.0.0.1:{server.port}/cam"
