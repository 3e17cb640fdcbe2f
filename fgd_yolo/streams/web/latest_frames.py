"""The newest frame of each stream, as a JPEG for viewers."""

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

MAX_WIDTH_PX = 960
_QUALITY = 80


class JpegFrame(NamedTuple):
    """A frame as a JPEG; `index` is `Frame.index`."""

    index: int
    jpeg: bytes


class LatestFrames:
    """Keeps the newest result of each stream, and encodes it only when a viewer asks for it.

    An observer of the pipeline: a call stores a reference and returns. A single thread draws and encodes, once per
    frame for any number of viewers, so that viewers use at most one core and never hold up the pipeline.

    Args:
        draw: returns the image (H, W, 3) BGR of a result.
    """

    def __init__(self, draw: Callable[[Result], np.ndarray] = overlay):
        self.encoded = 0  # number of frames encoded so far
        self._draw = draw
        self._lock = threading.Lock()
        self._results: dict[str, Result] = {}
        self._result_times: dict[str, float] = {}
        self._waiting: dict[str, set[Callable[[], None]]] = {}
        self._encoded: dict[str, tuple[Result, JpegFrame]] = {}  # used by the encoder's thread alone
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="web encoder")

    def __call__(self, result: Result) -> None:
        """Store a result; may be called from any thread."""
        stream = result.frame.stream
        with self._lock:
            self._results[stream] = result
            self._result_times[stream] = time.monotonic()
            wakes = list(self._waiting.get(stream, ()))
        for wake in wakes:
            wake()

    def result_times(self) -> dict[str, float]:
        """Return when the newest result of each stream arrived, in monotonic seconds."""
        with self._lock:
            return dict(self._result_times)

    def retain(self, streams: Collection[str]) -> None:
        """Forget all streams but these: the others were removed."""
        with self._lock:
            for stream in set(self._results).difference(streams):
                del self._results[stream], self._result_times[stream]

    async def wait_for_jpeg(self, stream: str, after: int | None, timeout_s: float) -> JpegFrame | None:
        """Wait for a frame whose index is not `after`, then return the newest frame.

        Args:
            stream: its name; an unknown stream is waited for too.
            after: index of the frame that the viewer has, or None.
            timeout_s: longest wait; after it None is returned.
        Raises:
            FGDError: the frame cannot be encoded.
        """
        if not await self._wait_for_result(stream, after, timeout_s):
            return None
        return await asyncio.get_running_loop().run_in_executor(self._encoder, self._encode, stream)

    async def _wait_for_result(self, stream: str, after: int | None, timeout_s: float) -> bool:
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the server has stopped meanwhile
                loop.call_soon_threadsafe(arrived.set)

        with self._lock:
            result = self._results.get(stream)
            if result is not None and result.frame.index != after:
                return True
            self._waiting.setdefault(stream, set()).add(wake)
        try:
            await asyncio.wait_for(arrived.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting[stream].discard(wake)
                if not self._waiting[stream]:
                    del self._waiting[stream]
        return True

    def _encode(self, stream: str) -> JpegFrame | None:
        """Return the newest frame, encoded at most once; forget the previous one and those of removed streams."""
        with self._lock:
            result = self._results.get(stream)
            for removed in set(self._encoded).difference(self._results):
                del self._encoded[removed]
        if result is None:
            return None
        encoded = self._encoded.get(stream)
        if encoded is None or encoded[0] is not result:
            encoded = self._encoded[stream] = result, JpegFrame(result.frame.index, _to_jpeg(self._draw(result)))
            self.encoded += 1
        return encoded[1]


def _to_jpeg(image: np.ndarray) -> bytes:
    height, width = image.shape[:2]
    if width > MAX_WIDTH_PX:
        size = MAX_WIDTH_PX, max(1, round(height * MAX_WIDTH_PX / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    success, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not success:
        raise FGDError(f"a frame of {width} x {height} pixels cannot be encoded as JPEG")
    return data.tobytes()
