"""Connections that cost a client nothing do not cost others the page: deadlines, and which connection makes room."""

from __future__ import annotations

import asyncio
import errno
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 15.0  # for a whole request, head and body, and for the pause before it
TAKE_S = 30.0  # for a client to take what is ready to be sent
CHECK_S = 1.0  # between two looks at the deadlines
MOST = 512  # so that descriptors stay below 1024: select(), which MQTT clients call, takes no others
_SLICE_BYTES = 4 << 10
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def most_connections() -> int:
    """Return how many connections may be open: half of the file descriptors of this process stay for all else."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(8, min(MOST, soft // 2))


class Connections:
    """Knows which connections wait for a request and which do not take their answer, each kind oldest first.

    A connection waits until a whole request has arrived, and again after the answer. All that wait, whatever they
    have sent, may take three quarters of the places: one more closes the oldest of them, so that a newcomer always gets
    in. One with a request to answer keeps its place for as long as the client takes what is sent.

    Used by the server's thread alone.

    Args:
        most: connections at a time.
    """

    def __init__(self, most: int):
        self.most = most
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # since when, in the loop's seconds
        self._blocked: dict[Connection, float] = {}
        self._out_of_descriptors = False

    @property
    def accepted_at_once(self) -> int:
        """Return how many to accept in one turn of the loop: so few that a newcomer is read before it makes room."""
        return max(1, self.most // 8)

    def opened(self, connection: Connection) -> None:
        """Count a new connection, and close others where there is no room for it."""
        self._open.add(connection)
        self.waits(connection)
        if len(self._waiting) > self.most * 3 // 4:
            self._close(next(iter(self._waiting)))
        elif len(self._open) > self.most:
            self._close(next(iter(self._blocked or self._waiting)))

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._blocked.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """A part of its request is missing; what arrives slowly does not extend the deadline."""
        self._waiting.setdefault(connection, connection.loop.time())

    def is_answered(self, connection: Connection) -> None:
        """Its request is complete."""
        self._waiting.pop(connection, None)

    def is_blocked(self, connection: Connection) -> None:
        """More is ready to be sent than the client takes."""
        self._blocked.setdefault(connection, connection.loop.time())

    def flows(self, connection: Connection) -> None:
        """The client took what was sent."""
        self._blocked.pop(connection, None)

    async def keep_deadlines(self) -> None:
        """Close the connections whose deadline is over, until cancelled."""
        while True:
            self._close_late_ones(asyncio.get_running_loop().time())
            await asyncio.sleep(CHECK_S)

    def _close_late_ones(self, now: float) -> None:
        for connection in [one for one, since in self._waiting.items() if now - since > REQUEST_S]:
            self.is_answered(connection)
            connection.refuse_late_request()
        for connection in [one for one, since in self._blocked.items() if now - since > TAKE_S]:
            self._close(connection)

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Make room where the process has no file descriptors left; asyncio accepts again after a second."""
        if getattr(context.get("exception"), "errno", None) not in _NO_DESCRIPTORS:
            loop.default_exception_handler(context)
            return
        for connection in list(self._waiting):
            self._close(connection)
        if not self._out_of_descriptors:
            self._out_of_descriptors = True  # asyncio calls again and again
            print("web page: no file descriptors are left; raise the limit (ulimit -n)", file=sys.stderr, flush=True)

    def _close(self, connection: Connection) -> None:
        self.closed(connection)
        connection.transport.abort()


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which reports to `Connections` what it waits for. uvicorn has no such deadlines.

    Args:
        connections: of the server.
        options: as uvicorn gives them.
    """

    def __init__(self, connections: Connections, **options: Any):
        super().__init__(**options)
        self._all = connections

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # h11 limits an incomplete head alone; in slices, one that arrives at once is limited too.
        for start in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                break
            super().data_received(data[start : start + _SLICE_BYTES])
        self._report()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._report()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._all.is_blocked(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._all.flows(self)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # the answer has begun: h11 would raise
            self.transport.abort()

    def refuse_late_request(self) -> None:
        """Close, with an answer where a request has begun and has none."""
        begun = self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        if begun:
            self.transport.write(_TOO_LATE)
        self.transport.close()
        self._report()

    def _report(self) -> None:
        if self.transport.is_closing():  # which lasts for as long as something is left to be sent
            self._all.is_answered(self)
            self._all.is_blocked(self)
        elif self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._all.waits(self)
        else:
            self._all.is_answered(self)
