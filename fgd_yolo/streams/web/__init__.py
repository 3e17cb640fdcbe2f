"""The web page: live pictures, numbers and the health of every stream; loopback only, or behind a token.

The room's map: `app` has the paths, `gate` decides who may pass, `requests` checks what is asked, `view` keeps the
newest picture of each stream, `push` sends to viewers who stay, `report` says how things are, `metrics` says it to
Prometheus, `server` listens, `connections` has the deadlines and decides which connection makes room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from fgd_yolo.streams.web.latest_frames import LatestFrames
    from fgd_yolo.streams.web.server import WebServer


def create_app(pipeline: Any, frames: LatestFrames, **options: Any) -> ASGIApp:
    """Return the ASGI application of a pipeline; see `fgd_yolo.streams.web.app.create_app`.

    Raises:
        UsageError: the token cannot be used.
        FGDError: a package of the extra `web` is missing.
    """
    try:
        from fgd_yolo.streams.web.app import create_app
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return create_app(pipeline, frames, **options)


def bind(host: str, port: int, token: str | None = None) -> WebServer:
    """Take the port, before anything else starts; see `fgd_yolo.streams.web.server.WebServer`.

    Raises:
        UsageError: the address needs a token, or is none.
        FGDError: the port cannot be had, or a package of the extra `web` is missing.
    """
    try:
        from fgd_yolo.streams.web.server import WebServer
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return WebServer(host, port, token)


def serve(app: Any, host: str, port: int, token: str | None = None) -> WebServer:
    """Serve an application in a thread of its own until `stop` is called; raises what `bind` does."""
    return bind(host, port, token).start(app)


def _missing(error: ModuleNotFoundError) -> FGDError:
    package = (error.name or "").partition(".")[0]
    if package == "fgd_yolo":
        raise error
    return FGDError(f"{package} is not installed; run pip install 'fgd_yolo[web]'")
