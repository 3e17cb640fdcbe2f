"""The routes of the page and of programs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from fgd_yolo.errors import FGDError, UsageError, error_message
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.web.access_control import AccessControl
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.metrics import MEDIA_TYPE, to_prometheus
from fgd_yolo.streams.web.page import read_page
from fgd_yolo.streams.web.push import (
    EVENT_STREAM,
    MJPEG,
    PushResponse,
    ViewerSlots,
    mjpeg_parts,
    status_events,
    too_many_viewers,
)
from fgd_yolo.streams.web.requests import (
    MAX_BODY_BYTES,
    AddStream,
    FrameQuery,
    StreamName,
    VideoQuery,
    read_body,
    read_query,
)
from fgd_yolo.streams.web.responses import error_response, json_response
from fgd_yolo.streams.web.status import StatusReport
from fgd_yolo.streams.web.stream_control import StreamControl, StreamSettings, UnknownStream
from fgd_yolo.text import shortened, single_line

MAX_VIEWERS = 64
_FRAME_TIMEOUT_S = 0.5  # a browser has six connections to a server, so none may wait long
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/plots.js": ("plots.js", "text/javascript"),
}


def create_app(
    pipeline: Any,
    frames: LatestFrames,
    *,
    token: str | None = None,
    settings: Mapping[str, StreamSettings] | None = None,
    deadline_s: float = 5.0,
) -> ASGIApp:
    """Return the ASGI application that shows and controls a pipeline.

    Args:
        pipeline: running, or started later.
        frames: an observer of that pipeline.
        token: required from every client; needed if others than this machine's users can connect.
        settings: how the pipeline's streams were added, by name; only these can be stopped and started.
        deadline_s: a stream without a result for longer is not ready.
    Raises:
        UsageError: the token is invalid.
    """
    control = StreamControl(pipeline, settings or {})
    report = StatusReport(pipeline, frames, control, deadline_s)
    routes = [
        *[Route(path, _file(*file)) for path, file in _FILES.items()],
        *_read_routes(report, frames, ViewerSlots(MAX_VIEWERS)),
        *_write_routes(control, report),
    ]
    handlers = {FGDError: _on_error, ClientDisconnect: _on_error, 404: _on_not_found, Exception: _on_unexpected}
    return AccessControl(Starlette(routes=routes, exception_handlers=handlers), token)


def _read_routes(report: StatusReport, frames: LatestFrames, slots: ViewerSlots) -> list[Route]:
    """Return the routes that change nothing."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        problems = await run_in_threadpool(report.problems)
        return json_response("ready", {"ready": not problems, "reasons": problems}, 503 if problems else 200)

    async def stats(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(report.stats))

    async def metrics(_: Request) -> Response:
        text = to_prometheus(await run_in_threadpool(report.stats), frames.encoded)
        return Response(text, headers={"Content-Type": MEDIA_TYPE})

    async def events(_: Request) -> Any:
        return PushResponse(status_events(report.for_page), EVENT_STREAM, slots)

    async def video(request: Request) -> Any:
        stream = read_query(VideoQuery, request.query_params).stream
        if stream not in (await run_in_threadpool(report.stats))["streams"]:
            raise UnknownStream(f"there is no stream '{stream}'")
        return PushResponse(mjpeg_parts(frames, stream), MJPEG, slots)

    async def frame(request: Request) -> Response:
        query = read_query(FrameQuery, request.query_params)
        with slots as admitted:
            if not admitted:
                return too_many_viewers(slots)
            newest = await frames.wait_for_jpeg(query.stream, query.after, _FRAME_TIMEOUT_S)
        if newest is None:
            return Response(status_code=204)
        return Response(newest.jpeg, media_type="image/jpeg", headers={"X-Frame-Index": str(newest.index)})

    endpoints = (healthz, readyz, stats, metrics, events, video, frame)
    return [Route(f"/{endpoint.__name__}", endpoint) for endpoint in endpoints]


def _write_routes(control: StreamControl, report: StatusReport) -> list[Route]:
    """Return the routes that change streams; `AccessControl` admits only JSON from the page itself or from programs."""

    async def add(request: Request) -> Response:
        new_stream = read_body(AddStream, await _body(request))
        try:
            name = await run_in_threadpool(control.add, new_stream)
        except FGDError as error:
            return error_response(400, shortened(redact(error_message(error), new_stream.address)))
        report.invalidate()
        return json_response("stream", {"name": name}, 201)

    def by_name(change: Callable[[str], None]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            name = read_body(StreamName, await _body(request)).name
            await run_in_threadpool(change, name)
            report.invalidate()
            return json_response("stream", {"name": name})

        return endpoint

    return [
        Route("/streams", add, methods=["POST"]),
        Route("/streams", by_name(control.remove), methods=["DELETE"]),
        Route("/streams/stop", by_name(control.stop), methods=["POST"]),
        Route("/streams/start", by_name(control.start), methods=["POST"]),
    ]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise UsageError(f"the request body is longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return Response(read_page(name), media_type=media_type)

    return endpoint


async def _on_error(_: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, UnknownStream) else 400 if isinstance(error, UsageError) else 500
    return error_response(status, shortened(redact(error_message(error))))


async def _on_not_found(_: Request, __: Exception) -> Response:
    return error_response(404, "not found")


async def _on_unexpected(request: Request, error: Exception) -> Response:
    text = f"web page: {request.scope['path']}: {type(error).__name__}: {error_message(error)}"
    print(shortened(single_line(redact(text))), file=sys.stderr, flush=True)
    return error_response(500, "internal error; see the server's log")
