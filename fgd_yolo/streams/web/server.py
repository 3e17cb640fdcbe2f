"""The web server: binds its port before anything else is started, and serves it from a thread that can be stopped."""

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
from fgd_yolo.streams.web.connections import Connection, Connections, max_connections

_SEND_BUFFER_BYTES = 256 << 10  # small, so that a slow viewer gets fewer frames instead of older ones
_UNACKNOWLEDGED_MS = 15_000  # after which a viewer that receives nothing is disconnected
_LISTEN_QUEUE = 1024
_KEEPALIVE_S = 30  # of silence, before the operating system probes whether the peer still exists


def split_address(text: str) -> tuple[str, int]:
    """Split `HOST:PORT`; an IPv6 host is in brackets.

    Raises:
        UsageError: the text has another form.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"the web address '{redact(text)}' is not HOST:PORT, such as 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


class WebServer:
    """Binds a port, and serves an application on it from `start` to `stop`.

    No signal handler is installed. Requests that arrive before `start` wait for it.

    Args:
        host: a name or an address of this machine; any but loopback needs a token.
        port: 0 chooses a free port.
        token: that the application requires.
    Raises:
        UsageError: the host is unknown, or others can reach it and there is no token.
        FGDError: the port is not available.
    """

    def __init__(self, host: str, port: int, token: str | None = None):
        check_token(token)
        self._socket = _listen(host, port, token)
        self.host, self.port = host, self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address for a browser, without the token."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def start(self, app: Any) -> WebServer:
        """Serve an ASGI application in a thread, and return at once."""
        connections = Connections(max_connections())
        config = uvicorn.Config(
            app,
            http=partial(Connection, connections),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # the application itself prints its errors, on one line each
            access_log=False,  # a browser's first address has the token in it
            proxy_headers=False,
            server_header=False,
            backlog=connections.accept_batch,
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
        deadlines = asyncio.create_task(connections.enforce_deadlines())
        await self._server.serve(sockets=[self._socket])
        deadlines.cancel()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Release the port and disconnect viewers. May be called twice, and without `start`."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout_s)
        self._socket.close()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Listener(socket.socket):
    """A listening socket with a long queue: asyncio's `backlog` also limits how many connections it accepts at once."""

    def listen(self, _: int = _LISTEN_QUEUE) -> None:
        super().listen(_LISTEN_QUEUE)


def _listen(host: str, port: int, token: str | None) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        shown = redact(f"{host}:{port}").removesuffix(f":{port}")
        raise UsageError(f"the web host '{shown}' is unknown; use 127.0.0.1 or an address of this machine") from error
    family, _, _, _, address = min(addresses, key=lambda info: info[0] != socket.AF_INET)
    if token is None and not is_loopback(address[0]):
        raise UsageError(
            f"the web page on {host or 'all addresses'} needs a token, since others can reach it: set FGD_YOLO_TOKEN"
        )
    listener = _Listener(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these options.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise FGDError(_bind_error(error, host, port)) from error
    return listener


def _bind_error(error: OSError, host: str, port: int) -> str:
    reason = {
        errno.EADDRINUSE: "it is in use by another program",
        errno.EACCES: "ports below 1024 need special permission",
        errno.EADDRNOTAVAIL: f"{host} is not an address of this machine",
    }.get(error.errno, error.strerror)
    return f"the web page cannot listen on {host} port {port}: {reason}; choose another"
