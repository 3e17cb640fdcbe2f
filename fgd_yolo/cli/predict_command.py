"""`fgd-yolo predict` and `deploy/predict.py`: run a detector on images."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command
from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.media import STREAM_ADVICE, VIDEO_SUFFIXES, list_files, list_images
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS, PixelBudget
from fgd_yolo.runtime.predict import output_names, predict

EXAMPLES = [
    ("--model best.onnx --source image.jpg", "writes an annotated copy to runs/predict/best"),
    ("--model best.onnx --source images --conf 0.5", "all images of a folder"),
    (
        "--model best.onnx --source 'images/**/*.jpg' --json detections.jsonl",
        "one line of JSON for each image, and no annotated copies",
    ),
]


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the detector on images and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(arguments: list[str]) -> None:
        args = build_parser(prog).parse_args(arguments)
        paths = [path for source in args.source for path in list_images(source)]
        images = list({os.path.normpath(path.absolute()): path for path in paths}.values())
        _check_outputs(args.model, images, args.output, args.json)
        _warn_of_videos(args.source)
        budget = PixelBudget(args.max_megapixels)
        detector = OnnxDetector(args.model, args.device, args.threads, conf=args.conf, iou=args.iou)
        folder = args.output or (None if args.json else Path("runs/predict", args.model.stem))
        numbered = args.output is None
        print(predict(detector, images, folder, numbered=numbered, json_path=args.json, budget=budget))

    return guarded_command(run, argv)


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="Run an exported detector on images, and write annotated copies or the detections as JSON.",
        examples=EXAMPLES,
    )
    parser.add_argument("--model", required=True, type=Path, metavar="FILE", help="detector exported to ONNX")
    parser.add_argument(
        "--source",
        required=True,
        nargs="+",
        action="extend",
        metavar="IMAGES",
        help="images, folders, or quoted patterns; repeatable",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for annotated copies (default: runs/predict/MODEL, numbered; with --json: none)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one line of JSON per image")
    parser.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="auto, cpu, cuda, cuda:N, tensorrt or openvino (default: auto, a GPU if available)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all available cores)")
    number = {"type": float, "metavar": "F"}
    parser.add_argument(
        "--conf", default=DEFAULT_CONFIDENCE, help="confidence threshold (default: %(default)s)", **number
    )
    parser.add_argument("--iou", default=DEFAULT_IOU, help="IoU threshold of the NMS (default: %(default)s)", **number)
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=DEFAULT_MEGAPIXELS,
        metavar="MP",
        help="skip images with more pixels without decoding them (default: %(default)g)",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _warn_of_videos(sources: Sequence[str]) -> None:
    """Print a warning for each folder or pattern that contains videos, which are not read."""
    for source in sources:
        if not Path(source).is_file() and (count := len(list_files(source, VIDEO_SUFFIXES))):
            videos = "1 video is" if count == 1 else f"{count} videos are"
            print(f"{source}: {videos} not read; {STREAM_ADVICE.format(source)}", file=sys.stderr, flush=True)


def _check_outputs(model: Path, images: Sequence[Path], output: Path | None, json_path: Path | None) -> None:
    """Raise UsageError if a result cannot be written or would overwrite an input."""
    if output and output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file: pass a folder")
    # An existing device or pipe, such as /dev/null, would be replaced by a file.
    if json_path and (json_path.name == "-" or (json_path.exists() and not json_path.is_file())):
        raise UsageError(f"--json {json_path} is not a file: pass a file such as detections.jsonl")
    sources = {path.resolve() for path in [model, *images]}
    written = [output / name for name in output_names(images)] if output else []
    for path in [*written, *([json_path] if json_path else [])]:
        if path.resolve() in sources:
            raise UsageError(f"{path} is an input and would be overwritten: choose another output")
