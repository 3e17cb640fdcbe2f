"""Addresses of cameras and files: what may be shown of them, and what a stream is called."""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import count
from pathlib import Path
from urllib.parse import quote, unquote

HIDDEN = "***"

# An address inside another one's query is percent-encoded, sometimes twice.
_COLON, _SLASH, _AT, _EQUALS = (rf"(?:{pair[0]}|%(?:25)*{pair[1:]})" for pair in (":3a", "/2f", "@40", "=3d"))
_SCHEME = rf"{_COLON}{_SLASH}+"  # one slash too: a slip of the finger shows no password
_NEXT = rf"{_COLON}{_SLASH}{_SLASH}"
# Greedy up to the last @ of the address: people write passwords with @ and / in them as they are.
_USERINFO = re.compile(rf"(?P<before>{_SCHEME})(?P<secret>(?:(?!{_NEXT})[^\s<>])*)(?={_AT})", re.IGNORECASE)
# A text that is one address: there a password may even have a space in it.
_ONE_ADDRESS = re.compile(r"(?P<before>\A[a-z][\w+.-]*:/+)(?P<secret>(?:(?!://).)*)(?=@)", re.IGNORECASE | re.DOTALL)
_BARE_USERINFO = re.compile(r"(?P<before>)(?P<secret>[^\s:/@'\"<>]+:[^\s/@'\"<>]+)(?=@[\w\[])")
_KEY = (
    r"[\w.-]*(?:pass|loginpas|pwd|token|secret|auth|credential|signature|session|jwt|(?:api|access|private)[_-]?key)[\w.-]*"
    r"|(?:(?<![\w.-])|(?<=%26))(?:key|pw|psw|pin|code|sig|sid|p)"
)
_PAIR = re.compile(rf"(?P<before>(?:{_KEY}){_EQUALS})(?P<secret>[^&\s\"'<>]+)", re.IGNORECASE)
_HEADER = re.compile(
    r"(?P<before>(?:authorization|password|token|secret)[\"']?\s*:\s*[\"']?(?:(?:basic|digest|bearer)\s+)?)"
    r"(?P<secret>[^\s\"',}]+)",
    re.IGNORECASE,
)
_PATTERNS = (_ONE_ADDRESS, _USERINFO, _BARE_USERINFO, _PAIR, _HEADER)
_TOO_SHORT = 4  # a secret of fewer characters is only hidden where its place tells what it is


def redact(text: object, *addresses: str | int) -> str:
    """Return a text without the passwords and tokens that stand in it.

    Everything a user can see goes through here: logs, reasons, errors, names.

    Args:
        text: any text, with any number of addresses in it.
        addresses: their secrets are taken out wherever they stand, even alone, decoded or encoded: an error of
            FFmpeg may quote a part of an address.
    Example:
        >>> redact("cannot open rtsp://admin:pa/ss@10.0.0.7/cam?token=abc&channel=1")
        'cannot open rtsp://***@10.0.0.7/cam?token=***&channel=1'
    """
    shown = str(text)
    for secret in sorted({form for address in addresses for form in _secrets(str(address))}, key=len, reverse=True):
        shown = shown.replace(secret, HIDDEN)
    for pattern in _PATTERNS:
        shown = pattern.sub(rf"\g<before>{HIDDEN}", shown)
    return shown


def _secrets(address: str) -> set[str]:
    """The passwords and tokens of one address, as written, decoded and encoded."""
    found = {match["secret"] for pattern in _PATTERNS for match in pattern.finditer(address)}
    found |= {password for secret in found for _, colon, password in [secret.partition(":")] if colon}
    forms = found | {unquote(secret) for secret in found}
    forms |= {quote(secret, safe="") for secret in forms}
    return {form for form in forms if len(form) >= _TOO_SHORT}


def default_name(address: str | int) -> str:
    """Return what a stream is called when nobody named it: safe in a file name, a topic or a page, without secrets.

    Example:
        >>> default_name("rtsp://admin:secret@10.0.0.7:554/Streaming/Channels/101"), default_name(0)
        ('10.0.0.7-554-Streaming-Channels-101', 'camera0')
    """
    text = str(address)
    if text.isdigit():
        return f"camera{text}"
    scheme, is_url, rest = redact(text).partition("://")
    if not is_url:
        path = Path(text)
        rest = path.stem if path.is_file() else path.name.strip(".") or path.resolve().name
        return _plain(redact(rest)) or "files"
    return _plain(f"{scheme}-{rest}" if scheme == "test" else rest.replace(f"{HIDDEN}@", "")) or _plain(scheme)


def free_name(address: str | int, taken: Container[str]) -> str:
    """Return the default name of an address, with a number where that is taken."""
    wanted = default_name(address)
    numbered = (wanted if number == 1 else f"{wanted}-{number}" for number in count(1))
    return next(name for name in numbered if name not in taken)


def _plain(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-._")[:80]
