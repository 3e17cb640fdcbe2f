"""`fgd-yolo visualize` and `tools/visualize.py`: draw the attention of teacher and student on images."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command, positive_int

EXAMPLES = [
    ("--run runs/distill/yolov8n", "a finished distillation: its student before and after, on the first val images"),
    (
        "--run runs/distill/yolov8n --before runs/distill/plain/student.pt",
        "the distilled student next to one that was trained without a teacher",
    ),
    (
        "--teacher teacher.pt --before start.pt --after best.pt --source images",
        "any three checkpoints, on images of a folder",
    ),
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
        visualize(options.validated(), count=args.count, output=args.output, device=args.device)

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
    help_text = "run folder of distill, which supplies teacher, both students and the val images"
    parser.add_argument("--run", type=Path, metavar="RUN", help=help_text)
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="checkpoint of the teacher")
    help_text = "checkpoint of the student before distillation (default with --run: rebuilt from the seed)"
    parser.add_argument("--before", type=Path, metavar="FILE", help=help_text)
    parser.add_argument("--after", type=Path, metavar="FILE", help="checkpoint of the student after distillation")
    help_text = "images, folders, quoted patterns, or a dataset YAML for its val images"
    parser.add_argument("--source", nargs="+", action="extend", default=[], metavar="IMAGES", help=help_text)
    help_text = "input size in pixels (default: as in training)"
    parser.add_argument("--imgsz", type=positive_int, metavar="N", help=help_text)
    help_text = "temperature of the attention (default: that of the run, or of the fgd method)"
    parser.add_argument("--temperature", type=_positive, metavar="T", help=help_text)
    parser.add_argument(
        "--count", type=positive_int, default=8, metavar="N", help="images to draw (default: %(default)s)"
    )
    help_text = "folder for the figures (default: runs/visualize/NAME, numbered)"
    parser.add_argument("--output", type=Path, metavar="DIR", help=help_text)
    parser.add_argument("--device", metavar="D", help="cpu, 0, mps, ... (default: the first GPU, or the CPU)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got '{text}'")
    return value
