"""The two errors that a user is meant to read, and how any error becomes one line."""

from __future__ import annotations

from difflib import get_close_matches

from fgd_yolo.text import shortened, single_line

_LONGEST_WORD = 100  # the search takes quadratic time


class FGDError(Exception):
    """Something a user can mend: one line that says what is wrong and what to do. Exit code 1."""

    exit_code = 1


class UsageError(FGDError):
    """The command or call itself was wrong: an unknown name, key or a thing said twice. Exit code 2."""

    exit_code = 2


def one_line(error: BaseException, longest: int = 160) -> str:
    """Return an error's text on one printable line that is short enough to stand inside another error's.

    The command frame shortens the whole to 300 characters, without its middle. Where a text may hold passwords these
    are taken out of `whole_line` first: a part of one would not be found.

    Args:
        error: any.
        longest: characters; a longer text loses its middle.
    """
    return shortened(whole_line(error), longest)


def whole_line(error: BaseException) -> str:
    """Return an error's text on a single line of any length, printable; its type where it has no text."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return single_line(f"{error.strerror}{where}")
    return single_line(error) or type(error).__name__


def close_match(word: str, choices) -> str:
    """Return ", did you mean 'x'?" for the choice nearest to a mistyped word, or an empty string."""
    near = get_close_matches(word[:_LONGEST_WORD], list(choices), n=1, cutoff=0.5)
    return f", did you mean '{near[0]}'?" if near else ""
