"""For tests of the web page: a pipeline without a detector, and a client without a network."""

from __future__ import annotations

import asyncio
import time

import httpx
import numpy as np

from fgd_yolo.errors import UsageError
from fgd_yolo.json_message import json_message
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.streams.address import unique_name
from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.stats import StreamStats


def result_of(stream: str, index: int, side: int = 64) -> Result:
    """Return a result with one object, on a frame whose brightness depends on the index."""
    now = time.monotonic()
    image = np.full((side, side * 2, 3), index * 37 % 256, np.uint8)
    boxes = np.array([[8, 20, 40, 60]], np.float32)
    detections = Detections(boxes, np.array([0.9], np.float32), np.array([0]), {0: "disc"}, image.shape[:2])
    return Result(Frame(stream, index, image, now - 0.02, now - 0.015), detections, now - 0.01, now)


class FakePipeline:
    """Has the methods that the page uses; streams can be added and counted, but no source is opened."""

    def __init__(self, *names: str):
        self.streams: dict[str, StreamStats] = {}
        self.added: list[tuple] = []
        self.failure: str | None = None
        self.sinks: list[dict] = []
        self.source = {"address": "test://", "policy": "latest"}
        for name in names:
            self.streams[name] = StreamStats(name)

    def add(self, address, name=None, *, policy=None):
        request = address, name, policy
        name = name or unique_name(address, self.streams)
        if name in self.streams:
            raise UsageError(f"the stream '{name}' exists already")
        self.added.append(request)
        self.streams[name] = StreamStats(name)
        return name

    def remove(self, name):
        del self.streams[name]

    def stats(self):
        streams = {name: self.source | stats.snapshot() for name, stats in self.streams.items()}
        return json_message(
            "stats", {"state": "running", "failure": self.failure, "streams": streams, "sinks": self.sinks}
        )

    def deliver(self, frames, name, index):
        """Count one result of a stream and pass it to the observer."""
        result = result_of(name, index)
        self.streams[name].set_state("UP")
        self.streams[name].count_seen()
        self.streams[name].count_inferred(result.ages_s(), result.infer_end)
        self.streams[name].count_delivered()
        frames(result)


class WebClient:
    """Sends requests to an application without a network, and keeps cookies as a browser does."""

    def __init__(self, app, address="http://localhost:8080"):
        self._app, self._address = app, address
        self.cookies = httpx.Cookies()

    def request(self, method, path, **options):
        async def ask():
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=self._address, cookies=self.cookies, trust_env=False
            ) as client:
                response = await client.request(method, path, **options)
                self.cookies = client.cookies
                return response

        return asyncio.run(ask())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)
