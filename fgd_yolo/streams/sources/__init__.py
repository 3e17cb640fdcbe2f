"""Where pictures come from: cameras, streams, files, pictures and a drawn scene, all read in one way."""

from __future__ import annotations

from pathlib import Path

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.sources.source import BadFrame, Picture, Source, SourceEnded, SourceLost

__all__ = [
    "BadFrame",
    "Picture",
    "Source",
    "SourceEnded",
    "SourceLost",
    "check_address",
    "is_live",
    "open_source",
]

_NETWORK = ("rtsp", "rtsps", "http", "https")
_KNOWN = (
    "a camera's number, a file, a folder, a pattern such as '*.jpg', rtsp://, rtsps://, http://, https:// or test://"
)


def open_source(address: str | int, *, timeout_s: float) -> Source:
    """Open a camera, stream or file.

    Args:
        address: a camera's number, a video file, a picture, a folder or pattern of pictures, `rtsp://`, `rtsps://`,
            `http://`, `https://` (MJPEG or video) or `test://` with options as in `sources.scene`.
        timeout_s: a network source that is silent for longer counts as lost.
    Raises:
        SourceLost: it cannot be opened now; the text says why.
        UsageError: it never can, as in `check_address`.
    """
    kind = _kind(address)
    if kind == "camera":
        from fgd_yolo.streams.sources.camera import CameraSource

        return CameraSource(int(address))
    if kind == "test":
        from fgd_yolo.streams.sources.scene import SceneSource

        return SceneSource(str(address))
    if kind == "network":
        from fgd_yolo.streams.sources.network import NetworkSource

        return NetworkSource(str(address), timeout_s=timeout_s)
    if kind == "pictures":
        from fgd_yolo.streams.sources.images import ImagesSource

        return ImagesSource(str(address))
    from fgd_yolo.streams.sources.file import FileSource

    return FileSource(str(address))


def is_live(address: str | int) -> bool:
    """Say whether pictures come at their own pace, so that a slow reader must skip some."""
    return _kind(address) in ("camera", "network", "test")


def check_address(address: str | int) -> None:
    """Refuse what can never work, before anything starts. A camera that is merely down passes.

    Raises:
        UsageError: an unknown scheme, no host, an unknown option, no such file, an unreadable folder, no video in it.
        FGDError: a package is missing.
    """
    kind = _kind(address)
    if kind == "test":
        from fgd_yolo.streams.sources.scene import parse_scene

        parse_scene(str(address))
    elif kind == "pictures":
        from fgd_yolo.runtime.images import list_images

        try:
            list_images(str(address))
        except UsageError as error:
            raise UsageError(redact(error)) from None
    elif kind == "network":
        from fgd_yolo.streams.sources.network import check_url

        check_url(str(address))
    elif kind == "file":
        from fgd_yolo.streams.sources.file import check_video

        check_video(str(address))


def _kind(address: str | int) -> str:
    text = str(address)
    if text.isdecimal():
        return "camera"
    scheme, is_url, _ = text.partition("://")
    if is_url:
        if scheme.lower() in _NETWORK:
            return "network"
        if scheme.lower() == "test":
            return "test"
        raise UsageError(f"'{redact(address)}' is no source: name {_KNOWN}")
    if not text.strip():
        raise UsageError(f"the source is empty: name {_KNOWN}")
    from fgd_yolo.streams.sources.images import holds_pictures

    return "pictures" if holds_pictures(Path(text)) else "file"
