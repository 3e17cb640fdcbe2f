"""Adding, removing, stopping and starting streams from the page, within what a web user may."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import unique_name
from fgd_yolo.streams.sources import check_address, is_live
from fgd_yolo.streams.web.requests import NewStream

MOST_STREAMS = 64


class UnknownStream(UsageError):
    """No stream has that name."""


class StreamSettings(NamedTuple):
    """What a stream is started with."""

    address: str | int
    policy: str | None = None


class StreamControl:
    """Carries out what the page asks of the pipeline. Calls may block, and come from several threads.

    Args:
        pipeline: has `add`, `remove` and `stats`.
        orders: the streams that run already, which can be started again because of it.
        allow_files: whether a web user may open files and folders of this machine.
    """

    def __init__(self, pipeline: Any, orders: Mapping[str, StreamSettings], allow_files: bool):
        self._pipeline, self._allow_files = pipeline, allow_files
        self._orders = dict(orders)
        self._stopped: set[str] = set()
        self._lock = threading.Lock()  # one change at a time, so that the limit holds

    def add(self, wanted: NewStream) -> str:
        """Start a stream and return its name.

        Raises:
            UsageError: the address can never work or is not allowed, or the name is taken.
        """
        address, name, policy = self._allowed(wanted.address), wanted.name, wanted.policy
        with self._lock:
            if name in self._stopped:
                raise UsageError(f"the stream '{name}' is stopped: start or remove it, or choose another name")
            taken = self._stopped.union(self._pipeline.stats()["streams"])
            if len(taken) >= MOST_STREAMS:
                raise UsageError(f"there are {MOST_STREAMS} streams already: remove one first")
            name = self._pipeline.add(address, name or unique_name(address, taken), policy=policy)
            self._orders[name] = StreamSettings(address, policy)
            return name

    def remove(self, name: str) -> None:
        """End a stream and forget it.

        Raises:
            UnknownStream: there is none of that name.
        """
        with self._lock:
            if name in self._stopped:
                self._stopped.discard(name)
            else:
                self._end(name)
            self._orders.pop(name, None)

    def stop(self, name: str) -> None:
        """End a stream, to be started again.

        Raises:
            UnknownStream: there is none of that name, or its address is not known.
        """
        with self._lock:
            if name not in self._orders or name in self._stopped:
                raise UnknownStream(f"there is no stream '{name}' that could be stopped")
            self._end(name)
            self._stopped.add(name)

    def start(self, name: str) -> None:
        """Start a stream that was stopped.

        Raises:
            UnknownStream: none of that name was stopped.
        """
        with self._lock:
            if name not in self._stopped:
                raise UnknownStream(f"there is no stopped stream '{name}'")
            order = self._orders[name]
            self._pipeline.add(order.address, name, policy=order.policy)
            self._stopped.discard(name)

    def stopped(self) -> list[str]:
        """Return the names of the stopped streams."""
        return sorted(self._stopped)

    def can_stop(self, name: str) -> bool:
        """Return whether a stream could be started again."""
        return name in self._orders

    def _end(self, name: str) -> None:
        if name not in self._pipeline.stats()["streams"]:
            raise UnknownStream(f"there is no stream '{name}'")
        self._pipeline.remove(name)

    def _allowed(self, address: str) -> str | int:
        """Return the address as the pipeline takes it."""
        # Said before anything looks at the disk, so that nobody learns which files there are.
        if not self._allow_files and not is_live(address):
            raise UsageError("files and folders cannot be opened from the page: name a camera, by number or address")
        check_address(address, getattr(self._pipeline, "budget", None))
        return int(address) if address.isdecimal() else address
