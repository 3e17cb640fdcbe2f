"""The distill command, shared by `tools/distill.py` and `fgd-yolo distill`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fgd_yolo import __version__
from fgd_yolo.config import recipe_names
from fgd_yolo.console import Parser, guarded_command
from fgd_yolo.errors import UsageError, close_match

EXAMPLES = """\
examples:
  %(prog)s --teacher yolov8l --student yolov8n
      both on the built-in demo scenes
  %(prog)s --teacher teacher.pt --student yolov8n --data data.yaml --epochs 50 --imgsz 320 cos_lr=True
  %(prog)s --student yolov8n --data data.yaml --epochs 100 --config plain
      the same student without a teacher, to compare with
  %(prog)s --resume runs/distill/yolov8n
      go on with a run that was stopped
"""
_TRAIN_OPTIONS = ("epochs", "imgsz", "batch", "device")
_RUN_OPTIONS = ("teacher", "student", "data", "teacher_epochs", "config", "resume")


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the distill command and return the exit code.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run(words: list[str]) -> None:
        options = parse_distill(words, prog)
        # Only now, since it loads torch: neither --help nor a mistyped option should wait for that.
        from fgd_yolo.workflow.distill import distill

        distill(**options)

    return guarded_command(run, argv)


def parse_distill(words: Sequence[str], prog: str | None = None) -> dict[str, Any]:
    """Read the distill command line.

    Returns:
        Keyword arguments of `fgd_yolo.distill`; only what was said.

    Raises:
        UsageError: an unknown option or train argument, or a thing said twice.
    """
    from fgd_yolo.workflow.train_arguments import check_train_args, parse_assignments, parse_value

    parser = _distill_parser(prog)
    found, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        raise UsageError(f"unknown option '{unknown[0]}'{close_match(unknown[0], parser.flags)} (see --help)")
    said = vars(found)
    options = {key: said[key] for key in _RUN_OPTIONS if said[key] is not None}
    if said["allow_download"]:
        options["allow_download"] = True
    if "teacher_epochs" in options:
        options["teacher_epochs"] = parse_value(options["teacher_epochs"])
    train = {key: parse_value(said[key]) for key in _TRAIN_OPTIONS if said[key] is not None}
    assigned = parse_assignments(said["train_args"], known=[*options, *train])
    if "data" in assigned:
        options["data"] = assigned.pop("data")
    train |= assigned
    check_train_args(train)
    return {**options, **train}


def _distill_parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Distil an accurate YOLO into a small one, measure both, and export the student.",
        epilog=EXAMPLES,
    )
    options = {
        "--teacher": ("MODEL", "name or .pt of the accurate model, such as yolov8l"),
        "--student": ("MODEL", "name, .pt or .yaml of the small model, such as yolov8n"),
        "--data": ("YAML", "Ultralytics dataset (default: the built-in demo scenes)"),
        "--epochs": ("N", "epochs of the student (default: 100; the demo has its own)"),
        "--imgsz": ("N", "side of the network's input in pixels (default: 640; the demo has its own)"),
        "--batch": ("N", "images a step; -1 lets Ultralytics choose (default: 16)"),
        "--device": ("D", "cpu, 0, mps, ... (default: the first GPU, or else the CPU)"),
        "--teacher-epochs": (
            "N",
            "epochs of a teacher that must learn the data first (default: as the student's; 0: never)",
        ),
        "--config": ("RECIPE", f"a YAML file, or one of {', '.join(recipe_names())}"),
        "--resume": ("RUN", "go on with this run folder, with its own options"),
    }
    for flag, (metavar, help_text) in options.items():
        parser.add_argument(flag, metavar=metavar, help=help_text)
    help_text = "let a data YAML run its download script where images are missing; it is printed first"
    parser.add_argument("--allow-download", action="store_true", help=help_text)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"fgd-yolo {__version__}")
    help_text = "any Ultralytics train argument, anywhere on the line"
    parser.add_argument("train_args", nargs="*", metavar="key=value", help=help_text)
    return parser
