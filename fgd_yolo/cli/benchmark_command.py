"""`fgd-yolo benchmark` and `tools/benchmark.py`: time a detector in every precision and runtime."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fgd_yolo.console import Parser, guarded_command, positive_int

INFERENCE_EXAMPLES = [
    ("", "YOLOv8n with random weights"),
    ("--model student.pt --data data.yaml", "a trained detector, with the mAP of each precision"),
    ("--model student.pt --imgsz 320 --threads 1 2", "one input size, with one and two threads"),
]
EXAMPLES = [(f"inference {words}".strip(), explanation) for words, explanation in INFERENCE_EXAMPLES]


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a benchmark and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(arguments: list[str]) -> None:
        args = build_parser(prog).parse_args(arguments)
        args.run(args)

    return guarded_command(run, argv)


def run_inference(args: argparse.Namespace) -> None:
    """Export a detector in every precision, and print a table for each input size."""
    # Imported late: loads torch, which --help does not need.
    from fgd_yolo.inference_benchmark import benchmark_inference

    for part in benchmark_inference(args.model, args.data, args.imgsz, args.threads, args.rounds):
        print(part, flush=True)


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(prog=prog, description="Measure the speed of a detector on this machine.", examples=EXAMPLES)
    subcommands = parser.add_subparsers(required=True, title="benchmarks", metavar="BENCHMARK")
    inference = subcommands.add_parser(
        "inference",
        help="export a detector in every precision and time it",
        description="Export a detector in every precision, and time the files in onnxruntime and OpenVINO.",
        examples=INFERENCE_EXAMPLES,
    )
    add = inference.add_argument_group("model and data").add_argument
    help_text = ".pt checkpoint (default: YOLOv8n with random weights, without mAP)"
    add("--model", type=Path, metavar="FILE", help=help_text)
    help_text = "dataset for calibration and mAP (default: the training data, or the demo scenes)"
    add("--data", metavar="YAML", help=help_text)
    add = inference.add_argument_group("measurement").add_argument
    number: dict[str, Any] = {"type": positive_int, "metavar": "N"}
    several = {"nargs": "+", **number}
    add("--imgsz", default=[320, 640], help="input sizes in pixels (default: 320 640)", **several)
    add("--threads", default=[1, 2], help="numbers of CPU threads (default: 1 2)", **several)
    add("--rounds", default=60, help="timed runs of each variant (default: %(default)s)", **number)
    inference.set_defaults(run=run_inference)
    return parser
