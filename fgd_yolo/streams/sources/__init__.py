"""Where frames come from: cameras, network streams, files, folders and a drawn scene, all read in one way.

A source is one file and one row of `SOURCES`. The file has two functions, `check(address, budget)` and
`open_source(address, share, timeout_s)`, and is imported when the first address of its kind is checked or opened.

- `source`: what a source provides. `camera`: a camera of this machine. `demo_scene`: the drawn scene of `test://`.
- `network`: RTSP and video over HTTP; `http` sends its requests, `mjpeg` and `snapshot` read JPEG streams and single
  images over HTTP.
- `local_files`: files, folders and patterns; `video_file` and `animation` read one file.
- `decoding` reads videos through PyAV, `timestamps` makes the times of their frames rise.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget
from fgd_yolo.streams.address import check_text, show_address
from fgd_yolo.streams.sources.source import BadFrame, Source, SourceEnded, SourceFrame, SourceLost

__all__ = [
    "SOURCES",
    "BadFrame",
    "Source",
    "SourceEnded",
    "SourceFrame",
    "SourceLost",
    "check_address",
    "is_live",
    "open_source",
]


class SourceKind(NamedTuple):
    """One row of `SOURCES`.

    Args:
        module: the module of this package that has `check` and `open_source`.
        live: whether frames come at their own pace, so that a slow reader must skip some.
        channels: whether it reads image files, which may have any number of channels; its `check` and `open_source`
            then take `channels`. All other frames have three, and a detector of one makes them grey.
    """

    module: str
    live: bool
    channels: bool = False


_CAMERA_NUMBER, _PATH = "a camera number", "a file, a folder, a pattern such as '*.jpg'"
# By the scheme of a URL, or by a description of the addresses that are not URLs; `_choices` lists these keys.
SOURCES = {
    _CAMERA_NUMBER: SourceKind("camera", live=True),
    _PATH: SourceKind("local_files", live=False, channels=True),
    "rtsp://": SourceKind("network", live=True),
    "rtsps://": SourceKind("network", live=True),
    "http://": SourceKind("network", live=True),
    "https://": SourceKind("network", live=True),
    "test://": SourceKind("demo_scene", live=True),
}


def open_source(
    address: str | int, *, timeout_s: float, budget: PixelBudget | None = None, channels: int = 3
) -> Source:
    """Open a camera, stream or file.

    Args:
        address: a camera number, a video, an image, a folder or pattern of these, `rtsp://`, `rtsps://`, `http://`,
            `https://` (MJPEG or video) or `test://` with options as in `sources.demo_scene`.
        timeout_s: a network source that is silent for longer counts as lost.
        budget: the pixel budget that this source shares with all others opened with it; the default one if absent.
        channels: number of channels that the model takes; images from files are read for it.
    Raises:
        SourceLost: it cannot be opened now; the message says why.
        UsageError: it can never be opened, as in `check_address`.
    """
    share = (budget or PixelBudget()).for_stream()
    try:
        return _module(address).open_source(str(address), share, timeout_s, **_channels(address, channels))
    except ImageTooLargeError as error:
        share.release()
        raise SourceLost(str(error)) from None
    except BaseException:
        share.release()
        raise


def is_live(address: str | int) -> bool:
    """Whether frames come at their own pace, so that a slow reader must skip some."""
    return _kind(address).live


def check_address(address: str | int, budget: PixelBudget | None = None, channels: int = 3) -> None:
    """Check an address before anything starts. A camera that is merely down passes.

    Args:
        address: an address, as `open_source` takes it.
        budget: the pixel budget for a file; the default one if absent.
        channels: number of channels that the model takes.
    Raises:
        UsageError: the address is too long; it has an unknown scheme, no host or an unknown option; the file does not
            exist, the folder is unreadable or empty, or an image or video is larger than the budget allows; the source
            cannot have as many channels.
        FGDError: a package is missing.
    """
    check_text(address)
    if channels not in (1, 3) and not _kind(address).channels:
        raise UsageError(
            f"'{show_address(address)}' delivers 3 channels, but the model takes {channels}: give image files of "
            f"{channels} channels, such as a folder of TIFFs"
        )
    _module(address).check(str(address), budget or PixelBudget(), **_channels(address, channels))


def _channels(address: str | int, channels: int) -> dict[str, int]:
    return {"channels": channels} if _kind(address).channels else {}


def _module(address: str | int) -> ModuleType:
    return import_module(f"{__name__}.{_kind(address).module}")


def _kind(address: str | int) -> SourceKind:
    text = str(address)
    if text.isdecimal():
        return SOURCES[_CAMERA_NUMBER]
    scheme, separator, _ = text.partition("://")
    if separator:
        kind = SOURCES.get(f"{scheme.lower()}://")
        if kind is None:
            raise UsageError(f"'{show_address(address)}' is not a source: give {_choices()}")
        return kind
    if not text.strip():
        raise UsageError(f"the source is empty: give {_choices()}")
    return SOURCES[_PATH]


def _choices() -> str:
    *first, last = SOURCES
    return f"{', '.join(first)} or {last}"
