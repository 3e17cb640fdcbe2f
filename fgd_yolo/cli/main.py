# PYTHON_ARGCOMPLETE_OK
"""The `fgd-yolo` program, which passes its arguments to one of the commands."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module

from fgd_yolo import __version__
from fgd_yolo.console import COMPLETION, Parser, guarded, has_debug
from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.text import shortened, single_line

# Modules are imported when a command is called: a camera box has no torch, which some of them need.
COMMANDS = {
    "distill": ("fgd_yolo.cli.distill_command", "distil a large YOLO into a small one, and export it"),
    "recipes": ("fgd_yolo.cli.recipes_command", "list the recipes of a distillation, or print one"),
    "export": ("fgd_yolo.cli.export_command", "export a checkpoint to ONNX: float32, float16 or int8"),
    "predict": ("fgd_yolo.cli.predict_command", "run an exported detector on images"),
    "stream": ("fgd_yolo.cli.stream_command", "run an exported detector on cameras and videos"),
    "compare": ("fgd_yolo.cli.compare_command", "compare distillation methods over seeds and data sets"),
    "disagree": ("fgd_yolo.cli.disagree_command", "find the frames on which a student and its teacher disagree"),
    "visualize": ("fgd_yolo.cli.visualize_command", "draw the attention of a teacher and its student"),
    "benchmark": ("fgd_yolo.cli.benchmark_command", "measure the speed of a detector on this machine"),
}
SWITCH_ON = 'eval "$(register-python-argcomplete fgd-yolo)"'
"""Line for the start-up file of bash or zsh that switches completion on."""
_SEE_HELP = "(see fgd-yolo --help)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fgd-yolo COMMAND ...` and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
    """
    if COMPLETION in os.environ:
        _complete()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        code = 0

        def run() -> None:
            nonlocal code
            module, _ = COMMANDS[words[0]]
            code = import_module(module).main(words[1:], prog=f"fgd-yolo {words[0]}")

        # Each command guards its own work; this guard covers the seconds in which its modules are loaded.
        return guarded(run, debug=has_debug(words)) or code
    if words and words[0] in {"-h", "--help"}:
        return guarded(lambda: print(_help()))
    if words and words[0] == "--version":
        return guarded(lambda: print(f"fgd-yolo {__version__}"))
    problem = f"unknown command '{words[0]}'{close_match(words[0], COMMANDS)}" if words else "missing command"
    print(shortened(single_line(f"error: {problem} {_SEE_HELP}")), file=sys.stderr)
    return UsageError.exit_code


def parsers() -> dict[str, Parser]:
    """Return the parser of every command by its name, such as `distill` or `benchmark inference`.

    Imports no torch.
    """
    found = {}
    for name, (module, _) in COMMANDS.items():
        parser = import_module(module).build_parser(f"fgd-yolo {name}")
        found |= {f"{name} {part}": command for part, command in parser.commands.items()} or {name: parser}
    return found


def _complete() -> None:
    """Print the completions of a line and exit."""
    from fgd_yolo.completion import command_word, complete  # loads argcomplete, which nothing else needs

    command = command_word()
    if command in COMMANDS:
        complete(import_module(COMMANDS[command][0]).build_parser(f"fgd-yolo {command}"), command=True)
    parser = ArgumentParser("fgd-yolo")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--version", action="version")
    complete(parser)


def _help() -> str:
    width = len("-h, --help")
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: fgd-yolo COMMAND [options]\n",
            "Distil a large YOLO into a small one, export it and run it on images and cameras.\n",
            "commands:",
            *lines,
            "\noptions:",
            f"  {'-h, --help':{width}}  show this help message and exit",
            f"  {'--version':{width}}  show the version and exit",
            "\n'fgd-yolo COMMAND --help' shows examples and options of a command.",
            f"Shell completion (bash, zsh): {SWITCH_ON}",
        ]
    )
