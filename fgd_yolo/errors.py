"""The two exceptions with messages for users, and the conversion of any exception to one line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from fgd_yolo.text import shortened, single_line

_LONGEST_WORD = 100  # matching takes quadratic time


class FGDError(Exception):
    """An error that the user can fix; the message is one line: what is wrong and what to do. Exit code 1."""

    exit_code = 1


class UsageError(FGDError):
    """Wrong usage of a command or function, such as an unknown or duplicate option. Exit code 2."""

    exit_code = 2


def not_installed(package: str, extra: str) -> FGDError:
    """Return the error for a missing package that an extra of fgd_yolo installs."""
    return FGDError(f"{package} is not installed; run pip install 'fgd_yolo[{extra}]'")


def one_line(error: BaseException, longest: int = 160) -> str:
    """Return the message of an exception as one printable line, short enough to be part of another message.

    If a message may contain passwords, remove them from `error_message` first, since a truncated password would not be
    recognised.

    Args:
        error: any exception.
        longest: maximum number of characters; the middle of a longer message is removed.
    """
    return shortened(error_message(error), longest)


def error_message(error: BaseException) -> str:
    """Return the message of an exception as one printable line of any length, or its type if the message is empty."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return single_line(f"{error.strerror}{where}")
    return single_line(error) or type(error).__name__


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice closest to a mistyped word, or None if none is close."""
    choices = list(choices)
    for spelling in (word, word.lower()):
        if near := get_close_matches(spelling[:_LONGEST_WORD], choices, n=1, cutoff=0.5):
            return near[0]
    return None


def close_match(word: str, choices: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the choice closest to a mistyped word, or an empty string."""
    near = nearest(word, choices)
    return f", did you mean '{near}'?" if near else ""
