"""`fgd-yolo disagree` and `tools/disagree.py`: the frames on which a student and its teacher disagree most."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command, positive_int

EXAMPLES = [
    (
        "--model best.pt --teacher t.pt --source images --top 50",
        "a page, and a start for the labels of 50 frames",
    ),
    ("--model best.onnx --teacher t.pt --source images", "the exported file that runs on the box"),
    ("--model best.pt --teacher t.pt --source video.mp4 --conf 0.6", "a video; only sure objects count"),
]
NOTES = (
    "The disagreement of a frame is the sum, over the objects of which at least one model is confident, of the "
    "difference between their scores, 0 for a model that does not see the object. Agreement with the teacher is not "
    "accuracy: the teacher may be the one that is wrong."
)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Write the page and the frames, and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(argv: list[str]) -> None:
        args = build_parser(prog).parse_args(argv)
        # Imported late: loads torch, which --help does not need.
        from fgd_yolo.disagreement.disagree import DisagreeOptions, disagree

        disagree(
            DisagreeOptions(
                student=args.model,
                teacher=args.teacher,
                sources=tuple(args.source),
                top=args.top,
                classes=tuple(args.classes),
                confident=args.conf,
                imgsz=args.imgsz,
                device=args.device,
                output=args.output,
            )
        )

    return guarded_command(run, argv)


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="Find the frames on which a student and its teacher disagree most: a page that shows them side by "
        "side, the numbers of all frames, and a data set with the teacher's objects as a start for labels.",
        examples=EXAMPLES,
        epilog=NOTES,
    )
    add = parser.add_argument_group("models and frames").add_argument
    add("--model", required=True, type=Path, metavar="FILE", help="student: a checkpoint, or a file exported to ONNX")
    add("--teacher", required=True, type=Path, metavar="FILE", help="checkpoint of the teacher")
    help_text = "folders, images, list files, videos, or what stream has recorded; repeatable"
    add("--source", required=True, nargs="+", action="extend", metavar="PATH", help=help_text)
    help_text = "names of the classes to compare (default: all that both models know)"
    add("--classes", nargs="+", default=[], metavar="CLASS", help=help_text)
    help_text = "score from which a model is confident of an object (default: %(default)s)"
    add("--conf", type=_score, default=0.5, metavar="F", help=help_text)
    add("--imgsz", type=positive_int, metavar="N", help="input size of checkpoints in pixels (default: as in training)")
    add("--device", metavar="DEVICE", help="cpu, 0, mps, ... (default: the first GPU, or the CPU)")
    add = parser.add_argument_group("output").add_argument
    add("--top", type=positive_int, default=50, metavar="N", help="frames to show and to label (default: %(default)s)")
    help_text = "new folder to write (default: runs/disagree with the name of the student, numbered if it exists)"
    add("--output", type=Path, metavar="DIR", help=help_text)
    return parser


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, got '{text}'")
    return value
