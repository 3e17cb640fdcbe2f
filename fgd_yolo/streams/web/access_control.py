"""Access to the page: the token, the origin of a request, and headers that protect against attacks through browsers."""

from __future__ import annotations

import hashlib
import hmac
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.web.page import read_page
from fgd_yolo.streams.web.requests import MAX_HEADER, MAX_QUERY
from fgd_yolo.streams.web.responses import error_response

COOKIE = "fgd_yolo_view"
PUBLIC_PATH = "/healthz"
_SAFE_METHODS = ("GET", "HEAD")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def check_token(token: str | None) -> str | None:
    """Return the token.

    Raises:
        UsageError: it is too short, such as that of an unset variable, or has characters not allowed in a header.
    """
    if token is not None and not re.fullmatch(r"[!-~]{8,}", token):
        raise UsageError("the web token must be 8 or more letters, digits and symbols, without spaces: set another one")
    return token


class AccessControl:
    """ASGI middleware that checks every request. If there is a token, only `/healthz` is public.

    Without a token only this machine's users can connect, but their browsers run pages of other sites. Therefore a
    request must name this machine as its host; otherwise another site could bind its own name to the loopback address
    (DNS rebinding). With or without a token, requests that a page of another site sends are rejected.

    Args:
        app: the protected application.
        token: None if the server listens on a loopback address.
    """

    def __init__(self, app: ASGIApp, token: str | None = None):
        self._app, self._token = app, check_token(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is supported, not {scope['type']}")
        request = Request(scope)
        responder = self._rejection(request) or self._app

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if responder is self._app and self._token and self._has_token_in_query(request):
                    secure = "; Secure" if request.scope["scheme"] == "https" else ""
                    value = f"{COOKIE}={_cookie(self._token)}; Path=/; HttpOnly; SameSite=Strict{secure}"
                    headers.append("Set-Cookie", value)
            await send(message)

        await responder(scope, receive, send_with_headers)

    def _rejection(self, request: Request) -> Response | None:
        """Return the response to a request that is rejected, or None."""
        if max(len(request.scope["path"]), len(request.scope["query_string"])) > MAX_QUERY:
            return error_response(414, f"the address is longer than {MAX_QUERY} characters")
        if any(len(value) > MAX_HEADER for _, value in request.scope["headers"]):
            return error_response(431, f"a header is longer than {MAX_HEADER} characters")
        if self._token is None and not _names_this_machine(request.headers.get("host", "")):
            return error_response(403, "this server answers only to localhost and 127.0.0.1")
        if request.scope["path"] == PUBLIC_PATH and request.method in _SAFE_METHODS:
            return None
        if not self._is_authorized(request):
            return _unauthorized(request)
        if _is_cross_site(request):
            return error_response(403, "the request was sent by a page of another site")
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method not in _SAFE_METHODS and media_type != "application/json":
            return error_response(415, "send JSON, with Content-Type: application/json")
        return None

    def _is_authorized(self, request: Request) -> bool:
        """Check the first credential present: header, query or cookie. A cookie does not outweigh a wrong token."""
        if self._token is None:
            return True
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, credentials = header.partition(" ")
            return scheme.lower() == "bearer" and _equal(credentials.strip(), self._token)
        if "token" in request.query_params:
            return self._has_token_in_query(request)
        return _equal(request.cookies.get(COOKIE, ""), _cookie(self._token))

    def _has_token_in_query(self, request: Request) -> bool:
        """Return whether the address has the right token; it counts only in requests that change nothing."""
        return request.method in _SAFE_METHODS and _equal(request.query_params.get("token", ""), self._token)


def is_loopback(host: str) -> bool:
    """Return whether a numeric address is a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _names_this_machine(host_header: str) -> bool:
    try:
        host = urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or is_loopback(host)


def _is_cross_site(request: Request) -> bool:
    """Return whether a page of another origin sent a request.

    Programs send neither of the two headers. Following a link from another site is allowed.
    """
    origin = request.headers.get("origin")
    if origin is not None and _host_of(origin) != request.headers.get("host", "").lower():
        return True
    is_link = request.method in _SAFE_METHODS and request.headers.get("sec-fetch-mode") == "navigate"
    return request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _unauthorized(request: Request) -> Response:
    headers = {"WWW-Authenticate": "Bearer"}
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(read_page("token.html"), 401, headers)
    return error_response(401, "the token is missing or wrong: send Authorization: Bearer TOKEN", headers)


def _cookie(token: str) -> str:
    """Return the cookie's value: not the token, but the same after a restart, so that the page stays logged in."""
    return hmac.new(token.encode(), b"fgd_yolo web view", hashlib.sha256).hexdigest()


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
