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

import cv2
import numpy as np
from stamp import drawn


class Camera:
    """What is sent next."""

    def __init__(self, size: tuple[int, int], fps: float):
        self.size, self.fps = size, fps
        self.garbage = self.cut = self.torn = 0

    def part(self, index: int) -> tuple[bytes, int]:
        """Return the body of the next part, and the length that its header says."""
        width, height = self.size
        picture = np.frombuffer(drawn(width, height, time.monotonic_ns(), index), np.uint8).reshape(height, width, 3)
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
        setattr(self, word, tuple(map(int, value.split("x"))) if word == "size" else int(value))


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


def main() -> None:
    """Serve until the input ends or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(320, 240))
    parser.add_argument("--fps", type=float, default=15)
    parser.add_argument("--folder", default=".")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    camera = Camera(options.size, options.fps)
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
