"""The command line of the detector, shared by `deploy/predict.py` and `fgd-yolo predict`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command
from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.images import STREAM_ADVICE, list_images
from fgd_yolo.runtime.media import VIDEO_SUFFIXES, list_files
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS, PixelBudget
from fgd_yolo.runtime.predict import predict, targets

EXAMPLES = """examples:
  %(prog)s --model best.onnx --source photo.jpg
      draws what it finds on a copy in runs/predict/best
  %(prog)s --model best.onnx --source photos --output drawn --conf 0.5
  %(prog)s --model best.onnx --source 'photos/**/*.jpg' --json found.jsonl
      writes one line of JSON for each picture, and draws nothing
"""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the detector on pictures and return the exit code: 0 done, 1 failed, 2 wrong usage.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run(words: list[str]) -> None:
        said = _parser(prog).parse_args(words)
        found = [path for source in said.source for path in list_images(source)]
        images = list({os.path.normpath(path.absolute()): path for path in found}.values())
        _check_outputs(said.model, images, said.output, said.json)
        _name_skipped_videos(said.source)
        budget = PixelBudget(said.max_megapixels)
        detector = OnnxDetector(said.model, said.device, said.threads, conf=said.conf, iou=said.iou)
        folder = said.output or (None if said.json else Path("runs/predict", said.model.stem))
        numbered = said.output is None
        print(predict(detector, images, folder, numbered=numbered, json_path=said.json, budget=budget))

    return guarded_command(run, argv)


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Run an exported detector on pictures; draw what it finds on copies of them, or write it as JSON.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--model", required=True, type=Path, metavar="FILE", help="the .onnx file")
    help_text = "pictures, folders of them, or patterns in quotes; may be said several times"
    parser.add_argument("--source", required=True, nargs="+", action="extend", metavar="IMAGES", help=help_text)
    help_text = "folder of the drawn copies (default: runs/predict/MODEL, numbered; none with --json alone)"
    parser.add_argument("--output", type=Path, metavar="DIR", help=help_text)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one line of JSON for each picture")
    help_text = "auto, cpu, cuda, cuda:N, tensorrt or openvino (default: auto, the GPU where it opens)"
    parser.add_argument("--device", default="auto", metavar="D", help=help_text)
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: the cores it may use)")
    parser.add_argument("--conf", type=float, default=0.25, metavar="F", help="least score (default: %(default)s)")
    help_text = "boxes of a class that overlap by more are one object (default: %(default)s)"
    parser.add_argument("--iou", type=float, default=0.7, metavar="F", help=help_text)
    help_text = "a picture with more is not decoded but skipped (default: %(default)g)"
    parser.add_argument("--max-megapixels", type=float, default=DEFAULT_MEGAPIXELS, metavar="MP", help=help_text)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _name_skipped_videos(sources: Sequence[str]) -> None:
    """Say what is in a folder or pattern beside its pictures and is not read."""
    for source in sources:
        if not Path(source).is_file() and (count := len(list_files(source, VIDEO_SUFFIXES))):
            videos = "1 video is" if count == 1 else f"{count} videos are"
            print(f"{source}: {videos} not read; {STREAM_ADVICE.format(source)}", file=sys.stderr, flush=True)


def _check_outputs(model: Path, images: Sequence[Path], output: Path | None, json_path: Path | None) -> None:
    """Raise UsageError before any work where a result cannot be written or would replace what is read."""
    if output and output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file: name a folder")
    # A device or pipe that exists would be replaced by a file, /dev/null too.
    if json_path and (json_path.name == "-" or (json_path.exists() and not json_path.is_file())):
        raise UsageError(f"--json {json_path} is no file name: name a file such as found.jsonl")
    sources = {path.resolve() for path in [model, *images]}
    written = [output / name for name in targets(images)] if output else []
    for path in [*written, *([json_path] if json_path else [])]:
        if path.resolve() in sources:
            raise UsageError(f"{path} is read here and would be overwritten: choose another place for the results")
