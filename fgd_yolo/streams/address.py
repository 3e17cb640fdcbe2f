"""Addresses of cameras and files: which parts of them may be shown, and the names of streams."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote, unquote

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.url import try_parse_url
from fgd_yolo.text import printable, shortened

HIDDEN = "***"
MAX_ADDRESS = 2048
"""The longest address, in bytes of UTF-8."""

_MAX_READ = 16 << 10  # characters of a text that are searched; every pattern below takes time linear in them
_MAX_SHOWN = 2000
_LAST_CAMERA = 9999
_MAX_NAME = 128
_MARK = "\0"  # replaces a known secret while a text is processed: no printable text has one
_SPACE = re.compile(r"\s")

# An address inside another one's query is percent-encoded, sometimes twice.
_SEPARATOR = re.compile(r"(?::|%(?:25){0,4}3a)(?:/|%(?:25){0,4}2f)+", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z", re.IGNORECASE | re.ASCII)
_MAX_SCHEME = 32
_STOP = re.compile(r"[\s\"'<>`]|\Z")
_WORD = re.compile(r"[^\s\"'<>`]+")
_STARTED_LOGIN = re.compile(r"[\w-]+:(?:[0-9]*|.*@[\w-]+)")  # or a host and its port, or a host alone
_SPLIT_LOGIN = re.compile(r"(?:[\s\"'<>`][^\s\"'<>`]*){1,3}@(?=[\w\[])")
_LOGIN_END = re.compile(r"@(?=[\w\[])")
_DECODINGS = 4
_AFTER_URL = ".,;:)"
_LOGIN_WINDOW = 256  # characters within which a password with spaces must end
_NETWORK = re.compile(r"rtsp[su]?|rtmps?|rtp|udp|tcp|srt|mms|https?|wss?|s?ftp|mqtts?", re.IGNORECASE)

_VALUE = r"(?P<secret>[^\s\"',;}&<>]+)"
_KEY = (
    r"(?:(?:pass|pw|psw|psk|token|secret|auth|cred|sign|session|jwt|ticket|(?:api|access|private)[_-]?key)[\w.-]{0,32}"
    r"|(?<![\w.-])(?:key|pin|code|sig|sid|p|login|user))"
)
_PAIR = re.compile(rf"(?P<before>{_KEY}=){_VALUE}", re.IGNORECASE)
_HEADER = re.compile(
    r"(?P<before>(?:authorization|password|token|secret|api-key)[\"']?\s{0,4}:\s{0,4}[\"']?(?:(?:basic|bearer|digest)\s{1,4})?)"
    + _VALUE,
    re.IGNORECASE,
)
_WHOLE_HEADER = re.compile(
    r"(?P<before>(?:authorization\s{0,4}:\s{0,4}digest|cookie\s{0,4}:)\s{0,4})\S.*", re.IGNORECASE
)

_LETTERS = re.compile(r"%(?:25){0,4}[0-9a-f]{2}|[a-z]+", re.IGNORECASE | re.ASCII)  # encoded: no letter
_PIECES = re.compile(r"[/?#&=;:,@_\s]+")
_MIN_PIECE = 4  # a shorter one is hidden only if its position shows what it is
# Words in the paths of cameras and in messages of this package: they reveal nothing.
_HARMLESS_WORD = re.compile(
    r"camera|channels?|connection|data|files?|frames?|https?|images?|jpe?g|live|main|media|mjpe?g|open|passw(?:or)?d"
    r"|pictures?|play|refused|responds?|response|rtsps?|snapshot|source|stream(?:s|ing|1|2)?|test|timeout|track|users?|video|view",
    re.IGNORECASE,
)


def redact(text: object, *addresses: str | int) -> str:
    """Return a text without secrets: of network addresses only scheme, host and port remain.

    Everything that a user sees goes through here: logs, reasons, errors. Secrets outside of addresses, as in
    `Authorization: ...` or `token=...`, are hidden too, and control characters are replaced. The time is linear in the
    first 16 KB of the text; the result has at most 2000 characters.

    Args:
        text: any text, with any number of addresses in it.
        addresses: all parts of these but scheme, host and port are hidden wherever they occur, decoded or encoded: an
            error of FFmpeg may quote a part of an address.
    Examples:
        >>> redact("cannot open rtsp://admin:pa/ss@10.0.0.7/cam?token=abc&channel=1")
        'cannot open rtsp://10.0.0.7'
    """
    original = str(text)
    secrets = sorted({form for address in addresses for form in _secrets(str(address))}, key=len, reverse=True)
    shown = printable(_SPACE.sub(" ", original[:_MAX_READ]))
    words = {secret for secret in secrets if secret.isascii() and secret.isalpha()}
    for secret in secrets:
        shown = shown if secret in words else shown.replace(secret, _MARK)
    # Inside another word it is not the secret, and hiding a part of that word would reveal the secret.
    shown = _LETTERS.sub(lambda match: _MARK if match[0] in words else match[0], shown)
    if len(original) > _MAX_READ:
        # The cut may go through a secret, whose first part would not be recognized.
        shown = shown[: -max(map(len, secrets), default=1)]
        shown = shown[: max(shown.rfind(" "), 0)]
    shown = "".join(_without_urls(shown)).replace(_MARK, HIDDEN)
    shown = _WORD.sub(lambda match: _without_login(match[0]), shown)
    for pattern in (_WHOLE_HEADER, _HEADER, _PAIR):
        shown = pattern.sub(rf"\g<before>{HIDDEN}", shown)
    if len(shown) > _MAX_SHOWN or len(original) > _MAX_READ:
        shown = f"{shown[:_MAX_SHOWN]} ..."
    return shown


def show_address(address: str | int) -> str:
    """Return one address without secrets: scheme, host and port of a network address, a local path as it is.

    Examples:
        >>> show_address("rtsp://admin:pa/ss@10.0.0.7:554/cam?token=abc"), show_address("clips/night.mp4")
        ('rtsp://10.0.0.7:554', 'clips/night.mp4')
    """
    text = str(address)
    parts = _network_parts(text[:MAX_ADDRESS])
    if parts:
        return printable(_reduced(*parts))
    if "://" in text:
        return redact(text[:MAX_ADDRESS])
    before, at, _ = text.rpartition("@")
    without_scheme = bool(at) and _is_login(before) and not os.path.lexists(text)
    return HIDDEN if without_scheme else printable(text[:MAX_ADDRESS])


def check_text(address: str | int) -> None:
    """Check the text of an address, whatever it points to.

    Raises:
        UsageError: it is too long, a network address with control characters, or a number that no camera has.
    """
    text = str(address)
    if len(text) > MAX_ADDRESS or len(text.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:
        shown = show_address(text)[:80]
        raise UsageError(f"the address is longer than {MAX_ADDRESS} bytes: '{shown}'; give a shorter one")
    if "://" in text and printable(text) != text:
        raise UsageError(f"'{show_address(text)}' has a character that is not allowed in an address: percent-encode it")
    if (isinstance(address, int) and address < 0) or (text.isdecimal() and int(text) > _LAST_CAMERA):
        raise UsageError(f"a camera number must be from 0 to {_LAST_CAMERA}, got {text[:20]}")


def check_name(name: str) -> None:
    """Check a stream's name, which is shown in files, topics, logs and on the web page.

    Raises:
        UsageError: it is empty, too long, cannot be printed, or holds an address or a password.
    """
    if not name.strip() or len(name) > _MAX_NAME or printable(name) != name:
        shown = shortened(printable(name[: _MAX_NAME + 1]), 40)
        rule = f"is empty, longer than {_MAX_NAME} characters or has characters that cannot be printed"
        raise UsageError(f"stream name '{shown}' {rule}: choose another")
    if redact(name) != name:
        raise UsageError(
            "the name of a stream is shown everywhere and must hold no address or password: choose another"
        )


def default_name(address: str | int) -> str:
    """Return the name of a stream added without one: safe in a file name, a topic or a page, without secrets.

    Examples:
        >>> default_name("rtsp://admin:secret@10.0.0.7:554/Streaming/Channels/101"), default_name(0)
        ('10.0.0.7-554', 'camera0')
    """
    text = str(address)
    if text.isdecimal():
        return f"camera{text}"
    scheme, is_url, rest = show_address(text).partition("://")
    if not is_url:
        path = Path(text)
        stem = path.stem if os.path.isfile(text) else path.name.strip(".") or path.resolve().name  # noqa: PTH113 (never raises)
        return _slug(redact(stem)) or "files"
    return _slug(f"{scheme}-{rest}" if scheme == "test" else rest) or _slug(scheme)


def unique_name(address: str | int, used: Container[str]) -> str:
    """Return the default name of an address, with a number appended if it is in use."""
    default = default_name(address)
    numbered = (default if number == 1 else f"{default}-{number}" for number in count(1))
    return next(name for name in numbered if name not in used)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-._")[:80]


def _network_parts(text: str) -> tuple[str, str, str] | None:
    """Return scheme, separator and rest of a text that is one network address, None for anything else."""
    separator = _SEPARATOR.search(text)
    if not separator or "%" in separator[0] or not _SCHEME.fullmatch(text, 0, separator.start()):
        return None
    scheme, body = text[: separator.start()], text[separator.end() :]
    return (scheme, separator[0], body) if _is_network(scheme, separator[0], body) else None


def _is_network(scheme: str, separator: str, body: str) -> bool:
    """Whether a network address starts here; `body` is what follows, or the start of it."""
    slashes = _slashes(separator)
    if scheme.lower() == "file":
        return slashes == 2  # file://host/...
    return slashes > 1 or bool(_NETWORK.fullmatch(scheme)) or (len(scheme) > 1 and "@" in body[:_LOGIN_WINDOW])


def _slashes(separator: str) -> int:
    return separator.count("/") + separator.lower().count("2f")


def _without_urls(text: str) -> Iterator[str]:
    """Yield a text with all of its network addresses reduced to scheme, host and port."""
    done = 0
    while separator := _SEPARATOR.search(text, done):
        before = text[max(done, separator.start() - _MAX_SCHEME) : separator.start()]
        scheme = (_SCHEME.search(before) or [""])[0]
        if not _is_network(scheme, separator[0], text[separator.end() : separator.end() + _LOGIN_WINDOW]):
            yield text[done : separator.end()]
            done = separator.end()
            continue
        yield text[done : separator.start() - len(scheme)]
        stop = _STOP.search(text, separator.end()).start()
        body = text[separator.end() : stop]
        shown = _reduced(scheme, separator[0], body)
        if further := _end_of_login(text, stop, body, shown):
            stop = further
            shown = _reduced(scheme, separator[0], text[separator.end() : stop])
        yield shown
        yield text[stop - 1] if text[stop - 1] in _AFTER_URL else ""
        done = stop
    yield text[done:]


def _end_of_login(text: str, stop: int, body: str, shown: str) -> int | None:
    """Return where an address ends if its password has a space or quotation mark at `stop`, else None."""
    window = text[stop : stop + _LOGIN_WINDOW]
    following = _SEPARATOR.search(window)
    window = window[: following.start()] if following else window
    if shown.endswith(HIDDEN):
        *_, login = None, *_LOGIN_END.finditer(window)
    else:  # host:123 may be user:password, if one of the next words says so
        login = _STARTED_LOGIN.fullmatch(body) and _SPLIT_LOGIN.match(window)
    return _STOP.search(text, stop + login.end()).start() if login else None


def _reduced(scheme: str, separator: str, body: str) -> str:
    """Return scheme, host and port of a network address, which may be encoded, or partly hidden already.

    `test://` has no secrets and is shown as it is.
    """
    if not body.rstrip(_AFTER_URL):  # a scheme alone, as in messages of this package
        return f"{scheme.lower()}{separator}"
    for _ in range(separator.count("%") and _DECODINGS):
        body = unquote(body)
    body = body.rpartition(f"{_MARK}@")[2].partition(_MARK)[0].rstrip(_AFTER_URL)
    if scheme.lower() == "test" and "@" not in body:
        return f"{scheme}{separator}{body}"
    readable = _slashes(separator) <= 2 and len(body) <= MAX_ADDRESS
    url = try_parse_url(f"{scheme}://{body}") if readable else None
    # A missing or extra slash stays visible: it is what is wrong with such an address.
    return f"{scheme.lower()}:{'/' * _slashes(separator)}{url.host_port if url else HIDDEN}"


def _without_login(word: str) -> str:
    """Hide `user:password` in front of an @ that follows no scheme."""
    before, at, server = word.rpartition("@")
    # A password may have a / in it, and the path of a file a : and an @.
    start = before.rfind("/") + 1 if word[:1] in "/." else before.rfind("/", 0, before.find(":") + 1) + 1
    if not at or not _is_login(before[start:]):
        return word
    return f"{before[:start]}{HIDDEN}@{re.split('[/?#]', server, maxsplit=1)[0]}"


def _is_login(text: str) -> bool:
    name, _, password = text.partition(":")
    is_drive = len(name) == 1 and password[:1] in ("/", "\\")
    return bool(name and password) and not is_drive


def _secrets(address: str) -> set[str]:
    """Return all parts of a network address except scheme, host and port, as they are, decoded and encoded."""
    network = _network_parts(printable(address[:MAX_ADDRESS]))
    if not network or network[0].lower() == "test":
        return set()
    scheme, _, body = network
    url = try_parse_url(f"{scheme}://{body}")
    parts = [url.login or "", url.user, url.password, url.rest] if url else [body]
    pieces = {piece for part in parts for written in (part, unquote(part)) for piece in _PIECES.split(written)}
    pieces |= {*parts, *(part.strip("/") for part in parts), *(half for part in parts for half in part.split("?"))}
    forms = pieces | {unquote(piece) for piece in pieces}
    forms |= {quote(form, safe="") for form in forms}
    return {printable(form) for form in forms if len(form) >= _MIN_PIECE and not _HARMLESS_WORD.fullmatch(form)}
