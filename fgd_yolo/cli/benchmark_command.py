"""The benchmark command: the loss against plain torch, inference across precisions, streams against bare threads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgd_yolo.console import Parser, guarded_command, positive_int
from fgd_yolo.timing import format_number, ratio

if TYPE_CHECKING:
    from benchmarks.loss import Comparison, Level

EXAMPLES = """\
examples:
  %(prog)s loss
  OMP_NUM_THREADS=1 %(prog)s loss --repeats 20
  %(prog)s inference
  %(prog)s inference --weights student.pt --data data.yaml --imgsz 320 640 --threads 1 2
  %(prog)s stream --model student.onnx student-int8.onnx
"""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the benchmark command and return the exit code.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run(words: list[str]) -> None:
        said = _parser(prog).parse_args(words)
        said.run(said)

    return guarded_command(run, argv)


def run_loss(said: argparse.Namespace) -> None:
    """Compare the losses on every kind of device there is, and print a table for each."""
    # Only now, since it loads torch, for which --help should not wait.
    import torch

    from benchmarks.loss import Level, compare

    level = Level()
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        print(table(level, compare(level, device, said.repeats)), flush=True)


def run_inference(said: argparse.Namespace) -> None:
    """Export a detector in every precision, and print a table for each input size."""
    from fgd_yolo.benchmark.inference_report import report

    for part in report(said.weights, said.data, said.imgsz, said.threads, said.rounds):
        print(part, flush=True)


def run_stream(said: argparse.Namespace) -> None:
    """Measure the stream pipeline and print a table."""
    from benchmarks.streams import report

    print(report(said.model, said.threads, said.rounds), flush=True)


def table(level: Level, found: Comparison) -> str:
    """Return a comparison as lines of text; both ratios are yardstick over ours."""
    rows = [
        f"{name:<10} {cost.seconds * 1e3:>18.1f} ms {cost.extra_bytes / 2**20:>17.0f} MiB"
        for name, cost in (("yardstick", found.yardstick), ("fgd_yolo", found.ours))
    ]
    shape = (level.images, level.teacher_channels, level.cells, level.cells)
    faster = format_number(ratio(found.yardstick.seconds, found.ours.seconds), ".2f", " x faster")
    smaller = format_number(ratio(found.yardstick.extra_bytes, found.ours.extra_bytes), ".2f", " x smaller")
    return "\n".join(
        [
            f"FGD loss of one level: maps {shape}, student {level.student_channels} channels, "
            f"{level.boxes} boxes per image",
            f"on {found.machine}; losses and gradients agree within {found.error:.0e}",
            f"{'':<10} {'forward + backward':>21} {'peak extra memory':>21}",
            *rows,
            f"{'ratio':<10} {faster:>21} {smaller:>21}",
        ]
    )


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Measure a part of fgd_yolo against a yardstick, on this machine.",
        epilog=EXAMPLES,
    )
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    loss = commands.add_parser("loss", help="time and memory of the FGD loss of one level")
    loss.add_argument("--repeats", type=positive_int, default=10, metavar="N", help="timed rounds (default: 10)")
    loss.set_defaults(run=run_loss)
    inference = commands.add_parser("inference", help="precisions and runtimes of an exported detector")
    weights = "a .pt checkpoint (default: YOLOv8n with random weights, speed alone)"
    inference.add_argument("--weights", type=Path, metavar="FILE", help=weights)
    data = "dataset for calibration and mAP (default: what the weights name, or the demo scenes)"
    inference.add_argument("--data", metavar="YAML", help=data)
    number = {"type": positive_int, "metavar": "N"}
    inference.add_argument("--imgsz", nargs="+", default=[320, 640], help="input sides (default: 320 640)", **number)
    inference.add_argument("--threads", nargs="+", default=[1, 2], help="CPU threads (default: 1 2)", **number)
    inference.add_argument("--rounds", default=60, help="timed rounds (default: 60)", **number)
    inference.set_defaults(run=run_inference)
    stream = commands.add_parser("stream", help="the stream pipeline against bare threads and Ultralytics")
    model = "ONNX files of a fixed size (default: YOLOv8n of 320 px with random weights, fp32 and int8)"
    stream.add_argument("--model", nargs="+", type=Path, metavar="FILE", help=model)
    stream.add_argument("--threads", default=2, help="of each contestant (default: 2)", **number)
    stream.add_argument("--rounds", default=5, help="turns of each contestant (default: 5)", **number)
    stream.set_defaults(run=run_stream)
    for command in (loss, inference, stream):
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
