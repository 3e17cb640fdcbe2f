"""A camera that sends MJPEG over HTTP, with faults; other paths are files of a folder. It prints its port.

It reads commands from standard input, one per line, and answers each with `done`: `garbage N` (the next N parts are not
JPEGs), `cut N` (the next N parts lose their second half), `torn N` (the same, but their Content-Length promises all of
it), `size WxH`. It stops at the end of its input, or after `--seconds`.
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
from stamp import Scene


class Camera:
    """The frames of the camera, and the faults that remain to be sent."""

    def __init__(self, scene: Scene, fps: float):
        self.scene, self.fps = scene, fps
        self.garbage = self.cut = self.torn = 0

    def part(self, index: int) -> tuple[bytes, int]:
        """Return the body of the next part, and its Content-Length."""
        width, height = self.scene.size
        frame = np.frombuffer(self.scene.frame(index), np.uint8).reshape(height, width, 3)
        jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
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

    def execute(self, command: str) -> None:
        """Execute one command."""
        name, value = command.split()
        if name == "size":
            self.scene = Scene(_size(value))
        else:
            setattr(self, name, int(value))


class Handler(SimpleHTTPRequestHandler):
    """Serves the camera at `/cam`, and a file of the folder at any other path."""

    def __init__(self, camera: Camera, *args, **options):
        self.camera = camera
        super().__init__(*args, **options)

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
            return  # the client has left

    def log_message(self, *_) -> None:
        """Log nothing."""


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def main() -> None:
    """Serve until the input ends or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", type=_size, default=(320, 240))
    parser.add_argument("--fps", type=float, default=15)
    parser.add_argument("--raw-video", type=Path, help="raw BGR frames to send instead of a drawing")
    parser.add_argument("--folder", default=".")
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    camera = Camera(Scene(args.size, args.raw_video), args.fps)
    server = ThreadingHTTPServer(("127.0.0.1", args.port), partial(Handler, camera, directory=args.folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    end = threading.Timer(args.seconds, os._exit, [0])
    end.daemon = True
    end.start()
    print(server.server_port, flush=True)
    for line in sys.stdin:
        camera.execute(line)
        print("done", flush=True)


if __name__ == "__main__":
    main()
