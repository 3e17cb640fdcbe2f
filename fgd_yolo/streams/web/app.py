"""The paths of the page and of the programs that ask."""

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

from fgd_yolo.errors import FGDError, UsageError, whole_line
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.web.access_control import AccessControl
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.metrics import MEDIA_TYPE, to_prometheus
from fgd_yolo.streams.web.page import read_page
from fgd_yolo.streams.web.push import EVENTS, MJPEG, PushResponse, ViewerSlots, events, no_seat, pictures
from fgd_yolo.streams.web.requests import (
    LONGEST_BODY,
    NamedStream,
    NewStream,
    PictureQuery,
    VideoQuery,
    read_body,
    read_query,
)
from fgd_yolo.streams.web.status import StatusReport
from fgd_yolo.streams.web.stream_control import StreamControl, StreamSettings, UnknownStream
from fgd_yolo.text import shortened, single_line

MOST_VIEWERS = 64
_WAIT_S = 0.5  # a browser has six connections to a server, so none may wait long
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
    orders: Mapping[str, StreamSettings] | None = None,
    allow_files: bool = False,
    deadline_s: float = 5.0,
) -> ASGIApp:
    """Return the ASGI application that shows and steers a pipeline.

    Args:
        pipeline: runs, or will.
        frames: an observer of that pipeline.
        token: asked of everybody; needed where others than this machine's users can connect.
        orders: how the pipeline's streams were added, by name; only those can be stopped and started.
        allow_files: whether the page may open files and folders of this machine.
        deadline_s: a stream without a result for longer is not ready.
    Raises:
        UsageError: the token cannot be used.
    """
    control = StreamControl(pipeline, orders or {}, allow_files)
    report = StatusReport(pipeline, frames, control, deadline_s)
    routes = [
        *[Route(path, _file(*file)) for path, file in _FILES.items()],
        *_reading(report, frames, ViewerSlots(MOST_VIEWERS)),
        *_changing(control, report),
    ]
    handlers = {FGDError: _refused, ClientDisconnect: _refused, 404: _not_found, Exception: _failed}
    return AccessControl(Starlette(routes=routes, exception_handlers=handlers), token)


def _reading(report: StatusReport, frames: LatestFrames, seats: ViewerSlots) -> list[Route]:
    """Return the paths that change nothing."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        complaints = await run_in_threadpool(report.complaints)
        return JSONResponse({"ready": not complaints, "reasons": complaints}, 503 if complaints else 200)

    async def stats(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(report.stats))

    async def metrics(_: Request) -> Response:
        text = to_prometheus(await run_in_threadpool(report.stats), frames.encoded)
        return Response(text, headers={"Content-Type": MEDIA_TYPE})

    async def numbers(_: Request) -> Any:
        return PushResponse(events(report.brief), EVENTS, seats)

    async def video(request: Request) -> Any:
        stream = read_query(VideoQuery, request.query_params).stream
        if stream not in (await run_in_threadpool(report.stats))["streams"]:
            raise UnknownStream(f"there is no stream '{stream}'")
        return PushResponse(pictures(frames, stream), MJPEG, seats)

    async def picture(request: Request) -> Response:
        query = read_query(PictureQuery, request.query_params)
        with seats as seated:
            if not seated:
                return no_seat(seats)
            found = await frames.picture(query.stream, query.after, _WAIT_S)
        if found is None:
            return Response(status_code=204)
        return Response(found.jpeg, media_type="image/jpeg", headers={"X-Frame-Index": str(found.index)})

    asked = (healthz, readyz, stats, metrics, video, picture)
    return [*[Route(f"/{endpoint.__name__}", endpoint) for endpoint in asked], Route("/events", numbers)]


def _changing(control: StreamControl, report: StatusReport) -> list[Route]:
    """Return the routes that change streams; `AccessControl` admits only JSON from the page itself or from programs."""

    async def add(request: Request) -> Response:
        wanted = read_body(NewStream, await _body(request))
        try:
            name = await run_in_threadpool(control.add, wanted)
        except FGDError as error:
            return JSONResponse({"error": shortened(redact(whole_line(error), wanted.address))}, 400)
        report.outdate()
        return JSONResponse({"name": name}, 201)

    def named(change: Callable[[str], None]) -> Callable[[Request], Awaitable[Response]]:
        async def carry_out(request: Request) -> Response:
            name = read_body(NamedStream, await _body(request)).name
            await run_in_threadpool(change, name)
            report.outdate()
            return JSONResponse({"name": name})

        return carry_out

    return [
        Route("/streams", add, methods=["POST"]),
        Route("/streams", named(control.remove), methods=["DELETE"]),
        Route("/streams/stop", named(control.stop), methods=["POST"]),
        Route("/streams/start", named(control.start), methods=["POST"]),
    ]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise UsageError("that is too long")
    return bytes(body)


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(read_page(name), media_type=media_type)

    return answer


async def _refused(_: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, UnknownStream) else 400 if isinstance(error, UsageError) else 500
    return JSONResponse({"error": shortened(redact(whole_line(error)))}, status)


async def _not_found(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "there is nothing here"}, 404)


async def _failed(request: Request, error: Exception) -> Response:
    text = f"web page: {request.scope['path']}: {type(error).__name__}: {whole_line(error)}"
    print(shortened(single_line(redact(text))), file=sys.stderr, flush=True)
    return JSONResponse({"error": "this failed; the server's log says why"}, 500)
