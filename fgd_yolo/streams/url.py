"""Parsing of network addresses, including those whose login was written without percent-encoding."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote

from fgd_yolo.errors import UsageError

_DELIMITER = re.compile("[/?#]")
_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?")
_MAX_HOST = 253
_PORT = re.compile("[0-9]{1,5}")


class Url(NamedTuple):
    """The parts of a network address.

    Convention:
        `login` is the text before the @ as it was written, None if there is no @; `host` has no brackets;
        `rest` starts with its / ? or #.
    """

    scheme: str
    login: str | None
    host: str
    port: int | None
    rest: str

    @property
    def host_port(self) -> str:
        """Host and port, as in an address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: all that may be shown of an address."""
        return f"{self.scheme}://{self.host_port}"

    @property
    def user(self) -> str:
        """The user name in the login, as it was written."""
        return (self.login or "").partition(":")[0]

    @property
    def password(self) -> str:
        """The password in the login, as it was written."""
        return (self.login or "").partition(":")[2]

    def encoded(self) -> str:
        """Return the address with user name and password percent-encoded, for programs that decode them.

        A % stays as it is: it may be part of an encoding.
        """
        if self.login is None:
            return f"{self.origin}{self.rest}"
        name, colon, password = self.login.partition(":")
        return f"{self.scheme}://{quote(name, '%')}{colon}{quote(password, '%')}@{self.host_port}{self.rest}"


def parse_url(text: str) -> Url:
    """Parse a network address; see `try_parse_url`.

    Raises:
        UsageError: it names no host, or it is not clear where the password ends.
    """
    url = try_parse_url(text)
    if url is None:
        scheme = text.partition(":")[0].lower()
        raise UsageError(
            f"'{scheme}://***' names no host or no valid port, or it is unclear where its password ends: "
            "in a password write @ as %40, / as %2F, ? as %3F and # as %23"
        )
    return url


def try_parse_url(text: str) -> Url | None:
    """Parse a network address; return None if its host is missing or ambiguous.

    Convention:
        The host ends before the first / ? or #, and starts after the last @ in front of that, as in RFC 3986: a later
        @ belongs to the path or the query. But users write passwords with @ / ? and # as they are. So the login ends
        at a later @ instead, if there is exactly one such reading and
          - the text before the first / ? or # is no host and port (`admin:pa/ss@camera`), or
          - it is a login and a single word, and the host after the later @ is a number or has a port
            (`admin:p@ss/word@10.0.0.7`).
        If both readings remain possible (`admin:p@ss/word@camera`, `admin:12/34@10.0.0.7`), the result is None.
        An address inside another one (`?src=rtsp://...`) is part of its query.
    Source: RFC 3986, section 3.2.
    """
    scheme, separator, body = text.partition("://")
    if not separator:
        return None
    end = _end_of_authority(body)
    login, at, authority = body[:end].rpartition("@")
    server = _host_and_port(authority)
    later = list(_later_logins(body, end))
    certain = [reading for reading in later if _is_certain(reading[1])]
    if server is None:
        readings = certain or later
        return _url(scheme, body, *readings[0]) if len(readings) == 1 else None
    is_word = _is_word(server)
    if at and not _is_certain(server) and (later if is_word else certain):
        return _url(scheme, body, *certain[0]) if is_word and len(certain) == 1 else None
    if not at and is_word and server[1] is not None and certain:
        return None
    return _url(scheme, body, len(login) if at else None, server, end)


def _url(scheme: str, body: str, login_end: int | None, server: tuple[str, int | None], end: int) -> Url:
    return Url(scheme.lower(), None if login_end is None else body[:login_end], *server, body[end:])


def _end_of_authority(body: str, start: int = 0) -> int:
    delimiter = _DELIMITER.search(body, start)
    return delimiter.start() if delimiter else len(body)


def _later_logins(body: str, end: int):
    """Yield where a login may end after the authority, with the host and port that follow and where these end."""
    stop = body.find("://", end)
    stop = len(body) if stop < 0 else stop
    while end < stop:
        start = end + 1
        end = _end_of_authority(body, start)
        at = body.rfind("@", start, end)
        server = _host_and_port(body[at + 1 : end]) if at >= 0 else None
        if server:
            yield at, server, end


def _host_and_port(text: str) -> tuple[str, int | None] | None:
    """Parse `host`, `host:port` or `[IPv6]:port`."""
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        colon, port = tail[:1], tail[1:]
        if not bracket or ":" not in host or not _is_number(host) or colon not in ("", ":"):
            return None
    else:
        host, colon, port = text.partition(":")
        is_name = len(host) <= _MAX_HOST and _HOST.fullmatch(host)
        if not is_name or not any(map(str.isalnum, host)):
            return None
    if not colon:
        return host, None
    return (host, int(port)) if _PORT.fullmatch(port) and 0 < int(port) < 65536 else None


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_word(server: tuple[str, int | None]) -> bool:
    host, _ = server
    return not _is_number(host) and "." not in host and host.lower() != "localhost"


def _is_certain(server: tuple[str, int | None]) -> bool:
    """Whether it can hardly be part of a password."""
    host, port = server
    return port is not None or _is_number(host) or host.lower() == "localhost"
