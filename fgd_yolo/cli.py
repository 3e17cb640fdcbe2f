"""The command line: `fgd-yolo distill`, `export`, `predict`, `stream`, ...; and thin scripts in a checkout."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from fgd_yolo import __version__
from fgd_yolo.config import close_match, recipe_names
from fgd_yolo.errors import FGDError, UsageError, whole_line
from fgd_yolo.parsing import Parser
from fgd_yolo.stopping import StopRequest, on_stop_signals
from fgd_yolo.text import clean_record, printable, shortened, single_line

EXAMPLES = """\
examples:
  %(prog)s --teacher yolov8l --student yolov8n
      both on the built-in demo scenes
  %(prog)s --teacher teacher.pt --student yolov8n --data data.yaml --epochs 50 --imgsz 320 cos_lr=True
  %(prog)s --student yolov8n --data data.yaml --epochs 100 --config plain
      the same student without a teacher, to compare with
  %(prog)s --resume runs/distill/yolov8n
      go on with a run that was stopped
"""
_TRAIN_MODULES = ("torch", "torchvision", "ultralytics", "onnx", "onnxslim")  # which a camera box lacks
_TRAIN_OPTIONS = ("epochs", "imgsz", "batch", "device")
_RUN_OPTIONS = ("teacher", "student", "data", "teacher_epochs", "config", "resume")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fgd-yolo COMMAND ...` and return the exit code: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {"distill": distill, "export": export, "predict": predict, "stream": stream, "benchmark": benchmark}
    commands |= {"compare": compare, "visualize": visualize}
    usage = f"usage: fgd-yolo {{{','.join(commands)}}} ...   (fgd-yolo COMMAND --help tells more)"
    if words and words[0] in commands:
        code = 0

        def run() -> None:
            nonlocal code
            code = commands[words[0]](words[1:], prog=f"fgd-yolo {words[0]}")

        # Each command guards its own work; this is for the seconds in which its modules are loaded.
        return guarded(run, debug="--debug" in words) or code
    if words and words[0] in {"-h", "--help"}:
        print(usage)
        return 0
    if words and words[0] == "--version":
        print(f"fgd-yolo {__version__}")
        return 0
    problem = f"unknown command '{words[0]}'{close_match(words[0], commands)}; " if words else ""
    print(shortened(single_line(f"error: {problem}{usage}")), file=sys.stderr)
    return UsageError.exit_code


def export(argv: Sequence[str], prog: str | None = None) -> int:
    """Run the export command and return the exit code."""
    from fgd_yolo.export.command import main as export_main

    return export_main(argv, prog=prog)


def predict(argv: Sequence[str], prog: str | None = None) -> int:
    """Run the predict command, which needs no torch, and return the exit code."""
    from fgd_yolo.runtime.command import main as predict_main

    return predict_main(argv, prog=prog)


def stream(argv: Sequence[str], prog: str | None = None) -> int:
    """Run the stream command, which needs no torch, and return the exit code."""
    from fgd_yolo.streams.command import leave
    from fgd_yolo.streams.command import main as stream_main

    return leave(stream_main(argv, prog=prog))


def benchmark(argv: Sequence[str], prog: str | None = None) -> int:
    """Run the benchmark command and return the exit code."""
    from fgd_yolo.analysis.command import main as benchmark_main

    return benchmark_main(argv, prog=prog)


def compare(argv: Sequence[str], prog: str | None = None) -> int:
    """Run the compare command and return the exit code."""
    from fgd_yolo.analysis.compare.command import main as compare_main

    return compare_main(argv, prog=prog)


def visualize(argv: Sequence[str], prog: str | None = None) -> int:
    """Run the visualize command and return the exit code."""
    from fgd_yolo.analysis.pictures.command import main as visualize_main

    return visualize_main(argv, prog=prog)


def distill(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the distill command and return the exit code.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run(words: list[str]) -> None:
        options = parse_distill(words, prog)
        # Only now, since it loads torch: neither --help nor a mistyped option should wait for that.
        from fgd_yolo.distillation.run import distill as distill_run

        distill_run(**options)

    return guarded_command(run, argv)


def guarded_command(action: Callable[[list[str]], None], argv: Sequence[str] | None) -> int:
    """Run a command on its words as `guarded` does, with the traceback where they hold --debug.

    Args:
        action: takes the words.
        argv: the words; None reads the process's own.
    """
    words = [str(word) for word in (sys.argv[1:] if argv is None else argv)]
    return guarded(lambda: action(words), debug="--debug" in words)


def guarded(action: Callable[[], None], debug: bool = False) -> int:
    """Run an action and turn whatever it raises into one line on stderr and an exit code.

    Ctrl-C, SIGTERM and a closed terminal raise StopRequest, a KeyboardInterrupt, in it.

    Args:
        action: to run.
        debug: print the traceback too.
    """
    logging.getLogger("ultralytics").addFilter(clean_record)  # a second time changes nothing
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        raise StopRequest

    with on_stop_signals(stop):
        try:
            action()
            return 0
        except (KeyboardInterrupt, Exception) as error:
            if stopped and not isinstance(error, (KeyboardInterrupt, FGDError)):
                error = KeyboardInterrupt()  # one that fell into an import is an ImportError
            with suppress(OSError):  # the terminal is closed
                if debug:
                    print("\n".join(map(printable, traceback.format_exc().splitlines())), file=sys.stderr)
                print(_message(error), file=sys.stderr, flush=True)
            return getattr(error, "exit_code", FGDError.exit_code)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        # Not shortened: it may hold the command that goes on.
        return whole_line(error) if str(error) else "stopped before anything was written"
    if isinstance(error, FGDError):
        return shortened(f"error: {whole_line(error)}")
    if isinstance(error, ModuleNotFoundError) and error.name in _TRAIN_MODULES:
        return f"error: this needs {error.name}: pip install 'fgd_yolo[train]'"
    return shortened(f"error: {type(error).__name__}: {whole_line(error)} (--debug shows where)")


def parse_distill(words: Sequence[str], prog: str | None = None) -> dict[str, Any]:
    """Read the distill command line.

    Returns:
        Keyword arguments of `fgd_yolo.distill`; only what was said.

    Raises:
        UsageError: an unknown option or train argument, or a thing said twice.
    """
    from fgd_yolo.distillation.options import check_train_args, parse_assignments, parse_value

    parser = _distill_parser(prog)
    found, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        raise UsageError(f"unknown option '{unknown[0]}'{close_match(unknown[0], parser.flags)} (see --help)")
    said = vars(found)
    options = {key: said[key] for key in _RUN_OPTIONS if said[key] is not None}
    if said["allow_download"]:
        options["allow_download"] = True
    if "teacher_epochs" in options:
        options["teacher_epochs"] = parse_value(options["teacher_epochs"])
    train = {key: parse_value(said[key]) for key in _TRAIN_OPTIONS if said[key] is not None}
    assigned = parse_assignments(said["train_args"], known=[*options, *train])
    if "data" in assigned:
        options["data"] = assigned.pop("data")
    train |= assigned
    check_train_args(train)
    return {**options, **train}


def _distill_parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Distil an accurate YOLO into a small one, measure both, and export the student.",
        epilog=EXAMPLES,
    )
    options = {
        "--teacher": ("MODEL", "name or .pt of the accurate model, such as yolov8l"),
        "--student": ("MODEL", "name, .pt or .yaml of the small model, such as yolov8n"),
        "--data": ("YAML", "Ultralytics dataset (default: the built-in demo scenes)"),
        "--epochs": ("N", "epochs of the student (default: 100; the demo has its own)"),
        "--imgsz": ("N", "side of the network's input in pixels (default: 640; the demo has its own)"),
        "--batch": ("N", "images a step; -1 lets Ultralytics choose (default: 16)"),
        "--device": ("D", "cpu, 0, mps, ... (default: the first GPU, or else the CPU)"),
        "--teacher-epochs": (
            "N",
            "epochs of a teacher that must learn the data first (default: as the student's; 0: never)",
        ),
        "--config": ("RECIPE", f"a YAML file, or one of {', '.join(recipe_names())}"),
        "--resume": ("RUN", "go on with this run folder, with its own options"),
    }
    for flag, (metavar, help_text) in options.items():
        parser.add_argument(flag, metavar=metavar, help=help_text)
    help_text = "let a data YAML run its download script where images are missing; it is printed first"
    parser.add_argument("--allow-download", action="store_true", help=help_text)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"fgd-yolo {__version__}")
    help_text = "any Ultralytics train argument, anywhere on the line"
    parser.add_argument("train_args", nargs="*", metavar="key=value", help=help_text)
    return parser
