"""A parser whose options can also be written as assignments: `teacher=yolov8l` is `--teacher yolov8l`."""

from __future__ import annotations

import argparse
import re
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fgd_yolo.console import Parser, offer
from fgd_yolo.errors import UsageError, close_match, nearest
from fgd_yolo.train_arguments import parse_value, ultralytics_defaults


class AssignmentParser(Parser):
    """A parser that accepts every option as `--name value`, `--name=value` and `name=value`.

    Dashes and underscores are the same. A flag may have a value: `allow_download=True`. Words after a list option are
    its values until the next option; commas separate values too. It has no positional arguments.

    Args:
        elsewhere: names that are not options here, with the reason and what to write.
        options: as for `Parser`.
    """

    assignment = re.compile(r"([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
    usage_note = "Each option can be written --name value or name=value; - and _ are the same."

    def __init__(self, *args: Any, elsewhere: Mapping[str, str] | None = None, **options: Any):
        super().__init__(*args, **options)
        self._elsewhere = elsewhere or {}

    def add_train_arguments(self) -> None:
        """Add all train arguments of Ultralytics that are not options already, without listing them in the help."""
        group = self.add_argument_group(
            "Ultralytics train arguments", "any of them, such as lr0=0.001 or --cos-lr True (docs.ultralytics.com)"
        )
        for name, default in ultralytics_defaults().items():
            if name not in self.names:
                action = group.add_argument(f"--{name.replace('_', '-')}", help=argparse.SUPPRESS)
                if isinstance(default, bool):
                    offer(action, ("True", "False"))

    def given(self, words: Sequence[str]) -> dict[str, Any]:
        """Parse a command line, and return the options that were given, by name; all but `debug`.

        Raises:
            UsageError: an option is unknown (the message names the closest one), given twice, or has no value.
        """
        values = vars(self.parse_args(words))
        return {name: values[name] for name in values if values[name] != self.get_default(name) and name != "debug"}

    def parse_args(self, args=None, namespace=None):
        """Parse a command line in either spelling; see `argparse`."""
        return super().parse_args(self._normalised(sys.argv[1:] if args is None else args), namespace)

    def _normalised(self, words: Iterable[str]) -> list[str]:
        """Return the words with every option as `--name=value`, and the values of lists as words of their own."""
        actions, seen, left = self.names, set(), deque(words)
        result: list[str] = []
        in_list = False
        while left:
            word = left.popleft()
            assignment = self.assignment.fullmatch(word.removeprefix("--"))
            if not word.startswith("-") and assignment is None:
                if not in_list:
                    raise UsageError(self._stray(word))
                result += _split(word)
                continue
            name, value = assignment.groups() if assignment else (word.removeprefix("--"), None)
            action = actions.get("help" if word == "-h" else name.replace("-", "_"))
            if action is None:
                raise UsageError(self._unknown(name, word))
            if action.dest in seen and not isinstance(action, argparse._AppendAction):
                raise UsageError(f"{action.option_strings[0]} given more than once")
            seen.add(action.dest)
            flag, in_list = action.option_strings[0], action.nargs == "+"
            if action.nargs is None and value is None and left and not left[0].startswith("--"):
                value = left.popleft()
            if value == "":
                raise UsageError(f"{flag} has no value")
            if action.nargs == 0:
                result += [flag] if value is None or _is_true(name, value) else []
            elif in_list:
                result += [flag, *(_split(value) if value else [])]
            else:
                result.append(flag if value is None else f"{flag}={value}")
        return result

    def _mistyped(self, words: Sequence[str]) -> None:
        """Return None: every word was checked when it was read."""

    def _stray(self, word: str) -> str:
        """Return the message about a word that is neither an option nor the value of one."""
        name = word.replace("-", "_")
        action = self.names.get(name)
        if action is None:
            shown = [option for option, action in self.names.items() if action.help != argparse.SUPPRESS]
            hint = f"write name=value or --name value{close_match(name, shown)}"
            return f"'{word}' is neither an option nor its value: {hint}"
        flag = action.option_strings[-1]
        if action.nargs == 0:
            return f"'{word}' is an option: write {flag}"
        value = action.metavar or "VALUE"
        return f"'{word}' has no value: write {word}={value} or {flag} {value}"

    def _unknown(self, name: str, word: str) -> str:
        """Return the message about an option that does not exist, or not here."""
        option, dashes = name.replace("-", "_"), word.startswith("-")
        if option in self._elsewhere:
            return f"{name} is not an option here: {self._elsewhere[option]}"
        known = {option: option for option in (*self._elsewhere, *self.names)}
        if "." not in name:  # the group may be forgotten: fg_weight for features.fg_weight
            known = {**{option.rpartition(".")[2]: option for option in reversed(known)}, **known}
        near = known.get(nearest(option, known) or "")
        flag = self.names[near].option_strings[0] if near in self.names and dashes else near
        hint = f", did you mean '{flag}'?" if flag else ""
        return f"unknown option '{word.partition('=')[0] if dashes else name}'{hint} " + (
            f"({self._elsewhere[near]})" if near in self._elsewhere else "(see --help)"
        )


def _split(text: str) -> list[str]:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [part.strip() for part in inner.split(",") if part.strip()]


def _is_true(name: str, text: str) -> bool:
    value = parse_value(text)
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, got '{text}'")
    return value
