"""Answers without an end: pictures and numbers to those who stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.strict_json import to_json

FASTEST_S = 1 / 20  # between two pictures for one viewer: more looks no better and costs the pipeline's cores
_BOUNDARY = "fgd-yolo-picture"
MJPEG = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
EVENTS = "text/event-stream"


class ViewerSlots:
    """How many may watch at a time."""

    def __init__(self, limit: int):
        self.limit, self.taken = limit, 0

    def __enter__(self) -> bool:
        """Take a seat; False if all are taken, which still counts until the end of the block."""
        self.taken += 1
        return self.taken <= self.limit

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


class PushResponse:
    """An ASGI answer that sends parts until the viewer leaves, also when there is nothing to send meanwhile.

    Sending waits for the viewer's connection, so that a slow one gets fewer parts; parts are made only when the one
    before has gone out.

    Args:
        parts: what to send.
        media_type: of the whole.
        seats: one is taken for as long as it lasts; 503 if there is none.
    """

    def __init__(self, parts: AsyncIterator[bytes], media_type: str, seats: ViewerSlots):
        self._parts, self._media_type, self._seats = parts, media_type, seats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seats as seated:
            if not seated:
                await no_seat(self._seats)(scope, receive, send)
                return
            headers = [(b"content-type", self._media_type.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
                return
            await _first_of(self._push(send), _left(receive))

    async def _push(self, send: Send) -> None:
        async for part in self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


async def pictures(frames: LatestFrames, stream: str) -> AsyncIterator[bytes]:
    """Yield the newest picture of a stream again and again, as parts of an MJPEG answer."""
    loop = asyncio.get_running_loop()
    after = None
    yield f"--{_BOUNDARY}\r\n".encode()
    while True:
        begun = loop.time()
        if picture := await frames.picture(stream, after, timeout_s=1.0):
            after = picture.index
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
            # A browser shows a part when the next one begins, so its boundary goes out at once.
            yield b"".join([head.encode(), picture.jpeg, f"\r\n--{_BOUNDARY}\r\n".encode()])
            await asyncio.sleep(FASTEST_S - (loop.time() - begun))


async def events(report: Callable[[], dict[str, Any]], period_s: float = 1.0) -> AsyncIterator[bytes]:
    """Yield the numbers once a period, as server-sent events."""
    while True:
        yield f"data: {to_json(await run_in_threadpool(report))}\n\n".encode()
        await asyncio.sleep(period_s)


def no_seat(seats: ViewerSlots) -> JSONResponse:
    """Return the answer where all seats are taken."""
    return JSONResponse({"error": f"{seats.limit} viewers watch already"}, 503, {"Retry-After": "5"})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*works: Any) -> None:
    """Run until one of them is done, and end the others; what it raised is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
