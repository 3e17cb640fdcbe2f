"""Shell completion of commands, options and their values, by argcomplete.

A shell that wants completions runs the program with `_ARGCOMPLETE` and the line so far in its environment. The program
then prints them instead of running.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from contextlib import suppress

from argcomplete import CompletionFinder


class AssignmentFinder(CompletionFinder):
    """Completes `--name value`, and `name=value` for parsers that accept it."""

    def _get_completions(self, comp_words, cword_prefix, cword_prequote, last_wordbreak_pos):
        if pattern := getattr(self._parser, "assignment", None):
            last = self._action(comp_words[-1].removeprefix("--")) if len(comp_words) > 1 else None
            self._in_value = last is not None and last.nargs is None
            current = pattern.fullmatch(cword_prefix)
            assigned = self._action(current[1]) if current and not self._in_value else None
            # As options, which argparse understands; the one of the word to complete expects a value.
            comp_words = [f"--{word}" if pattern.fullmatch(word) else word for word in comp_words]
            comp_words += assigned.option_strings[:1] if assigned else []
        return super()._get_completions(comp_words, cword_prefix, cword_prequote, last_wordbreak_pos)

    def _action(self, name: str) -> argparse.Action | None:
        return self._parser.names.get(name.replace("-", "_"))

    def collect_completions(self, active_parsers, parsed_args, cword_prefix):
        """Return the completions of one word; an assignment has those of its value."""
        parser = active_parsers[-1]
        pattern = getattr(parser, "assignment", None)
        if pattern is None or self._in_value:
            return super().collect_completions(active_parsers, parsed_args, cword_prefix)
        current = pattern.fullmatch(cword_prefix)
        if current is None:
            found = super().collect_completions(active_parsers, parsed_args, cword_prefix)
            return found + [f"{name}=" for name in parser.names if cword_prefix and name.startswith(cword_prefix)]
        name, value = current.groups()
        before, comma, value = value.rpartition(",")
        found = super().collect_completions(active_parsers, parsed_args, value)
        return [f"{name}={before}{comma}{word}" for word in found if not word.startswith("-")]


def command_word() -> str | None:
    """Return the first argument of the line to complete, unless it is being typed."""
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    with suppress(ValueError):  # an open quote
        words = shlex.split(line)[int(os.environ["_ARGCOMPLETE"]) :]
        if len(words) > 1 or (words and line[-1].isspace()):
            return words[0]
    return None


def complete(parser: argparse.ArgumentParser, *, command: bool = False) -> None:
    """Print the completions of a line and exit.

    Args:
        parser: the parser of the command.
        command: whether the first argument is the command, a part of the program's name.
    """
    if command:
        os.environ["_ARGCOMPLETE"] = str(int(os.environ["_ARGCOMPLETE"]) + 1)
    AssignmentFinder()(parser, always_complete_options="long", exit_method=sys.exit)
