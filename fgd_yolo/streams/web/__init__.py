"""The web page: live video, statistics and health of every stream, on the loopback address or behind a token.

`app` has the routes, `access_control` checks token and origin of a request, `requests` validates its content,
`responses` answers in JSON, `stream_control` adds and removes streams, `status` reports their state, `metrics` exports
it to Prometheus, `latest_frames` keeps the newest frame of each stream, `push` sends frames and status to viewers.
`server` listens, `connections` closes those that are late or too many. `page/` holds HTML, CSS and JavaScript.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, not_installed

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from fgd_yolo.streams.web.latest_frames import LatestFrames
    from fgd_yolo.streams.web.server import WebServer


def create_app(pipeline: Any, frames: LatestFrames, **options: Any) -> ASGIApp:
    """Return the ASGI application of a pipeline; see `fgd_yolo.streams.web.app.create_app`.

    Raises:
        UsageError: the token is invalid.
        FGDError: a package of the extra `web` is missing.
    """
    try:
        from fgd_yolo.streams.web.app import create_app
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return create_app(pipeline, frames, **options)


def bind(host: str, port: int, token: str | None = None) -> WebServer:
    """Bind the port, before anything else is started; see `fgd_yolo.streams.web.server.WebServer`.

    Raises:
        UsageError: the address needs a token, or is invalid.
        FGDError: the port is not available, or a package of the extra `web` is missing.
    """
    try:
        from fgd_yolo.streams.web.server import WebServer
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return WebServer(host, port, token)


def serve(app: Any, host: str, port: int, token: str | None = None) -> WebServer:
    """Serve an application in a separate thread until `stop` is called; raises what `bind` raises."""
    return bind(host, port, token).start(app)


def _missing(error: ModuleNotFoundError) -> FGDError:
    package = (error.name or "").partition(".")[0]
    if package == "fgd_yolo":
        raise error
    return not_installed(package, "web")
