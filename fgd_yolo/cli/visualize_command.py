"""The visualize command: attention of teacher and student on the user's own images."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command, positive_int

EXAMPLES = """examples:
  %(prog)s --run runs/distill/yolov8n
      a distillation of this machine: its student before and after, on the first val images
  %(prog)s --run runs/distill/yolov8n --before runs/distill/plain/student.pt
      the distilled student beside one that was trained without a teacher
  %(prog)s --teacher teacher.pt --before start.pt --after best.pt --source photos --count 4
  %(prog)s --teacher teacher.pt --before a.pt --after b.pt --source data.yaml --imgsz 640 --output attention

Boxes are those of the label files, or else what the teacher detects. Channels are compared where student and
teacher are equally wide, or where the distillation's fgd_last.safetensors lies beside the student.
"""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Draw the pictures and return the exit code: 0 done, 1 failed, 2 wrong usage.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run(words: list[str]) -> None:
        said = _parser(prog).parse_args(words)
        # Only now, since it loads torch, for which --help should not wait.
        from fgd_yolo.workflow.visualize import visualize
        from fgd_yolo.workflow.visualize_subject import Subject, of_run

        models = (said.teacher, said.before, said.after)
        subject = Subject(*models, tuple(said.source), said.imgsz, said.temperature)
        subject = subject if said.run is None else of_run(said.run, subject)
        visualize(subject.complete(), count=said.count, output=said.output, device=said.device)

    return guarded_command(run, argv)


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Draw where a teacher looks, where its student looks before and after distillation, and the "
        "weights that FGD gives to every cell: one figure for each image, and a table of the gaps.",
        epilog=EXAMPLES,
    )
    help_text = "run folder of distill; gives all that is not said: teacher, student, its start, val images"
    parser.add_argument("--run", type=Path, metavar="RUN", help=help_text)
    parser.add_argument("--teacher", type=Path, metavar="FILE", help=".pt of the teacher")
    help_text = ".pt of the student before (with --run: its start, rebuilt from the seed)"
    parser.add_argument("--before", type=Path, metavar="FILE", help=help_text)
    parser.add_argument("--after", type=Path, metavar="FILE", help=".pt of the same student after")
    help_text = "pictures, folders, patterns in quotes, or a dataset YAML for its val images"
    parser.add_argument("--source", nargs="+", action="extend", default=[], metavar="IMAGES", help=help_text)
    help_text = "side of the network's input in pixels (default: as the student was trained)"
    parser.add_argument("--imgsz", type=positive_int, metavar="N", help=help_text)
    help_text = "T of the attentions (default: 0.5, or the run's)"
    parser.add_argument("--temperature", type=_positive, metavar="T", help=help_text)
    parser.add_argument("--count", type=positive_int, default=8, metavar="N", help="images to draw (default: 8)")
    help_text = "folder of the pictures (default: runs/visualize/NAME, numbered)"
    parser.add_argument("--output", type=Path, metavar="DIR", help=help_text)
    parser.add_argument("--device", metavar="D", help="cpu, 0, mps, ... (default: the first GPU, or else the CPU)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not '{text}'")
    return value
