"""The two errors that a user is meant to read, and how any error becomes one line."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class FGDError(Exception):
    """Something a user can mend: one line that says what is wrong and what to do. Exit code 1."""

    exit_code = 1


class UsageError(FGDError):
    """The command or call itself was wrong: an unknown name, key or a thing said twice. Exit code 2."""

    exit_code = 2


def one_line(error: BaseException) -> str:
    """Return an error's text on a single line, without colours; its type where it has no text."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(_COLOUR.sub("", str(error)).split()) or type(error).__name__
