"""Limits that keep the page reachable: deadlines of connections, and which one is closed when there are too many."""

from __future__ import annotations

import asyncio
import errno
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_TIMEOUT_S = 15.0  # for a complete request, head and body, and for the pause before it
SEND_TIMEOUT_S = 30.0  # for a client to receive what is ready to be sent
CHECK_PERIOD_S = 1.0
MAX_CONNECTIONS = 512  # keeps descriptors below 1024: select(), which MQTT clients call, supports no others
_SLICE_BYTES = 4 << 10
_REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def max_connections() -> int:
    """Return how many connections may be open: half of the process's file descriptors remain for other uses."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, soft // 2))


class Connections:
    """Tracks which connections wait for a request and which are blocked by a client that does not receive.

    A connection waits until a complete request has arrived, and again after the response. Waiting connections, however
    much of a request they have sent, may use three quarters of the limit: one more closes the oldest of them, so that a
    new connection is always accepted. A connection with a complete request stays open as long as the client receives.

    Used by the server's thread alone.

    Args:
        limit: number of connections at a time.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # start of the wait in the loop's time, oldest first
        self._blocked: dict[Connection, float] = {}
        self._out_of_descriptors = False

    @property
    def accept_batch(self) -> int:
        """Return how many connections to accept at once: few enough that a new one is read before it can be closed."""
        return max(1, self.limit // 8)

    def opened(self, connection: Connection) -> None:
        """Count a new connection, and close another if the limit is exceeded."""
        self._open.add(connection)
        self.mark_waiting(connection)
        if len(self._waiting) > self.limit * 3 // 4:
            self._close(next(iter(self._waiting)))
        elif len(self._open) > self.limit:
            self._close(next(iter(self._blocked or self._waiting)))

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._blocked.pop(connection, None)

    def mark_waiting(self, connection: Connection) -> None:
        """Mark a connection whose request is incomplete; a request that arrives slowly does not extend the deadline."""
        self._waiting.setdefault(connection, connection.loop.time())

    def mark_complete(self, connection: Connection) -> None:
        """Mark a connection whose request is complete."""
        self._waiting.pop(connection, None)

    def mark_blocked(self, connection: Connection) -> None:
        """Mark a connection whose client receives less than is ready to be sent."""
        self._blocked.setdefault(connection, connection.loop.time())

    def mark_unblocked(self, connection: Connection) -> None:
        """Mark a connection whose client has received what was sent."""
        self._blocked.pop(connection, None)

    async def enforce_deadlines(self) -> None:
        """Close connections whose deadline has passed, until cancelled."""
        while True:
            self._close_expired(asyncio.get_running_loop().time())
            await asyncio.sleep(CHECK_PERIOD_S)

    def _close_expired(self, now: float) -> None:
        for connection in [one for one, since in self._waiting.items() if now - since > REQUEST_TIMEOUT_S]:
            self.mark_complete(connection)
            connection.close_late_request()
        for connection in [one for one, since in self._blocked.items() if now - since > SEND_TIMEOUT_S]:
            self._close(connection)

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Close waiting connections if no file descriptors are left; asyncio accepts again after a second."""
        if getattr(context.get("exception"), "errno", None) not in _OUT_OF_DESCRIPTORS:
            loop.default_exception_handler(context)
            return
        for connection in list(self._waiting):
            self._close(connection)
        if not self._out_of_descriptors:
            self._out_of_descriptors = True  # asyncio calls repeatedly
            print("web page: no file descriptors are left; raise the limit (ulimit -n)", file=sys.stderr, flush=True)

    def _close(self, connection: Connection) -> None:
        self.closed(connection)
        connection.transport.abort()


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which tells `Connections` what it waits for: uvicorn has no such deadlines.

    Args:
        connections: all connections of the server.
        options: the arguments of uvicorn's class.
    """

    def __init__(self, connections: Connections, **options: Any):
        super().__init__(**options)
        self._connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # h11 limits the size of an incomplete head only; slices make it limit one that arrives at once too.
        for start in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                break
            super().data_received(data[start : start + _SLICE_BYTES])
        self._update_state()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_state()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.mark_blocked(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._connections.mark_unblocked(self)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # the response has begun: h11 would raise
            self.transport.abort()

    def close_late_request(self) -> None:
        """Close the connection; send 408 if a request has begun and has no response yet."""
        request_begun = self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        if request_begun:
            self.transport.write(_REQUEST_TIMEOUT)
        self.transport.close()
        self._update_state()

    def _update_state(self) -> None:
        if self.transport.is_closing():  # lasts until everything has been sent
            self._connections.mark_complete(self)
            self._connections.mark_blocked(self)
        elif self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._connections.mark_waiting(self)
        else:
            self._connections.mark_complete(self)
