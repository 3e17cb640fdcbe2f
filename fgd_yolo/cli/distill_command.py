"""`fgd-yolo distill` and `tools/distill.py`: distil a student, validate it and export it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fgd_yolo import __version__
from fgd_yolo.cfg import recipe_names
from fgd_yolo.cli.assignment_parser import AssignmentParser
from fgd_yolo.console import described, guarded_command, offer
from fgd_yolo.train_arguments import RUN_OPTIONS, VERBATIM, check_train_args, parse_value, ultralytics_defaults

EXAMPLES = [
    ("--teacher yolov8l --student yolov8n", "try it: train both on the built-in demo scenes"),
    ("--teacher teacher.pt --student yolov8n --data data.yaml", "your own teacher and data"),
    ("teacher=t.pt student=yolov8n data=d.yaml unlabeled=frames/", "labelled images and unlabelled frames"),
    ("teacher=t.pt student=yolov8n unlabeled=frames/", "frames alone, without labels"),
    ("--resume runs/distill/yolov8n", "resume an interrupted run"),
]
_TEXT = tuple(name for name in (*RUN_OPTIONS, *VERBATIM) if name != "teacher_epochs")  # 007 is a name here, no number


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the distillation and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(arguments: list[str]) -> None:
        options = parse_distill(arguments, prog)
        # Imported late: loads torch, which --help and usage errors do not need.
        from fgd_yolo.workflow.distill import distill

        distill(**options)

    return guarded_command(run, argv)


def parse_distill(arguments: Sequence[str], prog: str | None = None) -> dict[str, Any]:
    """Parse the command line of a distillation.

    Returns:
        The keyword arguments of `fgd_yolo.distill` that were given. If options of the distillation were given,
        `recipe` is a `Recipe` with them.

    Raises:
        UsageError: an option is unknown, given more than once or invalid.
    """
    from fgd_yolo.config import FGDConfig, Recipe, load_recipe

    words = build_parser(prog).given(arguments)
    options = {name: _read(name, value) for name, value in words.items()}
    # A recipe may set data and teacher_epochs, which `distill` replaces by all values but None.
    defaults = [name for name in ("data", "teacher_epochs") if name in options and options[name] is None]
    changes = {name: options.pop(name) for name in (*FGDConfig.option_names(), *defaults) if name in options}
    check_train_args({name: value for name, value in options.items() if name not in (*RUN_OPTIONS, "allow_download")})
    if "resume" in options:
        return options | changes  # refused by `distill`, which names them
    if changes:
        recipe = load_recipe(options["recipe"]) if "recipe" in options else Recipe()
        options["recipe"] = recipe.replace(**changes)
    return options


def _read(name: str, text: str | bool | list[str]) -> Any:
    """Return the value of an option; a flag is True already, and a list has its values."""
    if isinstance(text, list):
        return text
    value = text if text is True else parse_value(text)
    # For data None is the demo data, and a list is refused as such.
    is_value = name not in _TEXT or (name == "data" and (value is None or isinstance(value, list)))
    return value if is_value else text


def build_parser(prog: str | None = None) -> AssignmentParser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    from fgd_yolo.cli.distillation_options import add_distillation_options

    parser = AssignmentParser(
        prog=prog,
        usage="%(prog)s --teacher MODEL --student MODEL [--data YAML] [options]",
        description="Distil a large YOLO (teacher) into a small one (student), validate both and export the student to "
        "ONNX.",
        examples=EXAMPLES,
        epilog="\n".join(["methods, alone or joined with +:", *(f"  {line}" for line in _method_lines())]),
    )
    for title, options in _option_table().items():
        demo = "The demo scenes have their own defaults." if title == "training" else None
        group = parser.add_argument_group(title, demo)
        for name, (metavar, help_text) in options.items():
            listed = {"nargs": "+"} if name == "unlabeled" else {}
            group.add_argument(f"--{name}", metavar=metavar, help=help_text, **listed)
        if "data" in options:
            help_text = "let --data download missing images; the script is printed first"
            group.add_argument("--allow-download", action="store_true", help=help_text)
    offer(parser.names["recipe"], recipe_names())
    version = f"fgd-yolo {__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version and exit")
    add_distillation_options(parser)
    parser.add_train_arguments()
    return parser


def _method_lines() -> list[str]:
    from fgd_yolo.config import METHOD_OPTIONS, PLAIN

    methods = {name: options.description for name, options in METHOD_OPTIONS.items()}
    return described({**methods, PLAIN: "No distillation"}, 78)


def _option_table() -> dict[str, dict[str, tuple[str, str]]]:
    """Return metavar and help of the options of a run, by group and name."""
    default = {name: f"(default: {value})" for name, value in ultralytics_defaults().items()}
    fine_tuning = (
        "epochs of fine-tuning for a teacher that does not know all classes of the data; 0 uses it as it is, auto "
        "decides by the classes that it knows and takes --epochs (default: auto)"
    )
    return {
        "models and data": {
            "teacher": ("MODEL", "large model: a name such as yolov8l, or a .pt or .yaml file; several with commas"),
            "student": ("MODEL", "small model: a name such as yolov8n, or a .pt or .yaml file"),
            "data": ("YAML", "dataset (default: the built-in demo scenes, unless there are unlabelled frames)"),
            "unlabeled": ("PATH", "unlabelled frames: folders, list files, videos, collections of fgd-yolo stream"),
            "every": ("TIME", "time between two frames of a video, such as 500ms or 2min (default: 1s)"),
            "teacher-classes": ("NAMES", "without --data: classes of the teacher to learn, with commas (default: all)"),
        },
        "training": {
            "epochs": ("N", f"epochs of the student {default['epochs']}"),
            "imgsz": ("N", f"input size in pixels {default['imgsz']}"),
            "batch": ("N", f"images per batch; -1 for AutoBatch {default['batch']}"),
            "device": ("DEVICE", "cpu, 0, mps, ... (default: the first GPU, or the CPU)"),
            "teacher-epochs": ("N|auto", fine_tuning),
            "resume": ("RUN", "run folder to resume, with the options it was started with"),
        },
        "output": {
            "project": ("DIR", "parent of the run folder (default: runs/distill)"),
            "name": ("NAME", "name of the run folder, numbered if it exists (default: the student's)"),
        },
        "distillation": {
            "recipe": ("RECIPE", f"a YAML file, or one of {', '.join(recipe_names())}"),
        },
    }
