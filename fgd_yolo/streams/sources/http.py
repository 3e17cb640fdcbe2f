"""HTTP requests, with a login if the server asks for one, whose responses are read chunk by chunk."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator

from fgd_yolo.errors import not_installed
from fgd_yolo.streams.sources.decoding import ffmpeg_reason
from fgd_yolo.streams.sources.source import SourceLost

try:
    import httpx
except ModuleNotFoundError:
    raise not_installed("httpx", "stream") from None

for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # below this level they log addresses with their tokens

_MAX_REDIRECTS = 5
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "fgd_yolo"}


class Response:
    """A response whose body is read as it comes.

    Args:
        client: it is closed with the response.
        response: a response of this client, with an open stream.
        timeout_s: how long the client waits for each chunk.
    """

    def __init__(self, client: httpx.Client, response: httpx.Response, timeout_s: float):
        self._client, self._response, self._timeout_s = client, response, timeout_s
        self.content_type = response.headers.get("content-type", "")
        self._chunks = response.iter_raw()
        self._first = b""

    def start(self, count: int) -> bytes:
        """Return at least the first `count` bytes of the body, if it has as many; `chunks` yields them again.

        Raises:
            SourceLost: they do not come, or too slowly.
        """
        deadline = time.monotonic() + self._timeout_s
        while len(self._first) < count and (chunk := self._next()):
            self._first += chunk
            if time.monotonic() > deadline:
                raise SourceLost(f"its response did not start within {self._timeout_s:g} s")
        return self._first

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            SourceLost: nothing came for too long.
        """
        chunk, self._first = self._first or self._next(), b""
        while chunk:
            yield chunk
            chunk = self._next()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._client.close()

    def _next(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except httpx.TimeoutException:
            raise SourceLost(f"no data for {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError):
            raise SourceLost("the connection was closed") from None


def get(url: str, *, timeout_s: float, connect_timeout_s: float) -> Response:
    """Request an address and follow its redirects.

    A login is sent when the server asks for one, as Basic or Digest, and only to the server of the address, not to
    where it redirects. Certificates are not verified: cameras sign their own, often with keys that are too short for
    today's rules.

    Args:
        url: with name and password percent-encoded, if there are any.
        timeout_s: a server that sends nothing for so long is lost.
        connect_timeout_s: the limit for connecting.
    Raises:
        SourceLost: there is no response, or none that is a success.
    """
    try:
        address = httpx.URL(url)
        login = (address.username, address.password) if address.userinfo else None
        timeout = httpx.Timeout(timeout_s, connect=connect_timeout_s)
        client = httpx.Client(verify=_tls_context(), timeout=timeout, headers=_HEADERS, follow_redirects=False)
        request = client.build_request("GET", address.copy_with(userinfo=b""))
    except (httpx.InvalidURL, ValueError) as error:
        raise SourceLost(ffmpeg_reason(error, url)) from None
    try:
        return Response(client, _send(client, request, login), timeout_s)
    except BaseException as error:
        client.close()
        if isinstance(error, httpx.ConnectTimeout):
            raise SourceLost(f"no response for {connect_timeout_s:g} s") from None
        if isinstance(error, httpx.TimeoutException):
            raise SourceLost(f"no response for {timeout_s:g} s") from None
        if isinstance(error, (httpx.HTTPError, httpx.InvalidURL)):
            raise SourceLost(ffmpeg_reason(_cause(error), url)) from None
        raise


def _send(client: httpx.Client, request: httpx.Request, login: tuple[str, str] | None) -> httpx.Response:
    """Send a request, log in and follow redirects. The bodies of these are not read: they may be endless."""
    home, logged_in = request.url, False
    for _ in range(_MAX_REDIRECTS + 2):
        response = client.send(request, stream=True)
        if response.is_success:
            return response
        response.close()
        if response.next_request is not None:
            request = response.next_request
        elif response.status_code == 401 and login and not logged_in and _is_same_server(request.url, home):
            request, logged_in = _with_login(request, response, *login), True
        else:
            raise SourceLost(f"the server answered {response.status_code} {response.reason_phrase}".rstrip())
    raise SourceLost(f"it was redirected more than {_MAX_REDIRECTS} times")


def _is_same_server(url: httpx.URL, home: httpx.URL) -> bool:
    """Whether a login for `home` may be sent to `url`: the same host and port, or its default port with TLS."""
    upgraded = (home.scheme, home.port, url.scheme, url.port) == ("http", None, "https", None)
    return url.host == home.host and (upgraded or (url.scheme, url.port) == (home.scheme, home.port))


def _with_login(request: httpx.Request, response: httpx.Response, name: str, password: str) -> httpx.Request:
    for kind in (httpx.DigestAuth, httpx.BasicAuth):
        flow = kind(name, password).sync_auth_flow(request)
        request = next(flow)
        if kind is httpx.DigestAuth:
            try:
                return flow.send(response)
            except (StopIteration, httpx.ProtocolError):  # it asks for another scheme
                continue
    return request


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _cause(error: BaseException) -> BaseException:
    """Return the innermost cause, that of the operating system if there is one."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error
