"""What every command shares: its parser, its errors in one line, what it prints and how long things take."""

from __future__ import annotations

import argparse
import logging
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from fgd_yolo.errors import FGDError, UsageError, whole_line
from fgd_yolo.stopping import StopRequest, on_stop_signals
from fgd_yolo.text import clean_record, printable, shortened

Item = TypeVar("Item")
_TRAIN_MODULES = ("torch", "torchvision", "ultralytics", "onnx", "onnxslim")  # which a camera box lacks
STAGES = 5
_SCRIPTS = {
    "distill": "tools/distill.py",
    "export": "deploy/export.py",
    "predict": "deploy/predict.py",
    "stream": "deploy/stream.py",
    "visualize": "tools/visualize.py",
}


class _Once(argparse.Action):
    """Store a value, and refuse a second one: argparse itself silently keeps the last."""

    _filled = None

    def __call__(self, parser, namespace, values, option_string=None):
        if option_string is not None:
            if self._filled is namespace:
                raise UsageError(f"{option_string} is said twice: leave out one of them")
            self._filled = namespace
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error, and which takes each option once.

    Raises:
        UsageError: from the parsing methods, for whatever argparse itself would end the process for.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)
        for name in (None, "store"):
            self.register("action", name, _Once)

    @property
    def flags(self) -> list[str]:
        """Every option that it knows."""
        return list(self._option_string_actions)

    def error(self, message: str):
        raise UsageError(f"{message} (see --help)")


def positive_int(text: str) -> int:
    """Read an option's value that is a count.

    Raises:
        argparse.ArgumentTypeError: it is no whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, not '{text}'")
    return int(text)


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


def print_status(text: str, stage: int | None = None) -> None:
    """Print one line of at most 300 characters at once, with the number of the stage that it opens."""
    text = shortened(printable(text))
    print(f"[{stage}/{STAGES}] {text}" if stage else f"      {text}", flush=True)


def format_duration(seconds: float) -> str:
    """Return a length of time as people say it, to two units: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def format_classes(names: Mapping[int, str], most: int = 4) -> str:
    """Return how many classes there are and what the first are called: `2 classes (cat, dog)`.

    Args:
        names: classes by number.
        most: of them to name.
    """
    first = ", ".join(shortened(printable(name), 40) for name in list(names.values())[:most])
    return f"{len(names)} class{'es' * (len(names) != 1)} ({first}{', ...' if len(names) > most else ''})"


def command_name(name: str) -> str:
    """Return how a command is called here: by the scripts of a checkout if one is running, or `fgd-yolo`.

    Python and `fgd-yolo` are those that run now: an environment that is not activated has neither on the PATH.

    Args:
        name: "distill", "export", "predict", "stream" or "visualize".
    """
    running = Path(sys.argv[0])
    if f"{running.parent.name}/{running.name}" in _SCRIPTS.values():
        return f"{_program(Path(sys.executable))} {shlex.quote(str(running.parent.parent / _SCRIPTS[name]))}"
    installed = Path(sys.executable).with_name("fgd-yolo")
    found = shutil.which("fgd-yolo")
    if not installed.is_file() or (found and installed.samefile(found)):
        return f"fgd-yolo {name}"
    return f"{_program(installed)} {name}"


def _program(path: Path) -> str:
    """A program's path for a shell, which looks for a bare name elsewhere than here."""
    text = display_path(path)
    return shlex.quote(text if "/" in text or "\\" in text else f"./{text}")


def distill_command(**options: Any) -> str:
    """Return a command line of distill that can be pasted into a shell.

    Args:
        options: long options with their values; None is left out; `train` holds further train arguments.
    """
    train: Mapping[str, Any] = options.pop("train", {})
    words = [command_name("distill")]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", shlex.quote(str(value))]
    return " ".join([*words, *(shlex.quote(f"{key}={_spelled(value)}") for key, value in train.items())])


def _spelled(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, (list, tuple)) else str(value)


def display_path(path: Path) -> str:
    """Return a path as people would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield `items` with a progress bar on a terminal; elsewhere one line says how many there are."""
    from tqdm import tqdm  # only now: importing the package stays cheap

    live = sys.stderr.isatty()
    if not live:
        print(f"{what}: {len(items)}", file=sys.stderr, flush=True)
    yield from tqdm(items, desc=what, disable=not live)
