"""Responses without an end: MJPEG frames and server-sent events, for as long as a viewer stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.responses import error_response
from fgd_yolo.strict_json import to_json

MIN_FRAME_PERIOD_S = 1 / 20  # for one viewer: a higher rate looks no better and costs the pipeline's cores
_BOUNDARY = "fgd-yolo-frame"
MJPEG = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
EVENT_STREAM = "text/event-stream"


class ViewerSlots:
    """Limits the number of requests for frames and events at a time; a context manager that takes one slot.

    Args:
        limit: number of slots.
    """

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0

    def __enter__(self) -> bool:
        """Take a slot; return False if none was free, in which case it is counted until the end of the block too."""
        self.used += 1
        return self.used <= self.limit

    def __exit__(self, *_: object) -> None:
        self.used -= 1


class PushResponse:
    """An ASGI response that sends parts until the viewer disconnects, which it notices even while no part is sent.

    A part is made only after the previous one has been sent, so that a slow viewer gets fewer parts.

    Args:
        parts: what to send.
        media_type: the Content-Type of the response.
        slots: one is used for as long as the response lasts; without a free one the response is 503.
    """

    def __init__(self, parts: AsyncIterator[bytes], media_type: str, slots: ViewerSlots):
        self._parts, self._media_type, self._slots = parts, media_type, slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slots as admitted:
            if not admitted:
                await too_many_viewers(self._slots)(scope, receive, send)
                return
            headers = [(b"content-type", self._media_type.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
                return
            await _run_until_first_ends(self._push(send), _wait_for_disconnect(receive))

    async def _push(self, send: Send) -> None:
        async for part in self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


async def mjpeg_parts(frames: LatestFrames, stream: str) -> AsyncIterator[bytes]:
    """Yield the newest frames of a stream as parts of an MJPEG response."""
    loop = asyncio.get_running_loop()
    after = None
    yield f"--{_BOUNDARY}\r\n".encode()
    while True:
        started = loop.time()
        if frame := await frames.wait_for_jpeg(stream, after, timeout_s=1.0):
            after = frame.index
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(frame.jpeg)}\r\n\r\n"
            # A browser shows a part when the next one begins, so the next boundary is sent with it.
            yield b"".join([head.encode(), frame.jpeg, f"\r\n--{_BOUNDARY}\r\n".encode()])
            await asyncio.sleep(MIN_FRAME_PERIOD_S - (loop.time() - started))


async def status_events(get_status: Callable[[], dict[str, Any]], period_s: float = 1.0) -> AsyncIterator[bytes]:
    """Yield the status once per period, as server-sent events."""
    while True:
        yield f"data: {to_json(await run_in_threadpool(get_status))}\n\n".encode()
        await asyncio.sleep(period_s)


def too_many_viewers(slots: ViewerSlots) -> JSONResponse:
    """Return the response to a viewer for whom no slot is free."""
    return error_response(503, f"{slots.limit} viewers are connected already", {"Retry-After": "5"})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _run_until_first_ends(*coroutines: Any) -> None:
    """Run coroutines until one ends, cancel the others, and raise what the first one raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
