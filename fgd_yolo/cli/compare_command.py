"""`fgd-yolo compare` and `tools/compare.py`: compare distillation methods over seeds and data sets."""

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

EXAMPLES = [
    (
        "--data data.yaml --teacher teacher.pt --student yolov8n --methods plain fgd",
        "three seeds of plain training and of FGD",
    ),
    (
        "--data data.yaml --teacher teacher.pt --student yolov8n --methods fgd fgd:heads.ratio=1 --val-fraction 0.2",
        "choose an option on a part of the train images",
    ),
    ("--report runs/compare/yolov8n", "write the report of a comparison again"),
]
NOTES = """\
methods:
  plain                 no distillation
  fgd, fitnet, ...      a recipe of distill --recipe, or a recipe file
  ultralytics           Ultralytics' own distillation, distill_model=
Options of a method follow a colon: those of FGDConfig (dis for ultralytics), and the loss gains box, cls and dfl:
  fgd:features.attn_weight=0                                   without the attention term
  fgd:heads.ratio=1                           a larger gradient from the heads
  fgd:schedule.decay_start=1,schedule.decay_end=1                       without decay
  fgd:schedule.warmup_epochs=0                                 without warm-up
  heads                                               the heads alone
  scale-free                                          the features alone
  scale-free:features.rel_weight=0                             the focal terms alone
  scale-free:features.fg_weight=0,features.bg_weight=0,features.attn_weight=0    the global term alone
  ultralytics:dis=3                                   another loss gain

On the demo scenes, epochs, imgsz and batch have defaults of the demo.
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
    parser = build_parser(prog)
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
    # argparse adds train arguments that follow a list option to that list.
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
        val_fraction=args.val_fraction,
        runs=args.runs or [],
        allow_download=args.allow_download,
    )


def _split_assignments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the values of a list option into its own and the `key=value` train arguments after them."""
    assignments = [word for word in words if "=" in word.partition(":")[0]]
    return [word for word in words if word not in assignments], assignments


def _seeds(words: Sequence[str], first: int | None) -> list[int]:
    """Return the seeds: a single number is the number of seeds, several numbers are the seeds."""
    for word in words:
        if not word.isdecimal():
            raise UsageError(f"--seeds must be integers, got '{word}'")
    numbers = [int(word) for word in words]
    if len(numbers) > 1:
        if first is not None or len(set(numbers)) < len(numbers):
            raise UsageError("several numbers after --seeds must be different, and cannot be used with --first-seed")
        return numbers
    if numbers == [0]:
        raise UsageError("--seeds 0 makes no run: a single number is the number of seeds; use --seeds 1 for seed 0")
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


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="Train a student with several methods under equal conditions, and write a report of the paired "
        "differences.",
        examples=EXAMPLES,
        epilog=NOTES,
    )
    add = parser.add_argument
    several: dict[str, Any] = {"action": "append"}
    add(
        "--data",
        metavar="YAML",
        help="dataset YAML, or demo for the demo scenes; repeatable (default: demo)",
        **several,
    )
    add("--teacher", metavar="MODEL", help="teacher: one for all data sets, or one for each, in order", **several)
    add("--student", metavar="MODEL", help="student: a name such as yolov8n, or a .pt or .yaml file")
    add("--methods", nargs="+", default=[], metavar="METHOD", help="methods to compare (see below)")
    add(
        "--seeds",
        nargs="+",
        default=[],
        metavar="N",
        help="number of seeds, or two or more seeds (default: 3 seeds)",
    )
    add("--first-seed", type=_seed, metavar="N", help="first seed, if --seeds is a number of seeds (default: 0)")
    add("--epochs", metavar="N", help="training epochs of each run (default: as Ultralytics)")
    add("--imgsz", metavar="N", help="input size in pixels (default: as Ultralytics)")
    add("--batch", metavar="N", help="images per batch (default: as Ultralytics)")
    add("--device", metavar="D", help="cpu, 0, mps, ... (default: the first GPU, or the CPU)")
    add("--jobs", type=positive_int, default=1, metavar="N", help="number of runs in parallel (default: %(default)s)")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of the results; a comparison in it is resumed (default: runs/compare)",
    )
    add(
        "--val-fraction",
        type=_fraction,
        default=0.0,
        metavar="F",
        help="fraction of the train images to measure on, not on val",
    )
    add(
        "--runs",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="run folders of distill or Ultralytics to include",
    )
    add("--report", type=Path, metavar="DIR", help="only write the report of this folder again")
    add(
        "--allow-download",
        action="store_true",
        help="let --data download missing images; the script is printed first",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    add("train_args", nargs="*", metavar="key=value", help="any Ultralytics train argument, the same for all methods")
    return parser
