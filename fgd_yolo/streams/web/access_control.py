"""Who may pass: the token, the origin of a request, and headers that keep a browser from being misused."""

from __future__ import annotations

import hashlib
import hmac
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.web.page import read_page
from fgd_yolo.streams.web.requests import LONGEST_HEADER, LONGEST_QUERY

COOKIE = "fgd_yolo_view"
OPEN_PATH = "/healthz"
_READING = ("GET", "HEAD")
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
        UsageError: it is empty, as that of a variable which is not set, or cannot stand in a header.
    """
    if token is not None and not re.fullmatch(r"[!-~]{8,}", token):
        raise UsageError("the web token must be 8 or more letters, digits and signs without spaces: set a longer one")
    return token


class AccessControl:
    """Stands before the application; nothing but `/healthz` passes without the token, where there is one.

    Without a token only those on this machine can connect, but their browsers run the pages of others. So a request
    must name this machine as its host (else a foreign name could be bound to the loopback address: DNS rebinding), and
    in both cases one that a foreign page sends is refused.

    Args:
        app: what is behind.
        token: None where the server listens on a loopback address.
    """

    def __init__(self, app: ASGIApp, token: str | None = None):
        self._app, self._token = app, check_token(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the page speaks HTTP alone, not {scope['type']}")
        request = Request(scope)
        answer = self._refusal(request) or self._app

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if answer is self._app and self._token and self._has_token_in_query(request):
                    secure = "; Secure" if request.scope["scheme"] == "https" else ""
                    value = f"{COOKIE}={_cookie(self._token)}; Path=/; HttpOnly; SameSite=Strict{secure}"
                    headers.append("Set-Cookie", value)
            await send(message)

        await answer(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that may not pass."""
        if max(len(request.scope["path"]), len(request.scope["query_string"])) > LONGEST_QUERY:
            return _refuse(414, f"an address here has {LONGEST_QUERY} characters at most")
        if any(len(value) > LONGEST_HEADER for _, value in request.scope["headers"]):
            return _refuse(431, f"a header here has {LONGEST_HEADER} characters at most")
        if self._token is None and not _names_this_machine(request.headers.get("host", "")):
            return _refuse(403, "this server answers to localhost and 127.0.0.1 only")
        if request.scope["path"] == OPEN_PATH and request.method in _READING:
            return None
        if not self._known(request):
            return _unknown(request)
        if _is_foreign(request):
            return _refuse(403, "this request was sent by a page of another site")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method not in _READING and kind != "application/json":
            return _refuse(415, "send JSON, with Content-Type: application/json")
        return None

    def _known(self, request: Request) -> bool:
        """Decide by the first that is there: header, query, cookie. A cookie does not mend a wrong token."""
        if self._token is None:
            return True
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, shown = header.partition(" ")
            return scheme.lower() == "bearer" and _same(shown.strip(), self._token)
        if "token" in request.query_params:
            return self._has_token_in_query(request)
        return _same(request.cookies.get(COOKIE, ""), _cookie(self._token))

    def _has_token_in_query(self, request: Request) -> bool:
        """Return whether the address holds the right token; an address that changes something must not."""
        return request.method in _READING and _same(request.query_params.get("token", ""), self._token)


def is_loopback(host: str) -> bool:
    """Return whether an address in numbers reaches this machine alone."""
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


def _is_foreign(request: Request) -> bool:
    """Return whether a page of another origin sent it; programs send neither header, and following a link is fine."""
    origin = request.headers.get("origin")
    if origin is not None and _host_of(origin) != request.headers.get("host", "").lower():
        return True
    followed = request.method in _READING and request.headers.get("sec-fetch-mode") == "navigate"
    return request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and not followed


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _unknown(request: Request) -> Response:
    headers = {"WWW-Authenticate": "Bearer"}
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(read_page("token.html"), 401, headers)
    return JSONResponse({"error": "the token is missing or wrong: send Authorization: Bearer TOKEN"}, 401, headers)


def _refuse(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status)


def _cookie(token: str) -> str:
    """Return what the cookie holds: not the token itself, and the same after a restart, so that the page goes on."""
    return hmac.new(token.encode(), b"fgd_yolo web view", hashlib.sha256).hexdigest()


def _same(shown: str, right: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), right.encode())
