"""`fgd-yolo compare` and `tools/compare.py`: compare distillation methods over seeds and data sets."""

from __future__ import annotations

import shlex
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fgd_yolo.cfg import recipe_names
from fgd_yolo.cli.assignment_parser import AssignmentParser
from fgd_yolo.compare.options import (
    DEMO,
    PRESETS,
    PSEUDO_LABELS,
    ULTRALYTICS,
    ComparisonOptions,
    Method,
    parse_methods,
    preset_methods,
)
from fgd_yolo.config import DEFAULT_METHOD, METHOD_OPTIONS, FGDConfig, Recipe, load_recipe
from fgd_yolo.console import guarded_command, offer, positive_int
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.train_arguments import parse_value, ultralytics_defaults

EXAMPLES = [
    ("preset=pays-off data=d.yaml teacher=t.pt student=yolov8n", "plain training and the default, three seeds"),
    ("--preset pays-off --recipe runs/distill/yolov8n/distill.yaml", "the same for a run, as it was trained"),
    ("teacher=t.pt student=s.pt methods=mgd,mgd:features.ratio=0.2", "two values of an option, on the demo scenes"),
    ("teacher=t.pt student=s.pt label_fraction=.1 methods=plain,fgd", "labels on a tenth of the train images"),
    ("--report runs/compare/yolov8n", "write the report of a comparison again"),
]
NOTES = """\
methods:
  plain                         no distillation
  heads+dfine                   the default of distill --method
  fgd, mgd, heads, ld, ...      other methods, alone or joined with +
  paper-yolo, mine.yaml, ...    a recipe of distill --recipe, or a recipe file
  ultralytics                   Ultralytics' own distillation, distill_model=
Options of a method follow a colon: those of a distillation (see distill --help;
dis for ultralytics), and the loss gains box, cls and dfl:
  fgd+heads+dfine:features.attn_weight=0
                                without the attention term
  heads+dfine:heads.ratio=1     a larger gradient from the heads
  fgd:schedule.warmup_epochs=0  without warm-up
  fgd:schedule.decay_start=1,schedule.decay_end=1
                                without decay
  fgd:features.rel_weight=0     the focal terms alone
  ultralytics:dis=3             another loss gain
With --label-fraction, there are also:
  plain:labels=all              all labels, to see what the missing ones cost
  pseudo-labels:score=0.5       plain training, with what the teacher finds
                                above a score (0.35) as labels of the others
  heads+dfine:frames=true,unlabeled_ratio=0.7
                                distillation that sees the others as frames
"""
_OF_A_RUN = ("seed", "project", "name", "task")  # a comparison has its own
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
    args = parser.parse_args(argv)
    given = [name for name, value in vars(args).items() if value != parser.get_default(name)]
    others = [parser.names[name].option_strings[0] for name in given if name not in ("report", "debug")]
    if args.report and others:
        raise UsageError(
            f"--report writes the report of a folder again and accepts no other option: leave out {', '.join(others)}"
        )
    return args


def parse(argv: Sequence[str]) -> ComparisonOptions:
    """Parse the command line of a comparison.

    Raises:
        UsageError: an option is unknown, invalid, given more than once or contradicts another.
    """
    return _options(_parse_args(argv, None))


def _options(args: Namespace) -> ComparisonOptions:
    own = ("data", "project", "name")  # train arguments in Ultralytics, options of the comparison here
    given = {key: getattr(args, key) for key in ultralytics_defaults() if key not in own}
    train = {key: parse_value(value) for key, value in given.items() if value is not None}
    recipe = _recipe(args.recipe)
    student = args.student or recipe.student
    methods = _methods(args, recipe)
    return ComparisonOptions(
        output=Path(args.project, args.name or (Path(student).stem if student else "finished")),
        data=args.data or [recipe.data or DEMO],
        teachers=args.teacher or [",".join(recipe.teachers)] * bool(recipe.teachers),
        student=student,
        methods=methods,
        seeds=_seeds(args.seeds, args.first_seed) if methods else [],
        train={**recipe.train, **train},
        jobs=args.jobs,
        val_fraction=args.val_fraction,
        label_fraction=args.label_fraction,
        runs=args.runs,
        allow_download=args.allow_download,
    )


def _recipe(name: str | None) -> Recipe:
    """Return the recipe that a comparison takes models, data, train arguments and the distillation of its preset from.

    Raises:
        UsageError: it cannot be read, or trains on frames.
    """
    recipe = Recipe() if name is None else load_recipe(name)
    if recipe.unlabeled:
        raise UsageError(
            f"recipe {name} trains on unlabelled frames, whose accuracy is not known: compare with --label-fraction on "
            "labelled data"
        )
    return recipe.replace(train={key: value for key, value in recipe.train.items() if key not in _OF_A_RUN})


def _methods(args: Namespace, recipe: Recipe) -> list[Method]:
    if args.preset and args.methods:
        raise UsageError(f"--preset {args.preset} chooses the methods: leave out it or --methods")
    if args.preset:
        return preset_methods(args.preset, recipe.config)
    return parse_methods(_join_options(args.methods))


def _join_options(words: Sequence[str]) -> list[str]:
    """Return the methods of a list that was split at commas: `name=value` belongs to the method before it."""
    methods: list[str] = []
    for word in words:
        if methods and "=" in word.partition(":")[0]:
            methods[-1] += f"{',' if ':' in methods[-1] else ':'}{word}"
        else:
            methods.append(word)
    return methods


def _seeds(words: Sequence[str], first: int | None) -> list[int]:
    """Return the seeds: a single number is the number of seeds, several numbers are the seeds."""
    for word in words:
        if not word.isdecimal():
            raise UsageError(f"--seeds must be integers, got '{word}'")
    numbers = [int(word) for word in words]
    if len(numbers) > 1:
        if len(set(numbers)) < len(numbers):
            raise UsageError(f"--seeds must be different, got {' '.join(words)}: leave out what is repeated")
        if first is not None:
            several = f"--seeds {' '.join(words)}"
            raise UsageError(f"--first-seed {first} cannot be used with {several}, which are the seeds: leave out one")
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


def build_parser(prog: str | None = None) -> AssignmentParser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    elsewhere = {name: f"write it after a method, such as heads+dfine:{name}=..." for name in FGDConfig.option_names()}
    elsewhere["teacher_epochs"] = "a teacher that does not know all classes of its data is fine-tuned for --epochs"
    parser = AssignmentParser(
        prog=prog,
        usage="%(prog)s --student MODEL --methods METHOD [METHOD ...] [options]\n"
        "       %(prog)s --preset pays-off --recipe RUN/distill.yaml [options]",
        description="Train a student with several methods under equal conditions, and write a report of the paired "
        "differences.",
        examples=EXAMPLES,
        epilog=NOTES,
        elsewhere=elsewhere,
    )
    several: dict[str, Any] = {"nargs": "+", "default": []}
    repeatable: dict[str, Any] = {"action": "append"}
    add = parser.add_argument_group("models and data").add_argument
    help_text = "dataset, or demo for the demo scenes; repeatable (default: demo)"
    add("--data", metavar="YAML", help=help_text, **repeatable)
    add(
        "--teacher",
        metavar="MODEL",
        help="teacher: one for all data sets, or one for each; several at once with commas; {seed} and {data} are "
        "those of a run",
        **repeatable,
    )
    add("--student", metavar="MODEL", help="student: a name such as yolov8n, or a .pt or .yaml file")
    help_text = "models, data and train arguments of a recipe, such as RUN/distill.yaml; other options replace its own"
    offer(add("--recipe", metavar="RECIPE", help=help_text), recipe_names())
    add("--allow-download", action="store_true", help="let --data download missing images; the script is printed first")
    add = parser.add_argument_group("comparison").add_argument
    methods = add("--methods", metavar="METHOD", help="methods to compare, see below", **several)
    offer(methods, [ULTRALYTICS, PSEUDO_LABELS, DEFAULT_METHOD, *METHOD_OPTIONS, *recipe_names()])
    help_text = "; ".join(f"{name}: {purpose}" for name, purpose in PRESETS.items())
    offer(add("--preset", metavar="NAME", help=f"methods by name; {help_text}"), PRESETS)
    add("--seeds", metavar="N", help="number of seeds, or two or more seeds themselves (default: 3 seeds)", **several)
    add("--first-seed", type=_seed, metavar="N", help="first seed, if --seeds is a number of seeds (default: 0)")
    help_text = "fraction of the train images to hold out and measure on in place of val (default: %(default)g)"
    add("--val-fraction", type=_fraction, default=0.0, metavar="F", help=help_text)
    help_text = "fraction of the train images that keep labels, chosen by the seed; 0: none (default: %(default)g)"
    add("--label-fraction", type=_fraction, default=1.0, metavar="F", help=help_text)
    add("--runs", type=Path, metavar="RUN", help="run folders of distill or Ultralytics to include", **several)
    add("--jobs", type=positive_int, default=1, metavar="N", help="number of runs in parallel (default: %(default)s)")
    train = parser.add_argument_group("training", "The same for all methods. The demo scenes have their own defaults.")
    defaults = ultralytics_defaults()
    for name, help_text in (("epochs", "epochs"), ("imgsz", "input size in pixels"), ("batch", "images per batch")):
        train.add_argument(f"--{name}", metavar="N", help=f"{help_text} (default: {defaults[name]})")
    train.add_argument("--device", metavar="DEVICE", help="cpu, 0, mps, ... (default: the first GPU, or the CPU)")
    add = parser.add_argument_group("output").add_argument
    add("--project", default="runs/compare", metavar="DIR", help="parent of the folder (default: %(default)s)")
    help_text = "name of the folder; a comparison in it is resumed (default: the student's)"
    add("--name", metavar="NAME", help=help_text)
    add("--report", type=Path, metavar="DIR", help="only write the report of this folder again")
    parser.add_train_arguments()
    return parser
