"""The compare command: compare methods over seeds and data sets, with a report."""

from __future__ import annotations

import shlex
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fgd_yolo.compare.options import DEMO, ComparisonOptions, parse_methods
from fgd_yolo.console import Parser, guarded_command, positive_int
from fgd_yolo.errors import FGDError, UsageError, close_match
from fgd_yolo.train_arguments import parse_assignments, parse_value

EXAMPLES = """\
examples:
  %(prog)s --data data.yaml --teacher teacher.pt --student yolov8n --methods plain ultralytics fitnet fgd --seeds 3
  %(prog)s --data a.yaml --teacher a.pt --data b.yaml --teacher b.pt --student yolov8n --methods plain fgd
  %(prog)s --data data.yaml --teacher t.pt --student yolov8n --methods fgd fgd:head_gradient_ratio=1 --hold-out 0.2
      choose a setting without using the val split
  %(prog)s --runs runs/distill/plain runs/distill/fgd
      compare finished runs
  %(prog)s --report runs/compare
      write the report again, from runs.csv

A method is ultralytics (its own distill_model=), fgd (the default recipe), another recipe or a recipe file. Changes
follow a colon: options of FGDConfig or, for ultralytics, dis. Common ablations:
  heads    scale-free                           the heads alone, the features alone
  scale-free:rel_weight=0                       the focal terms alone
  scale-free:fg_weight=0,bg_weight=0,attn_weight=0    the global term alone
  fgd:attn_weight=0                             without the attention term
  fgd:head_gradient_ratio=1    fgd:decay_start=1,decay_end=1    fgd:warmup_epochs=0    ultralytics:dis=3
"""
_TRAIN = ("epochs", "imgsz", "batch", "device")
_NEEDED = {"torch": "train", "ultralytics": "train", "pycocotools": "compare", "jinja2": "compare"}


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the comparison and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(argv: list[str]) -> None:
        args = _parse_args(argv, prog)
        options = None if args.report else _options(args)
        _check_installed()
        # Imported late: loads torch, which --help and usage errors do not need.
        from fgd_yolo.compare.comparison import compare, rewrite_report

        if options is None:
            rewrite_report(args.report)
        else:
            compare(options, f"{prog or 'python tools/compare.py'} {shlex.join(argv)}")

    return guarded_command(run, argv)


def _parse_args(argv: Sequence[str], prog: str | None) -> Namespace:
    parser = _parser(prog)
    args, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        raise UsageError(f"unknown option '{unknown[0]}'{close_match(unknown[0], parser.flags)} (see --help)")
    given = [name for name, value in vars(args).items() if value != parser.get_default(name)]
    if args.report and set(given) - {"report", "debug", "train_args"} | set(args.train_args):
        raise UsageError("--report writes the report of a folder again and accepts no other option")
    return args


def parse(argv: Sequence[str]) -> ComparisonOptions:
    """Parse the command line of a comparison.

    Raises:
        UsageError: an option is unknown, invalid, given more than once or contradicts another.
    """
    return _options(_parse_args(argv, None))


def _options(args: Namespace) -> ComparisonOptions:
    # argparse adds train arguments that follow a list to that list.
    methods, after_methods = _split_assignments(args.methods)
    seeds, after_seeds = _split_assignments(args.seeds)
    train = {key: parse_value(getattr(args, key)) for key in _TRAIN if getattr(args, key) is not None}
    train |= parse_assignments([*args.train_args, *after_methods, *after_seeds], known=train)
    return ComparisonOptions(
        output=args.output or Path("runs/compare"),
        data=args.data or [DEMO],
        teachers=args.teacher or [],
        student=args.student,
        methods=parse_methods(methods),
        seeds=_seeds(seeds, args.first_seed) if methods else [],
        train=train,
        jobs=args.jobs,
        hold_out=args.hold_out,
        runs=args.runs or [],
        allow_download=args.allow_download,
    )


def _split_assignments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a list into its own words and the `key=value` words after them."""
    assignments = [word for word in words if "=" in word.partition(":")[0]]
    return [word for word in words if word not in assignments], assignments


def _seeds(words: Sequence[str], first: int | None) -> list[int]:
    """Return the seeds: one number is how many, several are the seeds themselves."""
    for word in words:
        if not word.isdecimal():
            raise UsageError(f"--seeds must be integers, got '{word}'")
    numbers = [int(word) for word in words]
    if len(numbers) > 1:
        if first is not None or len(set(numbers)) < len(numbers):
            raise UsageError("--seeds with several numbers lists each seed once and excludes --first-seed")
        return numbers
    if numbers == [0]:
        raise UsageError("--seeds 0 makes no run: one number is how many; for seed 0 alone use --seeds 1")
    start = first or 0
    return list(range(start, start + (numbers or [3])[0]))


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"must be an integer, got '{text}'")
    return int(text)


def _fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ArgumentTypeError(f"must be a fraction of the train images, such as 0.2, got '{text}'") from error


def _check_installed() -> None:
    for module, extra in _NEEDED.items():
        if find_spec(module) is None:
            raise FGDError(f"compare needs {module}: pip install 'fgd_yolo[{extra}]'")


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Train a student by several methods under equal conditions and compare them statistically.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    several: dict[str, Any] = {"action": "append"}
    add("--data", metavar="YAML", help="Ultralytics dataset, or demo; may be repeated (default: demo)", **several)
    add("--teacher", metavar="MODEL", help="one for all data sets, or one for each in their order", **several)
    add("--student", metavar="MODEL", help="name, .pt or .yaml of the model to train")
    add("--methods", nargs="+", default=[], metavar="METHOD", help="methods to compare, see below")
    add(
        "--seeds",
        nargs="+",
        default=[],
        metavar="N",
        help="number of seeds (default: 3); several numbers are the seeds",
    )
    add("--first-seed", type=_seed, metavar="N", help="first seed (default: 0)")
    add("--epochs", metavar="N", help="epochs of each run (default: 100; the demo has its own)")
    add("--imgsz", metavar="N", help="side of the network's input in pixels (default: 640; the demo has its own)")
    add("--batch", metavar="N", help="images per batch (default: 16; the demo has its own)")
    add("--device", metavar="D", help="cpu, 0, ... (default: the first GPU, or else the CPU)")
    add("--jobs", type=positive_int, default=1, metavar="N", help="runs in parallel (default: 1)")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of results (default: runs/compare); an existing comparison is resumed",
    )
    add("--hold-out", type=_fraction, default=0.0, metavar="F", help="measure on this fraction of train, not on val")
    add("--runs", nargs="+", type=Path, metavar="DIR", help="finished runs to include, of distill or of Ultralytics")
    add("--report", type=Path, metavar="DIR", help="write the report of this folder again")
    add("--allow-download", action="store_true", help="run the download script of a data YAML, which is printed first")
    add("--debug", action="store_true", help="show the traceback of an error")
    add("train_args", nargs="*", metavar="key=value", help="any Ultralytics train argument, for all methods")
    return parser
