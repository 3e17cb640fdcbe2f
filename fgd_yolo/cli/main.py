"""`fgd-yolo COMMAND ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from fgd_yolo import __version__
from fgd_yolo.console import guarded
from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.text import shortened, single_line

# Imported when they are called: a camera box has no torch for the others.
COMMANDS = {
    "distill": "fgd_yolo.cli.distill_command",
    "export": "fgd_yolo.cli.export_command",
    "predict": "fgd_yolo.cli.predict_command",
    "stream": "fgd_yolo.cli.stream_command",
    "benchmark": "fgd_yolo.cli.benchmark_command",
    "compare": "fgd_yolo.cli.compare_command",
    "visualize": "fgd_yolo.cli.visualize_command",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fgd-yolo COMMAND ...` and return the exit code: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    usage = f"usage: fgd-yolo {{{','.join(COMMANDS)}}} ...   (fgd-yolo COMMAND --help tells more)"
    if words and words[0] in COMMANDS:
        code = 0

        def run() -> None:
            nonlocal code
            code = import_module(COMMANDS[words[0]]).main(words[1:], prog=f"fgd-yolo {words[0]}")

        # Each command guards its own work; this is for the seconds in which its modules are loaded.
        return guarded(run, debug="--debug" in words) or code
    if words and words[0] in {"-h", "--help"}:
        print(usage)
        return 0
    if words and words[0] == "--version":
        print(f"fgd-yolo {__version__}")
        return 0
    problem = f"unknown command '{words[0]}'{close_match(words[0], COMMANDS)}; " if words else ""
    print(shortened(single_line(f"error: {problem}{usage}")), file=sys.stderr)
    return UsageError.exit_code
