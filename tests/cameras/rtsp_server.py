"""A camera over RTSP: GStreamer's RTSP server, with a time stamp in the pixels.

GStreamer's Python bindings are installed for the system's interpreter, which runs this file as a script: it can import
only the standard library and the file beside it. It prints its port, and stops at the end of its input, or after
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
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (gi needs the versions first)
from stamp import Scene  # noqa: E402

PAYLOADS = {"h264": "rtph264pay name=pay0 pt=96 config-interval=1", "jpeg": "rtpjpegpay name=pay0 pt=26"}
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={gop}",
    "jpeg": "jpegenc",
}


class Camera(GstRtspServer.RTSPMediaFactory):
    """Draws a frame whenever one is due, and sends it to all clients."""

    def __init__(self, args: argparse.Namespace):
        super().__init__()
        self.args = args
        self.scene = Scene(args.size, args.raw_video)
        self.set_shared(True)
        # A signal instead of overriding do_configure, whose own version makes the media shared.
        self.connect("media-configure", self._on_media_configure)

    def do_create_element(self, url):
        if self.args.file:
            return Gst.parse_launch(
                f'( filesrc location="{self.args.file}" ! qtdemux ! h264parse ! {PAYLOADS["h264"]} )'
            )
        width, height = self.args.size
        encoder = ENCODERS[self.args.codec].format(gop=self.args.gop or self.args.fps)
        return Gst.parse_launch(
            "( appsrc name=src is-live=true do-timestamp=true format=time max-buffers=2 leaky-type=downstream "
            f"caps=video/x-raw,format=BGR,width={width},height={height},framerate={self.args.fps}/1 "
            f"! videoconvert ! video/x-raw,format=I420 ! {encoder} ! {PAYLOADS[self.args.codec]} )"
        )

    def _on_media_configure(self, _, media):
        source = media.get_element().get_child_by_name("src")
        if source:
            threading.Thread(target=self._draw, args=(source,), daemon=True).start()

    def _draw(self, source):
        due, index, flow = time.monotonic(), 0, Gst.FlowReturn.OK
        while flow == Gst.FlowReturn.OK:
            flow = source.emit("push-buffer", Gst.Buffer.new_wrapped(self.scene.frame(index)))
            index += 1
            due += 1 / self.args.fps
            time.sleep(max(0.0, due - time.monotonic()))


def require_login(server, factory, user: str, password: str) -> None:
    """Require a user name and a password."""
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
    parser.add_argument("--gop", type=int, help="frames between two key frames (default: one second)")
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--raw-video", type=Path, help="raw BGR frames to send instead of a drawing")
    parser.add_argument("--file", help="H.264 file (MP4) to send once instead of a drawing")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    Gst.init(None)
    server, factory, loop = GstRtspServer.RTSPServer(), Camera(args), GLib.MainLoop()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    if args.user:
        require_login(server, factory, args.user, args.password)
    server.get_mount_points().add_factory(args.path, factory)
    if not server.attach(None):
        raise SystemExit("the port is in use")
    GLib.timeout_add_seconds(args.seconds, loop.quit)
    threading.Thread(target=lambda: (sys.stdin.read(), GLib.idle_add(loop.quit)), daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
