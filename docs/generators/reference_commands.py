"""The reference of the commands, from their parsers."""

from __future__ import annotations

import argparse
import re

from tables import code, prose, sentence, table

from fgd_yolo.cli.main import SWITCH_ON, parsers
from fgd_yolo.console import Parser

_DEFAULT = re.compile(r"\s*\(default: ((?:[^()]|\([^()]*\))*)\)$")
_VALUE = re.compile(r"[\w.,-]+")


def commands() -> str:
    """Return a section for each command: what it does, examples, and tables of its options."""
    return "\n\n".join(_section(name, parser) for name, parser in parsers().items())


def completion() -> str:
    """Return the line that switches completion on."""
    return f"```bash\n{SWITCH_ON}\n```"


def _section(name: str, parser: Parser) -> str:
    parts = [f"## {name}", sentence(prose(parser.description or "")), _examples(parser)]
    parts.append(prose(parser.usage_note or ""))
    for group in _groups(parser):
        rows = [_row(parser, action) for action in documented(group._group_actions)]
        parts.append(f"**{sentence(group.title).removesuffix('.')}**")
        parts.append(sentence(prose(group.description or "")))
        parts.append(table(("Option", "Default", "Meaning"), rows) if rows else "")
    parts.append(sentence(prose(parser.epilog or "")))
    return "\n\n".join(part for part in parts if part)


def _examples(parser: Parser) -> str:
    blocks = [f"# {text}\n{words}" if text else words for words, text in parser.examples]
    return "```bash\n" + "\n\n".join(blocks) + "\n```" if blocks else ""


def _groups(parser: Parser) -> list[argparse._ArgumentGroup]:
    """Return the groups of options that --help shows, in its order."""
    positional, general, *titled = parser._action_groups
    return [group for group in (positional, *titled, general) if group.description or documented(group._group_actions)]


def documented(actions: list[argparse.Action]) -> list[argparse.Action]:
    """Return the actions that --help shows, without --help itself."""
    return [a for a in actions if a.help != argparse.SUPPRESS and not isinstance(a, argparse._HelpAction)]


def _row(parser: Parser, action: argparse.Action) -> tuple[str, str, str]:
    text = _help(parser, action)
    default = _DEFAULT.search(text)
    meaning = prose(_DEFAULT.sub("", text))
    return (
        "<br>".join(map(code, spellings(action, parser.assignment is not None))),
        _default(default[1]) if default else "",
        meaning,
    )


def _default(text: str) -> str:
    return code(text) if _VALUE.fullmatch(text) else prose(text)


def spellings(action: argparse.Action, both: bool) -> list[str]:
    """Return how an option is typed.

    Args:
        action: the option, or an argument without a name.
        both: whether the command also takes `name=value`.
    """
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    several = {"+": " ...", "*": " ..."}.get(str(action.nargs), "")
    if not action.option_strings:
        return [f"{metavar}{several}"]
    takes_value = action.nargs != 0
    flags = [f"{flag} {metavar}{several}" if takes_value else flag for flag in action.option_strings]
    if both and takes_value and not several:
        flags.append(f"{action.dest}={metavar}")
    return flags


def _help(parser: Parser, action: argparse.Action) -> str:
    """Return the help of an option as argparse prints it, with its defaults filled in."""
    return argparse.HelpFormatter(parser.prog)._expand_help(action) if action.help else ""
