"""What every command line here has in common, without torch: errors of one line, and nothing said twice."""

from __future__ import annotations

import argparse

from fgd_yolo.errors import UsageError


class _Once(argparse.Action):
    """Store a value, and refuse a second one: argparse itself silently keeps the last."""

    _filled = None

    def __call__(self, parser, namespace, values, option_string=None):
        if option_string is not None:
            if self._filled is namespace:
                raise UsageError(f"{option_string} is said twice: leave out one of them")
            self._filled = namespace
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error, and which takes each option once.

    Raises:
        UsageError: from the parsing methods, for whatever argparse itself would end the process for.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)
        for name in (None, "store"):
            self.register("action", name, _Once)

    @property
    def flags(self) -> list[str]:
        """Every option that it knows."""
        return list(self._option_string_actions)

    def error(self, message: str):
        raise UsageError(f"{message} (see --help)")


def at_least_one(text: str) -> int:
    """Read an option's value that is a count.

    Raises:
        argparse.ArgumentTypeError: it is no whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, not '{text}'")
    return int(text)
