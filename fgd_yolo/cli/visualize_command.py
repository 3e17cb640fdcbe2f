"""`fgd-yolo visualize` and `tools/visualize.py`: draw the attention of teacher and student on images."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command, positive_int

EXAMPLES = [
    ("--run runs/distill/yolov8n", "a finished distillation: its student before and after, on val images"),
    ("--run runs/distill/yolov8n --before plain/student.pt", "next to a student that had no teacher"),
    ("--teacher t.pt --before a.pt --after b.pt --source images", "any three checkpoints, on your images"),
]
NOTES = (
    "Boxes come from the label files; for images without one, from the teacher's detections. Channel attention is "
    "compared if student and teacher have equally many channels, or if the run's fgd_last.safetensors is beside the "
    "student."
)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Draw the figures and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(argv: list[str]) -> None:
        args = build_parser(prog).parse_args(argv)
        # Imported late: loads torch, which --help does not need.
        from fgd_yolo.workflow.visualize import VisualizeOptions, run_options, visualize

        models = (args.teacher, args.before, args.after)
        options = VisualizeOptions(*models, tuple(args.source), args.imgsz, args.temperature)
        if args.run is not None:
            options = run_options(args.run, options)
        place = {"project": args.project, "name": args.name}
        visualize(options.validated(), count=args.count, device=args.device, **place)

    return guarded_command(run, argv)


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="Draw the attention of a teacher, and of its student before and after distillation, with FGD's "
        "masks: one figure per image, and a table of the differences.",
        examples=EXAMPLES,
        epilog=NOTES,
    )
    add = parser.add_argument_group("models and images").add_argument
    help_text = "run folder of distill, which supplies teacher, both students and the val images"
    add("--run", type=Path, metavar="RUN", help=help_text)
    add("--teacher", type=Path, metavar="FILE", help="checkpoint of the teacher")
    help_text = "checkpoint of the student before distillation (default with --run: rebuilt from the seed)"
    add("--before", type=Path, metavar="FILE", help=help_text)
    add("--after", type=Path, metavar="FILE", help="checkpoint of the student after distillation")
    help_text = "images, folders, quoted patterns, or a dataset YAML for its val images"
    add("--source", nargs="+", action="extend", default=[], metavar="IMAGES", help=help_text)
    add("--count", type=positive_int, default=8, metavar="N", help="images to draw (default: %(default)s)")
    add = parser.add_argument_group("attention").add_argument
    add("--imgsz", type=positive_int, metavar="N", help="input size in pixels (default: as in training)")
    help_text = "temperature of the attention (default: that of the run, or of the fgd method)"
    add("--temperature", type=_positive, metavar="F", help=help_text)
    add("--device", metavar="DEVICE", help="cpu, 0, mps, ... (default: the first GPU, or the CPU)")
    add = parser.add_argument_group("output").add_argument
    help_text = "parent of the folder for the figures (default: %(default)s)"
    add("--project", type=Path, default=Path("runs/visualize"), metavar="DIR", help=help_text)
    help_text = "name of the folder, numbered if it exists (default: that of the student's folder)"
    add("--name", metavar="NAME", help=help_text)
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got '{text}'")
    return value
