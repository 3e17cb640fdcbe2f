"""Listening: the port is taken before anything starts, and served by a thread that can be stopped."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from functools import partial
from typing import Any

import uvicorn

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.web.access_control import check_token, is_loopback
from fgd_yolo.streams.web.connections import Connection, Connections, most_connections

_UNREAD_BYTES = 256 << 10  # of pictures on their way: a slow viewer sees fewer, not older ones
_UNREAD_MS = 15_000  # then a viewer who takes nothing is gone
_QUEUE = 1024
_SILENT_S = 30  # then the system asks a viewer's machine whether it is still there


def split_address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`; an IPv6 host stands in brackets.

    Raises:
        UsageError: it is not that.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"the web address '{redact(text)}' is not HOST:PORT, such as 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


class WebServer:
    """Holds a port, and serves an application on it from `start` to `stop`.

    No signal handler is touched. A request made before the start waits for it.

    Args:
        host: a name or an address of this machine; all but loopback need a token.
        port: 0 takes any free one.
        token: that the application asks for.
    Raises:
        UsageError: the host is none, or can be reached by others and there is no token.
        FGDError: the port cannot be had.
    """

    def __init__(self, host: str, port: int, token: str | None = None):
        check_token(token)
        self._socket = _listen(host, port, token)
        self.host, self.port = host, self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where a browser finds it, without the token."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def start(self, app: Any) -> WebServer:
        """Serve an ASGI application; returns at once."""
        connections = Connections(most_connections())
        config = uvicorn.Config(
            app,
            http=partial(Connection, connections),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # the application says itself what fails, on one line
            access_log=False,  # the first address of a browser has the token in it
            proxy_headers=False,
            server_header=False,
            backlog=connections.accepted_at_once,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            name="web server", daemon=True, target=lambda: asyncio.run(self._serve(connections))
        )
        self._thread.start()
        return self

    async def _serve(self, connections: Connections) -> None:
        asyncio.get_running_loop().set_exception_handler(connections.on_loop_error)
        keeping = asyncio.create_task(connections.keep_deadlines())
        await self._server.serve(sockets=[self._socket])
        keeping.cancel()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Let the port go; viewers are sent away. May be called twice, and without a start."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout_s)
        self._socket.close()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Listener(socket.socket):
    """A listening socket with a long queue. asyncio's `backlog` is also how many connections it accepts in one turn."""

    def listen(self, _: int = _QUEUE) -> None:
        super().listen(_QUEUE)


def _listen(host: str, port: int, token: str | None) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        shown = redact(f"{host}:{port}").removesuffix(f":{port}")
        raise UsageError(f"the web host '{shown}' is unknown; use 127.0.0.1 or an address of this machine") from error
    family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    if token is None and not is_loopback(address[0]):
        raise UsageError(
            f"the web page on {host or 'all addresses'} needs a token, since others can reach it: set FGD_YOLO_TOKEN"
        )
    listener = _Listener(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit these.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_S)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise FGDError(_why_not(error, host, port)) from error
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    why = {
        errno.EADDRINUSE: "it is in use by another program",
        errno.EACCES: "ports below 1024 are not for every user",
        errno.EADDRNOTAVAIL: f"{host} is no address of this machine",
    }.get(error.errno, error.strerror)
    return f"the web page cannot listen on {host} port {port}: {why}; choose another"
