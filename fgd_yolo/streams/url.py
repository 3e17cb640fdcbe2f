"""Network addresses read in parts: who logs in, at which host, and what is asked of it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote

from fgd_yolo.errors import UsageError

_DELIMITER = re.compile("[/?#]")
_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?")
_LONGEST_HOST = 253
_PORT = re.compile("[0-9]{1,5}")


class Url(NamedTuple):
    """A network address in parts.

    Convention:
        `login` is what stands before the host's @, as it was written, None where there is none; `host` has no
        brackets; `rest` begins with its / ? or #.
    """

    scheme: str
    login: str | None
    host: str
    port: int | None
    rest: str

    @property
    def place(self) -> str:
        """Host and port, as they stand in an address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """All that may be shown of it: scheme, host and port."""
        return f"{self.scheme}://{self.place}"

    @property
    def user(self) -> str:
        """The name in the login, as it was written."""
        return (self.login or "").partition(":")[0]

    @property
    def password(self) -> str:
        """The password in the login, as it was written."""
        return (self.login or "").partition(":")[2]

    def encoded(self) -> str:
        """Return the address with name and password percent-encoded, for programs that decode them.

        A % stays as it is: it may be an encoding already.
        """
        if self.login is None:
            return f"{self.shown}{self.rest}"
        name, colon, password = self.login.partition(":")
        return f"{self.scheme}://{quote(name, '%')}{colon}{quote(password, '%')}@{self.place}{self.rest}"


def parse_url(text: str) -> Url:
    """Read a network address; see `read_url`.

    Raises:
        UsageError: it names no host, or it is not clear where the password ends.
    """
    url = read_url(text)
    if url is None:
        scheme = text.partition(":")[0].lower()
        raise UsageError(
            f"'{scheme}://***' names no host or no valid port, or it is unclear where its password ends: "
            "in a password write @ as %40, / as %2F, ? as %3F and # as %23"
        )
    return url


def read_url(text: str) -> Url | None:
    """Read a network address, None where its host cannot be told.

    Convention:
        The host stands before the first / ? or #, behind the last @ in front of it, as in RFC 3986: a later @ belongs
        to the path or the query. But people write passwords with @ / ? and # as they are. So the login ends at a
        later @ instead, where there is exactly one such reading and
          - what stands before the first / ? or # is no host and port (`admin:pa/ss@camera`), or
          - it is a login and a bare word, and the host behind the later @ is a number or has a port
            (`admin:p@ss/word@10.0.0.7`).
        Where both readings remain possible (`admin:p@ss/word@camera`, `admin:12/34@10.0.0.7`) nobody guesses.
        An address inside another one (`?src=rtsp://...`) is part of its query.
    Source: RFC 3986, section 3.2.
    """
    scheme, separator, body = text.partition("://")
    if not separator:
        return None
    end = _end_of_authority(body)
    login, at, place = body[:end].rpartition("@")
    found = _host_and_port(place)
    later = list(_later_logins(body, end))
    sure = [one for one in later if _is_certain(one[1])]
    if found is None:
        choice = sure or later
        return _url(scheme, body, *choice[0]) if len(choice) == 1 else None
    is_word = _is_word(found)
    if at and not _is_certain(found) and (later if is_word else sure):
        return _url(scheme, body, *sure[0]) if is_word and len(sure) == 1 else None
    if not at and is_word and found[1] is not None and sure:
        return None
    return _url(scheme, body, len(login) if at else None, found, end)


def _url(scheme: str, body: str, login_end: int | None, found: tuple[str, int | None], end: int) -> Url:
    return Url(scheme.lower(), None if login_end is None else body[:login_end], *found, body[end:])


def _end_of_authority(body: str, start: int = 0) -> int:
    found = _DELIMITER.search(body, start)
    return found.start() if found else len(body)


def _later_logins(body: str, end: int):
    """Yield where a login may end behind the authority, with the host that follows and where that ends."""
    stop = body.find("://", end)
    stop = len(body) if stop < 0 else stop
    while end < stop:
        start = end + 1
        end = _end_of_authority(body, start)
        at = body.rfind("@", start, end)
        found = _host_and_port(body[at + 1 : end]) if at >= 0 else None
        if found:
            yield at, found, end


def _host_and_port(place: str) -> tuple[str, int | None] | None:
    """Read `host`, `host:port` or `[IPv6]:port`."""
    if place.startswith("["):
        host, bracket, tail = place[1:].partition("]")
        colon, port = tail[:1], tail[1:]
        if not bracket or ":" not in host or not _is_number(host) or colon not in ("", ":"):
            return None
    else:
        host, colon, port = place.partition(":")
        is_name = len(host) <= _LONGEST_HOST and _HOST.fullmatch(host)
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


def _is_word(found: tuple[str, int | None]) -> bool:
    return not _is_number(found[0]) and "." not in found[0] and found[0].lower() != "localhost"


def _is_certain(found: tuple[str, int | None]) -> bool:
    """Whether it can hardly be part of a password."""
    return found[1] is not None or _is_number(found[0]) or found[0].lower() == "localhost"
