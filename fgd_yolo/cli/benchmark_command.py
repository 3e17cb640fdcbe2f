"""`fgd-yolo benchmark inference`: time a detector in every precision and runtime."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command, positive_int

EXAMPLES = """\
examples:
  %(prog)s inference
  %(prog)s inference --weights student.pt --data data.yaml --imgsz 320 640 --threads 1 2
"""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the benchmark command and return the exit code.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the program name in the help.
    """

    def run(arguments: list[str]) -> None:
        args = _parser(prog).parse_args(arguments)
        args.run(args)

    return guarded_command(run, argv)


def run_inference(args: argparse.Namespace) -> None:
    """Export a detector in every precision, and print a table for each input size."""
    # Imported here, since it loads torch, which --help should not wait for.
    from fgd_yolo.inference_benchmark import benchmark_inference

    for part in benchmark_inference(args.weights, args.data, args.imgsz, args.threads, args.rounds):
        print(part, flush=True)


def _parser(prog: str | None) -> Parser:
    parser = Parser(prog=prog, description="Measure the speed of a detector on this machine.", epilog=EXAMPLES)
    subcommands = parser.add_subparsers(required=True, metavar="WHAT")
    inference = subcommands.add_parser("inference", help="precisions and runtimes of an exported detector")
    inference.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="a .pt checkpoint (default: YOLOv8n with random weights, for speed alone)",
    )
    inference.add_argument(
        "--data",
        metavar="YAML",
        help="dataset for calibration and mAP (default: the one that the weights name, or the demo scenes)",
    )
    number = {"type": positive_int, "metavar": "N"}
    inference.add_argument("--imgsz", nargs="+", default=[320, 640], help="input sizes (default: 320 640)", **number)
    inference.add_argument("--threads", nargs="+", default=[1, 2], help="CPU threads (default: 1 2)", **number)
    inference.add_argument("--rounds", default=60, help="timed runs of each variant (default: 60)", **number)
    inference.add_argument("--debug", action="store_true", help="show the traceback of an error")
    inference.set_defaults(run=run_inference)
    return parser
