"""Asking for an address over HTTP, with a login if need be, and reading the answer piece by piece."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.sources.decoding import reason_of
from fgd_yolo.streams.sources.source import SourceLost

try:
    import httpx
except ModuleNotFoundError:
    raise FGDError("httpx is not installed, which reads cameras; run pip install 'fgd_yolo[stream]'") from None

for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # below it they log addresses with their tokens

_REDIRECTS = 5
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "fgd_yolo"}


class Answer:
    """An answer whose body is still to come.

    Args:
        client: is closed with it.
        response: of it, with an open stream.
        silent_s: what the client waits for each piece.
    """

    def __init__(self, client: httpx.Client, response: httpx.Response, silent_s: float):
        self._client, self._response, self._silent_s = client, response, silent_s
        self.content_type = response.headers.get("content-type", "")
        self._pieces = response.iter_raw()
        self._first = b""

    def start(self, count: int) -> bytes:
        """Return at least so many first bytes of the body, if it has them; `pieces` gives them again.

        Raises:
            SourceLost: they do not come, or too slowly.
        """
        deadline = time.monotonic() + self._silent_s
        while len(self._first) < count and (piece := self._next()):
            self._first += piece
            if time.monotonic() > deadline:
                raise SourceLost(f"its answer has not begun for {self._silent_s:g} s")
        return self._first

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            SourceLost: nothing came for too long.
        """
        piece, self._first = self._first or self._next(), b""
        while piece:
            yield piece
            piece = self._next()

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()
        self._client.close()

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except httpx.TimeoutException:
            raise SourceLost(f"no data for {self._silent_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError):
            raise SourceLost("the connection was closed") from None


def ask(url: str, *, silent_s: float, connect_s: float) -> Answer:
    """Ask for an address, and follow where it leads.

    A login is sent when the server asks for one, as Basic or Digest, and to the server of the address alone: not where
    that sends us. Nobody checks certificates: cameras sign their
    own, often with keys that are too short for today's rules.

    Args:
        url: with a name and password that are percent-encoded, if there are any.
        silent_s: a server that sends nothing for so long is lost.
        connect_s: so long it may take to connect.
    Raises:
        SourceLost: there is no answer, or not a good one.
    """
    try:
        address = httpx.URL(url)
        login = (address.username, address.password) if address.userinfo else None
        client = httpx.Client(
            verify=_tls(), timeout=httpx.Timeout(silent_s, connect=connect_s), headers=_HEADERS, follow_redirects=False
        )
        request = client.build_request("GET", address.copy_with(userinfo=b""))
    except (httpx.InvalidURL, ValueError) as error:
        raise SourceLost(reason_of(error, url)) from None
    try:
        return Answer(client, _good_response(client, request, login), silent_s)
    except BaseException as error:
        client.close()
        if isinstance(error, httpx.ConnectTimeout):
            raise SourceLost(f"no answer for {connect_s:g} s") from None
        if isinstance(error, httpx.TimeoutException):
            raise SourceLost(f"no answer for {silent_s:g} s") from None
        if isinstance(error, (httpx.HTTPError, httpx.InvalidURL)):
            raise SourceLost(reason_of(_cause(error), url)) from None
        raise


def _good_response(client: httpx.Client, request: httpx.Request, login: tuple[str, str] | None) -> httpx.Response:
    """Send, log in and follow. The bodies on the way are not read: nobody knows how long they are."""
    home, logged_in = request.url, False
    for _ in range(_REDIRECTS + 2):
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
    raise SourceLost(f"it was sent on more than {_REDIRECTS} times")


def _is_same_server(url: httpx.URL, home: httpx.URL) -> bool:
    """Whether a login for one address may be sent to another: the same host and port, or its default port with TLS."""
    upgraded = (home.scheme, home.port, url.scheme, url.port) == ("http", None, "https", None)
    return url.host == home.host and (upgraded or (url.scheme, url.port) == (home.scheme, home.port))


def _with_login(request: httpx.Request, response: httpx.Response, name: str, password: str) -> httpx.Request:
    for kind in (httpx.DigestAuth, httpx.BasicAuth):
        flow = kind(name, password).sync_auth_flow(request)
        request = next(flow)
        if kind is httpx.DigestAuth:
            try:
                return flow.send(response)
            except (StopIteration, httpx.ProtocolError):  # it asks for another kind
                continue
    return request


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _cause(error: BaseException) -> BaseException:
    """Return the innermost cause, which is the operating system's where there is one."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error
