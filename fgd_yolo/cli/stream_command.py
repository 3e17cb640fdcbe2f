"""`fgd-yolo stream` and `deploy/stream.py`: run an exported detector on cameras and videos."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgd_yolo.console import Parser, guarded_command, offer
from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS
from fgd_yolo.runtime.session import DEVICES, MODES

EXAMPLES = [
    ("--model best.onnx --source test:// --web 127.0.0.1:8080", "a synthetic moving scene, live on a web page"),
    (
        "--model best.onnx --source gate=rtsp://cam/1 --collect frames",
        "a camera called gate, of which frames are kept to learn from",
    ),
    ("--config streams.yaml", "streams and options from a file"),
]
_CLOSE_TIMEOUT_S = 1.0  # enough for a camera that works to return one more frame and be closed cleanly
_NAMED_SOURCE = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_OPTIONS = {
    "frames": {
        "--policy": (
            "POLICY",
            str,
            "frames to process: latest, every or max-age=MS (default: latest for cameras, every for files)",
        ),
        "--seconds": ("F", float, "stop after this many seconds"),
        "--max-megapixels": (
            "F",
            float,
            f"limit for a frame, and for all streams together (default: {DEFAULT_MEGAPIXELS:g})",
        ),
    },
    "detection": {
        "--conf": ("F", float, f"confidence threshold (default: {DEFAULT_CONFIDENCE})"),
        "--iou": ("F", float, f"IoU threshold of the NMS (default: {DEFAULT_IOU})"),
        "--device": (
            "DEVICE",
            str,
            f"{', '.join(DEVICES)} or cuda:N (default: {DEVICES[0]})",
        ),
        "--threads": ("N", int, "CPU threads (default: all available cores)"),
        "--mode": ("MODE", str, "latency, or throughput for many streams (default: latency)"),
    },
    "web page": {
        "--web": ("HOST:PORT", str, "serve a page; 127.0.0.1:8080 is reachable from this machine only"),
        "--token": ("TEXT", str, "password of the page (better: the environment variable FGD_YOLO_TOKEN)"),
    },
    "output": {
        "--save": ("DIR", Path, "record MP4 files, with the timestamps of the source"),
        "--segment-s": ("F", float, "length of an MP4 file in seconds (default: 600)"),
        "--disk-mb": ("F", float, "limit for all MP4 files in megabytes; the oldest are deleted (default: no limit)"),
        "--json": ("FILE", Path, "write one line of JSON per result; - is standard output"),
        "--webhook": ("URL", str, "POST each result that has objects to this URL"),
        "--mqtt": ("URL", str, "publish results to a broker, such as mqtt://host:1883/topic"),
    },
    "frames for the next training": {
        "--collect": (
            "DIR",
            Path,
            "keep frames with objects barely above the threshold or tracks that flicker (only with --track), and a few "
            "ordinary ones, without near-duplicates: input for distill --unlabeled",
        ),
        "--collect-per-hour": ("N", int, "limit of frames in an hour of each stream (default: 120)"),
        "--collect-mb": ("F", float, "limit of DIR in megabytes; then collecting stops (default: 1000)"),
    },
}
_FLAGS = {
    "detection": {"--track": "assign track ids to objects"},
    "output": {
        "--raw": "record frames without boxes",
        "--show": "open a window for each stream; press q to stop",
    },
}
_OFFERED = {
    "device": DEVICES,
    "mode": MODES,
    "policy": ("latest", "every", "max-age="),
}


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run `run_command`, and end the process if a camera still blocks it; see `end_process`."""
    return end_process(run_command(argv, prog))


def run_command(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run streams and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run_streams(words: list[str]) -> None:
        args = _parse(prog, words)
        # Imported late: they need an extra, without which --help should work.
        from fgd_yolo.streams.run import run
        from fgd_yolo.streams.stream_options import read_options

        file = args.pop("config")
        given = {key: value for key, value in args.items() if value is not None and value is not False}
        given.pop("debug", None)
        sources = given.pop("source", [])
        options = read_options({**given, "streams": name_sources(sources)}, file)
        result = run(options)
        out = sys.stderr if str(options.json_lines) == "-" else sys.stdout  # only JSON lines on standard output
        print(result.table, file=out, flush=True)
        if result.error:
            raise result.error

    return guarded_command(run_streams, argv)


def end_process(code: int) -> int:
    """Return the exit code, or exit the process with it at once if a camera is still being read.

    A thread that is blocked inside FFmpeg cannot be stopped, and one that wakes up while the interpreter shuts down
    occasionally crashes the process. Therefore the command exits as soon as everything is delivered, closed and
    printed. A program that uses a `Pipeline` itself waits for a few seconds at its exit instead.

    Args:
        code: exit code of the command.
    """
    from fgd_yolo.streams.reader import close_all_connections

    if not close_all_connections(_CLOSE_TIMEOUT_S):
        for out in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the other end has closed it
                out.flush()
        os._exit(code)
    return code


def name_sources(sources: Sequence[str]) -> dict[str, Any]:
    """Return streams by name from arguments such as `gate=rtsp://...`; an address without a name gets a default one.

    Raises:
        UsageError: two streams have the same name.
    """
    from fgd_yolo.streams.address import unique_name

    streams: dict[str, Any] = {}
    for source in sources:
        named = None if os.path.exists(source) else _NAMED_SOURCE.fullmatch(source)  # noqa: PTH110 (Path.exists raises)
        name, address = named.groups() if named else (None, source)
        if name in streams:
            raise UsageError(f"stream '{name}' is given more than once: choose different names")
        streams[name or unique_name(address, streams)] = {"source": address}
    return streams


def _parse(prog: str | None, words: Sequence[str]) -> dict[str, Any]:
    """Parse the command line; passwords in addresses are removed from error messages."""
    from fgd_yolo.streams.address import redact

    try:
        return vars(build_parser(prog).parse_args(words))
    except UsageError as error:
        raise UsageError(redact(error)) from None


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="Run an exported detector on cameras and videos; each may fail without affecting the others.",
        examples=EXAMPLES,
    )
    add = parser.add_argument_group("model and streams").add_argument
    add("--model", type=Path, metavar="FILE", help="detector exported to ONNX")
    help_text = "camera number, file, folder, quoted pattern, rtsp://, http:// or test:// address; or NAME=ADDRESS"
    add("--source", nargs="+", action="extend", metavar="ADDRESS", help=help_text)
    add("--config", type=Path, metavar="YAML", help="file with streams and options; the command line takes precedence")
    for title, options in _OPTIONS.items():
        group = parser.add_argument_group(title)
        for flag, (metavar, kind, help_text) in options.items():
            group.add_argument(flag, type=kind, metavar=metavar, help=help_text)
        for flag, help_text in _FLAGS.get(title, {}).items():
            group.add_argument(flag, action="store_true", help=help_text)
        if title == "detection":
            help_text = "names or numbers of the classes to keep; id:2 or name:2 if 2 is ambiguous (default: all)"
            group.add_argument("--classes", nargs="+", metavar="CLASS", help=help_text)
    for name, words in _OFFERED.items():
        offer(parser.names[name], words)
    return parser
