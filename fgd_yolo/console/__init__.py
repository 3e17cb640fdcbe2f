"""What all commands share.

- `parser.py`: the parser, with help that starts with examples
- `guard.py`: errors as one line and an exit code
- `command_names.py`: how a command is written in a shell
- `status_lines.py`: status, durations, classes, paths and progress
"""

from fgd_yolo.console.command_names import command_name, resume_command
from fgd_yolo.console.guard import guarded, guarded_command, has_debug
from fgd_yolo.console.parser import COMPLETION, Parser, described, offer, positive_int
from fgd_yolo.console.status_lines import (
    display_path,
    format_classes,
    format_duration,
    print_status,
    progress,
    short_names,
)

__all__ = [
    "COMPLETION",
    "Parser",
    "command_name",
    "described",
    "display_path",
    "format_classes",
    "format_duration",
    "guarded",
    "guarded_command",
    "has_debug",
    "offer",
    "positive_int",
    "print_status",
    "progress",
    "resume_command",
    "short_names",
]
