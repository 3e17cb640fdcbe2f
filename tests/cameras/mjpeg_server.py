"""A camera that sends MJPEG over HTTP, with faults, and a folder's files. It writes its port on standard output.

It takes commands on standard input, one a line, and answers each with `done`: `garbage N` (the next N parts are no
JPEG), `cut N` (the next N parts lose their second half), `torn N` (so do these, but
their header promises all of it), `size WxH`. It ends at the end of its input, or by itself
after `--seconds`.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from tests.cameras.stamp import Scene


class Camera:
    """What is sent next."""

    def __init__(self, scene: Scene, fps: float):
        self.scene, self.fps = scene, fps
        self.garbage = self.cut = self.torn = 0

    def part(self, index: int) -> tuple[bytes, int]:
        """Return the body of the next part, and the length that its header says."""
        width, height = self.scene.size
        picture = np.frombuffer(self.scene.picture(index), np.uint8).reshape(height, width, 3)
        jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
        if self.garbage:
            self.garbage -= 1
            return bytes(reversed(jpeg)), len(jpeg)
        if self.cut:
            self.cut -= 1
            return jpeg[: len(jpeg) // 2], len(jpeg) // 2
        if self.torn:
            self.torn -= 1
            return jpeg[: len(jpeg) // 2], len(jpeg)
        return jpeg, len(jpeg)

    def obey(self, line: str) -> None:
        """Take one command."""
        word, value = line.split()
        if word == "size":
            self.scene = Scene(_size(value))
        else:
            setattr(self, word, int(value))


class Handler(SimpleHTTPRequestHandler):
    """`/cam` is the camera, everything else a file of the folder."""

    def __init__(self, camera: Camera, *rest, **options):
        self.camera = camera
        super().__init__(*rest, **options)

    def do_GET(self) -> None:
        if not self.path.startswith("/cam"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        due, index = time.monotonic(), 0
        try:
            while True:
                body, length = self.camera.part(index)
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % length)
                self.wfile.write(body + b"\r\n")
                index += 1
                due += 1 / self.camera.fps
                time.sleep(max(0.0, due - time.monotonic()))
        except OSError:
            return  # the viewer left

    def log_message(self, *_) -> None:
        """Say nothing."""


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def main() -> None:
    """Serve until the input ends or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", type=_size, default=(320, 240))
    parser.add_argument("--fps", type=float, default=15)
    parser.add_argument("--pictures", type=Path, help="raw BGR pictures to send instead of drawing")
    parser.add_argument("--folder", default=".")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    camera = Camera(Scene(options.size, options.pictures), options.fps)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), partial(Handler, camera, directory=options.folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    end = threading.Timer(options.seconds, os._exit, [0])
    end.daemon = True
    end.start()
    print(server.server_port, flush=True)
    for line in sys.stdin:
        camera.obey(line)
        print("done", flush=True)


if __name__ == "__main__":
    main()
