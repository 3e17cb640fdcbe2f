"""Shared by all commands: the parser, the guard that turns errors into one line, and the formatting of output."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TypeVar

from fgd_yolo.errors import FGDError, UsageError, error_message, nearest
from fgd_yolo.stopping import StopRequest, on_stop_signals
from fgd_yolo.text import clean_record, printable, shortened

Item = TypeVar("Item")
_TRAIN_MODULES = ("torch", "torchvision", "ultralytics", "onnx", "onnxslim", "pydantic")  # of the extra `train`
COMPLETION = "_ARGCOMPLETE"
"""Environment variable with which a shell asks a program for completions."""
STAGES = 5
"""Number of stages of a distillation run, described in `fgd_yolo.workflow.distill`."""
_DEBUG = {"--debug", "--debug=true", "debug=true"}
_SCRIPTS = {  # scripts of a checkout, by their command
    "distill": "tools/distill.py",
    "recipes": "tools/recipes.py",
    "compare": "tools/compare.py",
    "disagree": "tools/disagree.py",
    "visualize": "tools/visualize.py",
    "benchmark": "tools/benchmark.py",
    "export": "deploy/export.py",
    "predict": "deploy/predict.py",
    "stream": "deploy/stream.py",
}


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


def guarded_command(action: Callable[[list[str]], None], argv: Sequence[str] | None) -> int:
    """Run a command under `guarded`, with the traceback if `--debug` is among its arguments.

    Args:
        action: the command, called with the arguments.
        argv: command line; None reads `sys.argv`.

    Returns:
        The exit code.
    """
    arguments = [str(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    return guarded(lambda: action(arguments), debug=has_debug(arguments))


def has_debug(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for tracebacks, in either spelling of `--debug`."""
    return bool(_DEBUG & {argument.lower() for argument in arguments})


def guarded(action: Callable[[], None], debug: bool = False) -> int:
    """Run a function and turn any exception into one line on stderr and an exit code.

    Ctrl-C, SIGTERM and a closed terminal raise `StopRequest`, a `KeyboardInterrupt`, inside the function.

    Args:
        action: function to run.
        debug: also print the traceback.

    Returns:
        0, or the exit code of the error.
    """
    logging.getLogger("ultralytics").addFilter(clean_record)  # adding it again changes nothing
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        raise StopRequest

    with on_stop_signals(stop):
        try:
            action()
            return 0
        except (KeyboardInterrupt, Exception) as error:
            if stopped and not isinstance(error, (KeyboardInterrupt, FGDError)):
                error = KeyboardInterrupt()  # a library turned the stop into an error of its own
            with suppress(OSError):  # the terminal is closed
                if debug:
                    print("\n".join(map(printable, traceback.format_exc().splitlines())), file=sys.stderr)
                print(_message(error), file=sys.stderr, flush=True)
            return getattr(error, "exit_code", FGDError.exit_code)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        # Not shortened: it may hold the command that resumes the run.
        return error_message(error) if str(error) else "stopped before anything was written"
    if isinstance(error, FGDError):
        return shortened(f"error: {error_message(error)}")
    if isinstance(error, ModuleNotFoundError) and error.name in _TRAIN_MODULES:
        return f"error: this needs {error.name}: pip install 'fgd_yolo[train]'"
    return shortened(f"error: {type(error).__name__}: {error_message(error)} (--debug shows where)")


def print_status(text: str, stage: int | None = None) -> None:
    """Print one line of at most 300 characters and flush it.

    Args:
        text: the line; it is made printable and shortened.
        stage: number of the stage that starts, printed in front; None indents the line instead.
    """
    text = shortened(printable(text))
    print(f"[{stage}/{STAGES}] {text}" if stage else f"      {text}", flush=True)


def format_duration(seconds: float) -> str:
    """Return a duration with at most two units: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def format_classes(names: Mapping[int, str], most: int = 4) -> str:
    """Return the number of classes and the first names: `2 classes (cat, dog)`.

    Args:
        names: class names by number.
        most: how many names to list.
    """
    first = ", ".join(shortened(printable(name), 40) for name in list(names.values())[:most])
    return f"{len(names)} class{'es' * (len(names) != 1)} ({first}{', ...' if len(names) > most else ''})"


def command_name(name: str) -> str:
    """Return the words that start a command in a shell: `fgd-yolo`, or a script if one of this checkout is running.

    Python and `fgd-yolo` are those of the running environment, which may not be on the PATH. A script is named only if
    `fgd-yolo` is not installed from its checkout.

    Args:
        name: a command, such as "distill".
    """
    running, installed = Path(sys.argv[0]), Path(sys.executable).with_name("fgd-yolo")
    is_script = f"{running.parent.name}/{running.name}" in _SCRIPTS.values()
    if is_script and not (installed.is_file() and _is_installed_from(running.absolute().parents[1])):
        return f"{_program(Path(sys.executable))} {shlex.quote(str(running.parent.parent / _SCRIPTS[name]))}"
    on_path = shutil.which("fgd-yolo")
    if not installed.is_file() or (on_path and installed.samefile(on_path)):
        return f"fgd-yolo {name}"
    return f"{_program(installed)} {name}"


def _is_installed_from(checkout: Path) -> bool:
    """Return whether this package is installed from a checkout, in place (PEP 610)."""
    try:
        origin = json.loads(distribution("fgd_yolo").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return False
    editable = origin.get("dir_info", {}).get("editable", False)
    return editable and origin.get("url") == checkout.resolve().as_uri()


def _program(path: Path) -> str:
    """Return a program's path for a shell, which would search the PATH for a name without a folder."""
    text = display_path(path)
    return shlex.quote(text if "/" in text or "\\" in text else f"./{text}")


def resume_command(run_dir: Path) -> str:
    """Return the command line that resumes a distillation, quoted for a shell."""
    return f"{command_name('distill')} --resume {shlex.quote(display_path(run_dir))}"


def display_path(path: Path) -> str:
    """Return a path relative to the current folder if it lies inside, otherwise unchanged."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def short_names(files: Sequence[Path]) -> list[str]:
    """Return names of files for messages, each with as many of its folders as tell all of them apart."""
    names: list[str] = []
    for parts in range(1, max((len(file.parts) for file in files), default=0) + 1):
        names = [printable("/".join(file.parts[-parts:])) for file in files]
        if len(set(names)) == len(names):
            break
    return names


def progress(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Yield `items` with a progress bar on stderr; without a terminal, one line gives their number instead."""
    from tqdm import tqdm  # imported late, so that importing this module stays cheap

    live = sys.stderr.isatty()
    if not live:
        print(f"{description}: {len(items)}", file=sys.stderr, flush=True)
    yield from tqdm(items, desc=description, disable=not live)
