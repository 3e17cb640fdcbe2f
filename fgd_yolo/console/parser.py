"""The parser of all commands: help that starts with examples, and errors that say what was meant."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from fgd_yolo.errors import UsageError, nearest

COMPLETION = "_ARGCOMPLETE"
"""Environment variable with which a shell asks a program for completions."""


class _Once(argparse.Action):
    """Store the value of an option that may be given once; argparse silently keeps the last of several values."""

    _namespace = None  # the namespace that already has a value

    def __call__(self, parser, namespace, values, option_string=None):
        if option_string is not None:
            if self._namespace is namespace:
                raise UsageError(f"{option_string} given more than once")
            self._namespace = namespace
        setattr(namespace, self.dest, values)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wrap a description of one line, and keep the line breaks of others, such as examples."""

    def _fill_text(self, text, width, indent):
        wrap = argparse.RawDescriptionHelpFormatter if "\n" in text else argparse.HelpFormatter
        return wrap._fill_text(self, text, width, indent)

    def _split_lines(self, text, width):
        return textwrap.wrap(text, width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `UsageError` instead of exiting and accepts each option once.

    Its help starts with the description and the examples; usage and options follow. `--help` and `--debug` come last.

    Args:
        examples: arguments of the command and their explanation, which may be empty.
        kwargs: as for `ArgumentParser`.

    Raises:
        UsageError: from the parsing methods, where argparse would print its usage and exit.
    """

    assignment: re.Pattern[str] | None = None
    """How an option looks that is written `name=value`, if that is accepted."""
    usage_note: str | None = None
    """What the help says about the spelling of options."""

    def __init__(self, *args, examples: Sequence[tuple[str, str]] = (), **kwargs):
        super().__init__(*args, formatter_class=_HelpFormatter, allow_abbrev=False, **kwargs)
        self._examples = tuple(examples)
        self._optionals.title = "general"
        for name in (None, "store"):
            self.register("action", name, _Once)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    @property
    def examples(self) -> list[tuple[str, str]]:
        """Complete commands and their explanations."""
        return [(f"{self.prog} {words}".strip(), explanation) for words, explanation in self._examples]

    @property
    def commands(self) -> dict[str, Parser]:
        """The parsers of subcommands by name."""
        subparsers = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return {name: parser for action in subparsers for name, parser in action.choices.items()}

    def format_help(self) -> str:
        """Return description, examples, usage and options: positional arguments first, general options last."""
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        lines = [f"  {line}" for words, text in self.examples for line in (words, f"    {text}")]
        formatter.add_text("\n".join(["examples:", *lines]))
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.usage_note)
        positional, general, *titled = self._action_groups
        for group in (positional, *titled, general):
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    @property
    def names(self) -> dict[str, argparse.Action]:
        """All options by name, such as `teacher_epochs` for `--teacher-epochs`."""
        return {action.dest: action for action in self._actions if action.option_strings}

    @property
    def flags(self) -> list[str]:
        """The option strings that the help shows, such as `--teacher`, with those of subcommands."""
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        own = [flag for action in shown for flag in action.option_strings]
        return own + [flag for command in self.commands.values() for flag in command.flags]

    def parse_args(self, args=None, namespace=None):
        """Parse a command line, or print completions if a shell asks for them; see `argparse`."""
        if COMPLETION in os.environ:
            from fgd_yolo.completion import complete  # loads argcomplete, which nothing else needs

            complete(self)
        words = list(sys.argv[1:] if args is None else args)
        try:
            return super().parse_args(words, namespace)
        except UsageError as error:
            raise UsageError(self._mistyped(words) or str(error)) from None

    def _mistyped(self, words: Sequence[str]) -> str | None:
        """Return a message that names the option that was meant, if a command line was refused for a mistyped one."""
        for word in words:
            name, equals, value = word.partition("=")
            flag = f"--{name.replace('_', '-')}"
            if name.startswith("--") and name not in self.flags:
                near = nearest(name.removeprefix("--"), [known.removeprefix("--") for known in self.flags])
                hint = f", did you mean '--{near}'?" if near else ""
                return f"unknown option '{name}'{hint} (see --help)"
            if equals and flag in self.flags:
                return f"'{word}' is not an option: write {flag} {value}"
        return None

    def error(self, message: str):
        raise UsageError(f"{message} (see --help)")


def offer(action: argparse.Action, words: Iterable[str]) -> None:
    """Let a shell complete the value of an option with these words."""
    action.completer = lambda **_: list(words)  # type: ignore[attr-defined]


def positive_int(text: str) -> int:
    """Parse the value of an option that is a count; an argparse `type`.

    Raises:
        argparse.ArgumentTypeError: the text is not an integer of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got '{text}'")
    return int(text)


def described(entries: Mapping[str, str], columns: int = 80) -> list[str]:
    """Return lines with names on the left and what they are on the right, wrapped.

    Args:
        entries: descriptions by name.
        columns: width of the lines in characters.
    """
    width = max(map(len, entries))
    wrapper = textwrap.TextWrapper(columns, subsequent_indent=" " * (width + 2))
    return [line for name, text in entries.items() for line in wrapper.wrap(f"{name:{width}}  {text}")]
