"""Adding, removing, stopping and starting streams from the page, within the limits of a web user."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import unique_name
from fgd_yolo.streams.sources import check_address, is_live
from fgd_yolo.streams.web.requests import AddStream

MAX_STREAMS = 64


class UnknownStream(UsageError):
    """There is no stream of that name."""


class StreamSettings(NamedTuple):
    """What `Pipeline.add` needs to start a stream again."""

    address: str | int
    policy: str | None = None


class StreamControl:
    """Carries out the page's requests on the pipeline. Calls may block, and may come from several threads.

    No file or folder of this machine is opened for a user of the page.

    Args:
        pipeline: has `add`, `remove` and `stats`.
        settings: the settings of the streams that run already, by name; only these can be stopped and started again.
    """

    def __init__(self, pipeline: Any, settings: Mapping[str, StreamSettings]):
        self._pipeline = pipeline
        self._settings = dict(settings)
        self._stopped: set[str] = set()
        self._lock = threading.Lock()  # one change at a time, so that the limit holds

    def add(self, request: AddStream) -> str:
        """Start a stream and return its name.

        Raises:
            UsageError: the address is invalid or not allowed, or the name is in use.
        """
        address, name, policy = self._check(request.address), request.name, request.policy
        with self._lock:
            if name in self._stopped:
                raise UsageError(f"the stream '{name}' is stopped: start or remove it, or choose another name")
            names = self._stopped.union(self._pipeline.stats()["streams"])
            if len(names) >= MAX_STREAMS:
                raise UsageError(f"there are {MAX_STREAMS} streams already: remove one first")
            name = self._pipeline.add(address, name or unique_name(address, names), policy=policy)
            self._settings[name] = StreamSettings(address, policy)
            return name

    def remove(self, name: str) -> None:
        """End a stream and forget its settings.

        Raises:
            UnknownStream: there is no stream of that name.
        """
        with self._lock:
            if name in self._stopped:
                self._stopped.discard(name)
            else:
                self._end(name)
            self._settings.pop(name, None)

    def stop(self, name: str) -> None:
        """End a stream and keep its settings, so that it can be started again.

        Raises:
            UnknownStream: there is no stream of that name, or its settings are not known.
        """
        with self._lock:
            if name not in self._settings or name in self._stopped:
                raise UnknownStream(f"there is no stream '{name}' that could be stopped")
            self._end(name)
            self._stopped.add(name)

    def start(self, name: str) -> None:
        """Start a stopped stream.

        Raises:
            UnknownStream: there is no stopped stream of that name.
        """
        with self._lock:
            if name not in self._stopped:
                raise UnknownStream(f"there is no stopped stream '{name}'")
            settings = self._settings[name]
            self._pipeline.add(settings.address, name, policy=settings.policy)
            self._stopped.discard(name)

    def stopped(self) -> list[str]:
        """Return the names of the stopped streams."""
        return sorted(self._stopped)

    def can_stop(self, name: str) -> bool:
        """Return whether a stream can be stopped, as its settings are known."""
        return name in self._settings

    def _end(self, name: str) -> None:
        if name not in self._pipeline.stats()["streams"]:
            raise UnknownStream(f"there is no stream '{name}'")
        self._pipeline.remove(name)

    def _check(self, address: str) -> str | int:
        """Return the address in the form that the pipeline takes."""
        # Checked before anything accesses the disk, so that an error does not reveal which files exist.
        if not is_live(address):
            raise UsageError("files and folders cannot be opened from the page: give a camera's number or address")
        check_address(address, getattr(self._pipeline, "budget", None))
        return int(address) if address.isdecimal() else address
