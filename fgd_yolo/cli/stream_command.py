"""The command line of the streams, shared by `deploy/stream.py` and `fgd-yolo stream`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgd_yolo.console import Parser, guarded_command
from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS

EXAMPLES = """examples:
  %(prog)s --model best.onnx --source test:// --web 127.0.0.1:8080
      a moving scene, live on a page
  %(prog)s --model best.onnx --source gate=rtsp://10.0.0.7/stream1 yard=rtsp://10.0.0.8/stream1 --json found.jsonl
  %(prog)s --model best.onnx --source 0 --show
      the first camera of this machine, in a window
  %(prog)s --model best.onnx --source night.mp4 --save recordings --track
      every frame of a file, with boxes and track ids, to an MP4 file
  %(prog)s --config streams.yaml
"""
_GRACE_S = 1.0  # enough for a camera that works to give one more picture, and to be told goodbye
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_PLAIN = {
    "--device": ("D", str, "auto, cpu, cuda, cuda:N, tensorrt or openvino (default: auto)"),
    "--threads": ("N", int, "CPU threads (default: the cores it may use)"),
    "--mode": ("M", str, "latency, or throughput for many streams (default: latency)"),
    "--conf": ("F", float, "least score (default: 0.25)"),
    "--iou": ("F", float, "boxes of a class that overlap by more are one object (default: 0.7)"),
    "--policy": ("P", str, "latest, every or max-age=MS (default: latest for cameras, every for files)"),
    "--web": ("HOST:PORT", str, "show a page; 127.0.0.1:8080 is for this machine alone"),
    "--token": ("T", str, "what the page asks for (better: the environment variable FGD_YOLO_TOKEN)"),
    "--save": ("DIR", Path, "record MP4 files, at the source's real timing"),
    "--segment-s": ("S", float, "length of an MP4 file in seconds (default: 600)"),
    "--disk-mb": ("MB", float, "what the MP4 files may take; the oldest are deleted (default: no limit)"),
    "--json": ("FILE", Path, "write one line of JSON for each result; - is the standard output"),
    "--webhook": ("URL", str, "POST each result that has objects"),
    "--mqtt": ("URL", str, "publish results: mqtt://host:1883/topic"),
    "--seconds": ("S", float, "stop after so long"),
    "--max-megapixels": ("MP", float, f"of a picture, and of all streams together (default: {DEFAULT_MEGAPIXELS:g})"),
}


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command as a process of its own, which `leave` ends; the rest as for `run_command`."""
    return leave(run_command(argv, prog))


def run_command(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run streams and return the exit code: 0 done, 1 failed, 2 wrong usage.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run_streams(words: list[str]) -> None:
        said = _parse(prog, words)
        # Only now: what they need is an extra, and --help should work without it.
        from fgd_yolo.streams.run import run
        from fgd_yolo.streams.stream_options import read_options

        file = said.pop("config")
        given = {key: value for key, value in said.items() if value is not None and value is not False}
        given.pop("debug", None)
        sources = given.pop("source", [])
        options = read_options({**given, "streams": name_sources(sources)}, file)
        ended = run(options)
        out = sys.stderr if str(options.json_lines) == "-" else sys.stdout  # nothing between the lines
        print(ended.table, file=out, flush=True)
        if ended.failure:
            raise ended.failure

    return guarded_command(run_streams, argv)


def leave(code: int) -> int:
    """Return the exit code of the command that is over; or leave the process with it, where a camera is still read.

    A thread that is blocked inside FFmpeg cannot be ended, and one that wakes while the interpreter is taken down
    crashes the process now and then. So once everything is delivered, closed and printed the process ends at once.
    Only the command does that; a program with a pipeline of its own waits at its exit, for a few seconds.

    Args:
        code: of the command.
    """
    from fgd_yolo.streams.reader import close_all_connections

    if not close_all_connections(_GRACE_S):
        for out in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # nobody reads it any more
                out.flush()
        os._exit(code)
    return code


def name_sources(sources: Sequence[str]) -> dict[str, Any]:
    """Return streams by name from words such as `gate=rtsp://...`, or addresses alone, which name themselves.

    Raises:
        UsageError: two have one name.
    """
    from fgd_yolo.streams.address import free_name

    streams: dict[str, Any] = {}
    for word in sources:
        named = None if os.path.exists(word) else _NAMED.fullmatch(word)  # noqa: PTH110 (Path.exists raises)
        name, address = named.groups() if named else (None, word)
        if name in streams:
            raise UsageError(f"two streams are called '{name}': give them different names")
        streams[name or free_name(address, streams)] = {"source": address}
    return streams


def _parse(prog: str | None, words: Sequence[str]) -> dict[str, Any]:
    """Read the command line; a complaint shows no password of an address that it quotes."""
    from fgd_yolo.streams.address import redact

    try:
        return vars(_parser(prog).parse_args(words))
    except UsageError as error:
        raise UsageError(redact(error)) from None


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Run an exported detector on live cameras and videos, each of which may fail without the others.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("--model", type=Path, metavar="FILE", help="the .onnx file")
    help_text = "camera number, file, folder or pattern of files, rtsp://, http://, test://, or NAME=ADDRESS"
    add("--source", nargs="+", action="extend", metavar="ADDRESS", help=help_text)
    add("--config", type=Path, metavar="YAML", help="streams and options in a file; the command line wins")
    for flag, (metavar, kind, help_text) in _PLAIN.items():
        add(flag, type=kind, metavar=metavar, help=help_text)
    help_text = "names or numbers of the objects that count (default: all); id:2 or name:2 where 2 is both"
    add("--classes", nargs="+", metavar="C", help=help_text)
    add("--track", action="store_true", help="give objects ids that stay")
    add("--raw", action="store_true", help="record the pictures without boxes")
    add("--show", action="store_true", help="open a window for each stream; q ends the run")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser
