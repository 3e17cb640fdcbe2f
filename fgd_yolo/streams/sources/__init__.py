"""Where pictures come from: cameras, streams, files, folders and a drawn scene, all read in one way."""

from __future__ import annotations

from glob import has_magic
from pathlib import Path

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget, StreamBudget
from fgd_yolo.streams.address import check_text, redact, show_address
from fgd_yolo.streams.sources.source import BadFrame, Source, SourceEnded, SourceFrame, SourceLost

__all__ = [
    "BadFrame",
    "Source",
    "SourceEnded",
    "SourceFrame",
    "SourceLost",
    "check_address",
    "is_live",
    "open_source",
]

_NETWORK = ("rtsp", "rtsps", "http", "https")
_KNOWN = (
    "a camera's number, a file, a folder, a pattern such as '*.jpg', rtsp://, rtsps://, http://, https:// or test://"
)


def open_source(address: str | int, *, timeout_s: float, budget: PixelBudget | None = None) -> Source:
    """Open a camera, stream or file.

    Args:
        address: a camera's number, a video, a picture, a folder or pattern of these, `rtsp://`, `rtsps://`, `http://`,
            `https://` (MJPEG or video) or `test://` with options as in `sources.scene`.
        timeout_s: a network source that is silent for longer counts as lost.
        budget: of this source's pictures, together with those of all others that were opened with it; the default one
            if absent.
    Raises:
        SourceLost: it cannot be opened now; the text says why.
        UsageError: it never can, as in `check_address`.
    """
    share = (budget or PixelBudget()).for_stream()
    try:
        return _open(address, share, timeout_s)
    except ImageTooLargeError as error:
        share.release()
        raise SourceLost(str(error)) from None
    except BaseException:
        share.release()
        raise


def _open(address: str | int, share: StreamBudget, timeout_s: float) -> Source:
    kind = _kind(address)
    if kind == "camera":
        from fgd_yolo.streams.sources.camera import CameraSource

        return CameraSource(int(address), share=share)
    if kind == "test":
        from fgd_yolo.streams.sources.demo_scene import SceneSource

        return SceneSource(str(address), share)
    if kind == "network":
        from fgd_yolo.streams.sources.network import open_network

        return open_network(str(address), share, timeout_s=timeout_s)
    from fgd_yolo.streams.sources.folder import FolderSource, find_files, open_file

    if kind == "file":
        return open_file(str(address), share)
    try:
        return FolderSource(find_files(str(address)), share)
    except UsageError as error:
        raise SourceLost(str(error)) from None


def is_live(address: str | int) -> bool:
    """Say whether pictures come at their own pace, so that a slow reader must skip some."""
    return _kind(address) in ("camera", "network", "test")


def check_address(address: str | int, budget: PixelBudget | None = None) -> None:
    """Refuse what can never work, before anything starts. A camera that is merely down passes.

    Args:
        address: as `open_source` takes it.
        budget: of a video file's pictures; the default one if absent.
    Raises:
        UsageError: it is too long, an unknown scheme, no host, an unknown option, no such file, an unreadable folder,
            nothing in it, or a picture or video larger than the budget allows.
        FGDError: a package is missing.
    """
    check_text(address)
    kind = _kind(address)
    if kind == "test":
        from fgd_yolo.streams.sources.demo_scene import parse_scene

        parse_scene(str(address))
    elif kind == "network":
        from fgd_yolo.streams.sources.network import check_url

        check_url(str(address))
    elif kind == "file":
        from fgd_yolo.streams.sources.folder import check_file

        check_file(str(address), budget or PixelBudget())
    elif kind == "folder":
        from fgd_yolo.streams.sources.folder import find_files

        try:
            find_files(str(address))
        except UsageError as error:
            raise UsageError(redact(error, address)) from None


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
        raise UsageError(f"'{show_address(address)}' is no source: name {_KNOWN}")
    if not text.strip():
        raise UsageError(f"the source is empty: name {_KNOWN}")
    return "folder" if _is_folder(Path(text)) else "file"


def _is_folder(path: Path) -> bool:
    """Say whether a path names a folder, or a pattern where there is no file of that name."""
    try:
        return path.is_dir() or (not path.is_file() and has_magic(str(path)))
    except OSError:  # a folder above it is not ours to read
        return False
