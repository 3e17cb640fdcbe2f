"""The newest result of each stream, as a JPEG for those who watch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import cv2
import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.overlay import overlay

WIDEST_PX = 960
_QUALITY = 80


class Picture(NamedTuple):
    """A frame as JPEG; `index` is the frame's."""

    index: int
    jpeg: bytes


class LatestFrames:
    """Keeps the newest result of each stream, and encodes it only when somebody asks for it.

    An observer of the pipeline: a call stores a reference and returns. All drawing and encoding happens on one thread
    of its own, once per frame however many watch, so that viewers take at most one core and never the pipeline's time.

    Args:
        paint: makes the picture (H, W, 3) BGR of a result.
    """

    def __init__(self, paint: Callable[[Result], np.ndarray] = overlay):
        self.encoded = 0  # pictures so far
        self._paint = paint
        self._lock = threading.Lock()
        self._results: dict[str, Result] = {}
        self._heard: dict[str, float] = {}
        self._waiting: dict[str, set[Callable[[], None]]] = {}
        self._pictures: dict[str, tuple[Result, Picture]] = {}  # touched by the encoder's thread alone
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="web picture")

    def __call__(self, result: Result) -> None:
        """Take a result; from any thread."""
        stream = result.frame.stream
        with self._lock:
            self._results[stream] = result
            self._heard[stream] = time.monotonic()
            wakes = list(self._waiting.get(stream, ()))
        for wake in wakes:
            wake()

    def heard(self) -> dict[str, float]:
        """Return when the newest result of each stream came, in monotonic seconds."""
        with self._lock:
            return dict(self._heard)

    def keep(self, streams: Collection[str]) -> None:
        """Forget all other streams: they were removed."""
        with self._lock:
            for stream in set(self._results).difference(streams):
                del self._results[stream], self._heard[stream]

    async def picture(self, stream: str, after: int | None, timeout_s: float) -> Picture | None:
        """Wait for a frame that is not the one with index `after`, and return the newest there is then.

        Args:
            stream: its name; an unknown one is waited for, too.
            after: index of the frame that the viewer has, None for none.
            timeout_s: how long to wait at most; then None is returned.
        Raises:
            FGDError: the picture cannot be encoded.
        """
        if not await self._newer(stream, after, timeout_s):
            return None
        return await asyncio.get_running_loop().run_in_executor(self._encoder, self._encode, stream)

    async def _newer(self, stream: str, after: int | None, timeout_s: float) -> bool:
        loop, came = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the server stopped meanwhile
                loop.call_soon_threadsafe(came.set)

        with self._lock:
            result = self._results.get(stream)
            if result is not None and result.frame.index != after:
                return True
            self._waiting.setdefault(stream, set()).add(wake)
        try:
            await asyncio.wait_for(came.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting[stream].discard(wake)
                if not self._waiting[stream]:
                    del self._waiting[stream]
        return True

    def _encode(self, stream: str) -> Picture | None:
        """Return the newest picture; the one before is let go, and those of removed streams."""
        with self._lock:
            result = self._results.get(stream)
            for gone in set(self._pictures).difference(self._results):
                del self._pictures[gone]
        if result is None:
            return None
        kept = self._pictures.get(stream)
        if kept is None or kept[0] is not result:
            kept = self._pictures[stream] = result, Picture(result.frame.index, _jpeg(self._paint(result)))
            self.encoded += 1
        return kept[1]


def _jpeg(image: np.ndarray) -> bytes:
    height, width = image.shape[:2]
    if width > WIDEST_PX:
        size = WIDEST_PX, max(1, round(height * WIDEST_PX / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise FGDError(f"a picture of {width} x {height} pixels cannot be encoded as JPEG")
    return data.tobytes()
