"""A camera over RTSP: GStreamer's RTSP server with the time in the pixels.

GStreamer's bindings belong to the system's Python, which runs this file as a script and sees nothing of the package
but the file beside it. It writes its port on standard output, and ends at the end of its input, or by itself after
`--seconds`.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (the versions come first)
from stamp import Scene  # noqa: E402

PAYLOADS = {"h264": "rtph264pay name=pay0 pt=96 config-interval=1", "jpeg": "rtpjpegpay name=pay0 pt=26"}
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={gop}",
    "jpeg": "jpegenc",
}


class Camera(GstRtspServer.RTSPMediaFactory):
    """Draws a picture whenever one is due, for all clients at once."""

    def __init__(self, options: argparse.Namespace):
        super().__init__()
        self.options = options
        self.scene = Scene(options.size, options.pictures)
        self.set_shared(True)
        # Not by overriding do_configure: the one that it replaces is what makes the media shared.
        self.connect("media-configure", self._configured)

    def do_create_element(self, url):
        if self.options.file:
            return Gst.parse_launch(
                f'( filesrc location="{self.options.file}" ! qtdemux ! h264parse ! {PAYLOADS["h264"]} )'
            )
        width, height = self.options.size
        encoder = ENCODERS[self.options.codec].format(gop=self.options.gop or self.options.fps)
        return Gst.parse_launch(
            "( appsrc name=src is-live=true do-timestamp=true format=time max-buffers=2 leaky-type=downstream "
            f"caps=video/x-raw,format=BGR,width={width},height={height},framerate={self.options.fps}/1 "
            f"! videoconvert ! video/x-raw,format=I420 ! {encoder} ! {PAYLOADS[self.options.codec]} )"
        )

    def _configured(self, _, media):
        source = media.get_element().get_child_by_name("src")
        if source:
            threading.Thread(target=self._draw, args=(source,), daemon=True).start()

    def _draw(self, source):
        due, index, flow = time.monotonic(), 0, Gst.FlowReturn.OK
        while flow == Gst.FlowReturn.OK:
            flow = source.emit("push-buffer", Gst.Buffer.new_wrapped(self.scene.picture(index)))
            index += 1
            due += 1 / self.options.fps
            time.sleep(max(0.0, due - time.monotonic()))


def protect(server, factory, user: str, password: str) -> None:
    """Ask for a name and a password."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.set_supported_methods(GstRtspServer.RTSPAuth.get_supported_methods(auth))
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role("viewer")
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)


def main() -> None:
    """Serve until the input ends or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", default="0")
    parser.add_argument("--path", default="/cam")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(320, 240))
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--gop", type=int, help="pictures between two key frames; default: one second")
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--pictures", type=Path, help="raw BGR pictures to send instead of drawing")
    parser.add_argument("--file", help="send this H.264 file (MP4) once instead of drawing")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    Gst.init(None)
    server, factory, loop = GstRtspServer.RTSPServer(), Camera(options), GLib.MainLoop()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    if options.user:
        protect(server, factory, options.user, options.password)
    server.get_mount_points().add_factory(options.path, factory)
    if not server.attach(None):
        raise SystemExit("the port is in use")
    GLib.timeout_add_seconds(options.seconds, loop.quit)
    threading.Thread(target=lambda: (sys.stdin.read(), GLib.idle_add(loop.quit)), daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
