"""The compare command: methods against each other over seeds and data sets, with a report."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fgd_yolo.compare.method_specs import parse_methods
from fgd_yolo.compare.options import DEMO, Options
from fgd_yolo.console import Parser, guarded_command
from fgd_yolo.errors import FGDError, UsageError, close_match
from fgd_yolo.workflow.train_arguments import parse_assignments, parse_value

EXAMPLES = """\
examples:
  %(prog)s --data data.yaml --teacher teacher.pt --student yolov8n --methods plain ultralytics fitnet fgd --seeds 3
  %(prog)s --data a.yaml --teacher a.pt --data b.yaml --teacher b.pt --student yolov8n --methods plain fgd
  %(prog)s --data data.yaml --teacher t.pt --student yolov8n --methods fgd fgd:head_gradient_ratio=1 --hold-out 0.2
      choose a setting without looking at the val split
  %(prog)s --runs runs/distill/plain runs/distill/fgd
      compare runs that are finished
  %(prog)s --report runs/compare
      write the report again, from runs.csv

a method is plain, ultralytics (its own distill_model=), fitnet, fgd, a shipped recipe or a recipe file; changes follow
a colon: fields of FGDConfig or, for ultralytics, dis. Usual ablations:
  heads    scale-free                           the heads alone, the features alone
  scale-free:rel_weight=0                       the focal part alone
  scale-free:fg_weight=0,bg_weight=0,attn_weight=0    the global part alone
  fgd:attn_weight=0                             without imitation of the attention
  fgd:head_gradient_ratio=1    fgd:decay_start=1,decay_end=1    fgd:warmup_epochs=0    ultralytics:dis=3
"""
_TRAIN = ("epochs", "imgsz", "batch", "device")
_NEEDED = {"torch": "train", "ultralytics": "train", "pycocotools": "compare", "jinja2": "compare"}


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the comparison and return the exit code: 0 done, 1 failed, 2 wrong usage.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run(words: list[str]) -> None:
        said = _said(words, prog)
        options = None if said.report else read_options(said)
        _check_installed()
        # Only now, since it loads torch: neither --help nor a mistyped option should wait for that.
        from fgd_yolo.compare.comparison import compare, rebuild

        if options is None:
            rebuild(said.report)
        else:
            compare(options, f"{prog or 'python tools/compare.py'} {shlex.join(words)}")

    return guarded_command(run, argv)


def _said(words: Sequence[str], prog: str | None) -> Namespace:
    parser = _parser(prog)
    said, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        raise UsageError(f"unknown option '{unknown[0]}'{close_match(unknown[0], parser.flags)} (see --help)")
    others = [name for name, value in vars(said).items() if value != parser.get_default(name)]
    if said.report and set(others) - {"report", "debug", "train_args"} | set(said.train_args):
        raise UsageError("--report writes the report of a folder again and takes nothing else")
    return said


def parse(words: Sequence[str]) -> Options:
    """Read the command line of a comparison.

    Raises:
        UsageError: something unknown, given more than once or contradictory.
    """
    return read_options(_said(words, None))


def read_options(said: Namespace) -> Options:
    """Return the comparison that parsed words ask for.

    Raises:
        UsageError: a value that is wrong, or two that contradict each other.
    """
    # A list of words takes the train arguments after it as its own.
    methods, stray = _split(said.methods)
    seeds, more = _split(said.seeds)
    train = {key: parse_value(getattr(said, key)) for key in _TRAIN if getattr(said, key) is not None}
    train |= parse_assignments([*said.train_args, *stray, *more], known=train)
    return Options(
        output=said.output or Path("runs/compare"),
        data=said.data or [DEMO],
        teachers=said.teacher or [],
        student=said.student,
        methods=parse_methods(methods),
        seeds=_seeds(seeds, said.first_seed) if methods else [],
        train=train,
        jobs=_whole(said.jobs, "--jobs", 1),
        hold_out=_part(said.hold_out),
        runs=said.runs or [],
        allow_download=said.allow_download,
    )


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of a list, and the `key=value` words behind them."""
    stray = [word for word in words if "=" in word.partition(":")[0]]
    return [word for word in words if word not in stray], stray


def _seeds(words: Sequence[str], first: str) -> list[int]:
    """One number is how many, several are the seeds themselves."""
    numbers = [_whole(word, "--seeds", 0) for word in words]
    begin = _whole(first or "0", "--first-seed", 0)
    if len(numbers) > 1:
        if first is not None or len(set(numbers)) < len(numbers):
            raise UsageError("--seeds with several numbers names each seed once, and no --first-seed")
        return numbers
    if numbers == [0]:
        raise UsageError("--seeds 0 is no run: one number says how many; one seed alone is --seeds 1 --first-seed 0")
    return list(range(begin, begin + (numbers or [3])[0]))


def _whole(text: str, flag: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{flag} takes whole numbers, at least {least}, not '{text}'")
    return int(text)


def _part(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--hold-out takes a part of the train images, such as 0.2, not '{text}'") from error


def _check_installed() -> None:
    for module, extra in _NEEDED.items():
        if find_spec(module) is None:
            raise FGDError(f"this needs {module}: pip install 'fgd_yolo[{extra}]'")


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Train a student by several methods under equal conditions, and say what the difference is worth.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    several: dict[str, Any] = {"action": "append"}
    add("--data", metavar="YAML", help="Ultralytics dataset, or demo; may be said again (default: demo)", **several)
    add("--teacher", metavar="MODEL", help="one for all data sets, or one for each, in their order", **several)
    add("--student", metavar="MODEL", help="name, .pt or .yaml of the small model")
    add("--methods", nargs="+", default=[], metavar="METHOD", help="what to compare, see below")
    add("--seeds", nargs="+", default=[], metavar="N", help="how many (default: 3); several numbers are the seeds")
    add("--first-seed", metavar="N", help="where counting begins (default: 0)")
    add("--epochs", metavar="N", help="of every run (default: 100; the demo has its own)")
    add("--imgsz", metavar="N", help="side of the network's input in pixels (default: 640; the demo has its own)")
    add("--batch", metavar="N", help="images a step (default: 16; the demo has its own)")
    add("--device", metavar="D", help="cpu, 0, ... (default: the first GPU, or else the CPU)")
    add("--jobs", default="1", metavar="N", help="runs side by side (default: 1)")
    add("--output", type=Path, metavar="DIR", help="folder of results; an existing one is gone on with")
    add("--hold-out", default="0", metavar="PART", help="measure on this part of train; the val split is not read")
    add("--runs", nargs="+", type=Path, metavar="DIR", help="finished runs to take in, of distill or of Ultralytics")
    add("--report", type=Path, metavar="DIR", help="write the report of this folder again")
    add("--allow-download", action="store_true", help="let a data YAML run its download script, which is printed first")
    add("--debug", action="store_true", help="show the traceback of an error")
    add("train_args", nargs="*", metavar="key=value", help="any Ultralytics train argument, for all methods")
    return parser
