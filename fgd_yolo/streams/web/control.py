"""Adding, removing, stopping and starting streams from the page, within what a web user may."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import free_name
from fgd_yolo.streams.policy import parse_policy
from fgd_yolo.streams.sources import check_address, is_live

MOST_STREAMS = 64
_NAME = re.compile(r"[\w.][\w. -]{0,63}")
_KEYS = {"address", "name", "policy"}


class UnknownStream(UsageError):
    """No stream has that name."""


class Order(NamedTuple):
    """What a stream is started with."""

    address: str | int
    policy: str | None = None


class Control:
    """Carries out what the page asks of the pipeline. Calls may block, and come from several threads.

    Args:
        pipeline: has `add`, `remove` and `stats`.
        orders: the streams that run already, which can be started again because of it.
        allow_files: whether a web user may open files and folders of this machine.
    """

    def __init__(self, pipeline: Any, orders: Mapping[str, Order], allow_files: bool):
        self._pipeline, self._allow_files = pipeline, allow_files
        self._orders = dict(orders)
        self._stopped: set[str] = set()
        self._lock = threading.Lock()  # one change at a time, so that the limit holds

    def add(self, wish: Any) -> str:
        """Start a stream and return its name.

        Args:
            wish: `{"address": ..., "name": ..., "policy": ...}`, the last two as wanted.
        Raises:
            UsageError: it is not that, or not allowed, or the name is taken.
        """
        address, name, policy = self._read(wish)
        with self._lock:
            if name in self._stopped:
                raise UsageError(f"the stream '{name}' is stopped: start or remove it, or choose another name")
            taken = self._stopped.union(self._pipeline.stats()["streams"])
            if len(taken) >= MOST_STREAMS:
                raise UsageError(f"there are {MOST_STREAMS} streams already: remove one first")
            name = self._pipeline.add(address, name or free_name(address, taken), policy=policy)
            self._orders[name] = Order(address, policy)
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

    def _read(self, wish: Any) -> tuple[str | int, str | None, str | None]:
        """Check the three parts of a wish; empty ones count as not said."""
        said = {key: value for key, value in wish.items() if value != ""} if isinstance(wish, dict) else {}
        if not said.keys() <= _KEYS or not all(isinstance(value, str) for value in said.values()):
            raise UsageError("a stream is {'address': text, 'name': text, 'policy': text}, the last two as wanted")
        address, name, policy = said.get("address", "").strip(), said.get("name"), said.get("policy")
        if name is not None and not _NAME.fullmatch(name):
            raise UsageError("a name is 1 to 64 letters, digits, dots, dashes and spaces")
        if policy is not None:
            parse_policy(policy)
        if not address or "\0" in address:
            raise UsageError("the address is missing, such as rtsp://camera/stream")
        # Said before anything looks at the disk, so that nobody learns which files there are.
        if not self._allow_files and not is_live(address):
            raise UsageError("files and folders cannot be opened from the page: name a camera, by number or address")
        check_address(address, getattr(self._pipeline, "budget", None))
        return (int(address) if address.isdecimal() else address), name, policy
