"""The guard of all commands, which turns errors into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

from fgd_yolo.errors import FGDError, error_message
from fgd_yolo.stopping import StopRequest, on_stop_signals
from fgd_yolo.text import clean_record, printable, shortened

_TRAIN_MODULES = ("torch", "torchvision", "ultralytics", "onnx", "onnxslim", "pydantic")  # of the extra `train`
_DEBUG = {"--debug", "--debug=true", "debug=true"}


def guarded_command(action: Callable[[list[str]], None], argv: Sequence[str] | None) -> int:
    """Run a command under `guarded`, with the traceback if `--debug` is among its arguments.

    Args:
        action: the command, called with the arguments.
        argv: command line; None reads `sys.argv`.

    Returns:
        The exit code.
    """
    arguments = [str(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    return guarded(lambda: action(arguments), debug=has_debug(arguments))


def has_debug(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for tracebacks, in either spelling of `--debug`."""
    return bool(_DEBUG & {argument.lower() for argument in arguments})


def guarded(action: Callable[[], None], debug: bool = False) -> int:
    """Run a function and turn any exception into one line on stderr and an exit code.

    Ctrl-C, SIGTERM and a closed terminal raise `StopRequest`, a `KeyboardInterrupt`, inside the function.

    Args:
        action: function to run.
        debug: also print the traceback.

    Returns:
        0, or the exit code of the error.
    """
    logging.getLogger("ultralytics").addFilter(clean_record)  # adding it again changes nothing
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        raise StopRequest

    with on_stop_signals(stop):
        try:
            try:
                action()
            finally:
                _flush_output()
            return 0
        except (KeyboardInterrupt, Exception) as error:
            if stopped and not isinstance(error, (KeyboardInterrupt, FGDError)):
                error = KeyboardInterrupt()  # a library turned the stop into an error of its own
            with suppress(OSError):  # the terminal is closed
                if debug:
                    print("\n".join(map(printable, traceback.format_exc().splitlines())), file=sys.stderr)
                print(_message(error), file=sys.stderr, flush=True)
            return getattr(error, "exit_code", FGDError.exit_code)


def _flush_output() -> None:
    """Flush stdout. If its reader has gone, as in `| head`, the rest is dropped.

    Raises:
        OSError: it cannot be written, such as on a full disk.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        if not isinstance(error, BrokenPipeError):
            raise


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        # Not shortened: it may hold the command that resumes the run.
        return error_message(error) if str(error) else "stopped before anything was written"
    if isinstance(error, FGDError):
        return shortened(f"error: {error_message(error)}")
    if isinstance(error, ModuleNotFoundError) and error.name in _TRAIN_MODULES:
        return f"error: this needs {error.name}: pip install 'fgd_yolo[train]'"
    return shortened(f"error: {type(error).__name__}: {error_message(error)} (--debug shows where)")
