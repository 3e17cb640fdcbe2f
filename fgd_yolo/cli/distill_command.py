"""`fgd-yolo distill` and `tools/distill.py`: distil a student, validate it and export it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fgd_yolo import __version__
from fgd_yolo.cfg import recipe_names
from fgd_yolo.console import Parser, guarded_command
from fgd_yolo.errors import UsageError, close_match

EXAMPLES = [
    ("--teacher yolov8l --student yolov8n", "try it: trains both on the built-in demo scenes"),
    ("--teacher teacher.pt --student yolov8n --data data.yaml --epochs 100", "your own teacher and data"),
    ("--resume runs/distill/yolov8n", "resume an interrupted run"),
]
_TRAIN_OPTIONS = ("epochs", "imgsz", "batch", "device")


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the distillation and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(arguments: list[str]) -> None:
        options = parse_distill(arguments, prog)
        # Imported late: loads torch, which --help and usage errors do not need.
        from fgd_yolo.workflow.distill import distill

        distill(**options)

    return guarded_command(run, argv)


def parse_distill(arguments: Sequence[str], prog: str | None = None) -> dict[str, Any]:
    """Parse the command line of a distillation.

    Returns:
        The keyword arguments of `fgd_yolo.distill` that were given.

    Raises:
        UsageError: an unknown option or train argument, or one given more than once.
    """
    from fgd_yolo.train_arguments import RUN_OPTIONS, check_train_args, parse_assignments, parse_value

    parser = build_parser(prog)
    namespace, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        raise UsageError(f"unknown option '{unknown[0]}'{close_match(unknown[0], parser.flags)} (see --help)")
    given = vars(namespace)
    options = {key: given[key] for key in RUN_OPTIONS if given[key] is not None}
    if given["allow_download"]:
        options["allow_download"] = True
    if "teacher_epochs" in options:
        options["teacher_epochs"] = parse_value(options["teacher_epochs"])
    train = {key: parse_value(given[key]) for key in _TRAIN_OPTIONS if given[key] is not None}
    assigned = parse_assignments(given["train_args"], known=[*options, *train])
    if "data" in assigned:
        options["data"] = assigned.pop("data")
    train |= assigned
    check_train_args(train)
    return {**options, **train}


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="Distil a large YOLO (teacher) into a small one (student), validate both and export the student to "
        "ONNX.",
        examples=EXAMPLES,
        epilog="On the demo scenes, epochs, imgsz and batch have defaults of the demo.",
    )
    options = {
        "--teacher": ("MODEL", "large model: a name such as yolov8l, or a .pt or .yaml file"),
        "--student": ("MODEL", "small model: a name such as yolov8n, or a .pt or .yaml file"),
        "--data": ("YAML", "dataset YAML (default: the built-in demo scenes)"),
        "--epochs": ("N", "training epochs of the student (default: as Ultralytics)"),
        "--imgsz": ("N", "input size in pixels (default: as Ultralytics)"),
        "--batch": ("N", "images per batch; -1 for AutoBatch (default: as Ultralytics)"),
        "--device": ("D", "cpu, 0, mps, ... (default: the first GPU, or the CPU)"),
        "--teacher-epochs": (
            "N",
            "epochs of fine-tuning for a teacher with other classes than the data (default: as --epochs; 0 forbids it)",
        ),
        "--recipe": ("RECIPE", f"recipe: a YAML file, or one of {', '.join(recipe_names())} (default: fgd)"),
        "--resume": ("RUN", "run folder to resume, with the options it was started with"),
    }
    for flag, (metavar, help_text) in options.items():
        parser.add_argument(flag, metavar=metavar, help=help_text)
    help_text = "let --data download missing images; the script is printed first"
    parser.add_argument("--allow-download", action="store_true", help=help_text)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"fgd-yolo {__version__}")
    help_text = "any Ultralytics train argument, such as lr0=0.001"
    parser.add_argument("train_args", nargs="*", metavar="key=value", help=help_text)
    return parser
