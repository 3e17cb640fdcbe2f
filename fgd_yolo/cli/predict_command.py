"""`fgd-yolo predict` and `deploy/predict.py`: run a detector on images."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, guarded_command, offer
from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.media import STREAM_ADVICE, VIDEO_SUFFIXES, list_files, list_images
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS, PixelBudget
from fgd_yolo.runtime.predict import predict
from fgd_yolo.runtime.session import DEVICES

PROJECT = Path("runs/predict")
EXAMPLES = [
    ("--model best.onnx --source image.jpg", "writes an annotated copy to runs/predict/best"),
    ("--model best.onnx --source 'images/**/*.jpg' --conf 0.5", "the images of a folder and all folders in it"),
    ("--model best.onnx --source images --json detections.jsonl", "a line of JSON per image, without annotated copies"),
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
        _check_outputs(args.model, images, args.project, args.json)
        _warn_of_videos(args.source)
        budget = PixelBudget(args.max_megapixels)
        detector = OnnxDetector(args.model, args.device, args.threads, conf=args.conf, iou=args.iou)
        copies = not args.json or args.project or args.name
        folder = Path(args.project or PROJECT, args.name or args.model.stem) if copies else None
        print(predict(detector, images, folder, json_path=args.json, budget=budget))

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
    add = parser.add_argument_group("model and images").add_argument
    add("--model", required=True, type=Path, metavar="FILE", help="detector exported to ONNX")
    help_text = "images, folders, or quoted patterns; repeatable"
    add("--source", required=True, nargs="+", action="extend", metavar="IMAGES", help=help_text)
    add = parser.add_argument_group("output").add_argument
    add("--project", type=Path, metavar="DIR", help=f"parent of the folder for annotated copies (default: {PROJECT})")
    add("--name", metavar="NAME", help="name of the folder, numbered if it exists (default: the model's)")
    help_text = "write one line of JSON per image, and no annotated copies without --project or --name"
    add("--json", type=Path, metavar="FILE", help=help_text)
    add = parser.add_argument_group("detection").add_argument
    help_text = "confidence threshold (default: %(default)s)"
    add("--conf", type=float, default=DEFAULT_CONFIDENCE, metavar="F", help=help_text)
    help_text = "IoU threshold of the NMS (default: %(default)s)"
    add("--iou", type=float, default=DEFAULT_IOU, metavar="F", help=help_text)
    help_text = f"{', '.join(DEVICES)} or cuda:N (default: %(default)s)"
    offer(add("--device", default=DEVICES[0], metavar="DEVICE", help=help_text), DEVICES)
    add("--threads", type=int, metavar="N", help="CPU threads (default: all available cores)")
    help_text = "skip images with more pixels without decoding them (default: %(default)g)"
    add("--max-megapixels", type=float, default=DEFAULT_MEGAPIXELS, metavar="F", help=help_text)
    return parser


def _warn_of_videos(sources: Sequence[str]) -> None:
    """Print a warning for each folder or pattern that contains videos, which are not read."""
    for source in sources:
        if not Path(source).is_file() and (count := len(list_files(source, VIDEO_SUFFIXES))):
            videos = "1 video is" if count == 1 else f"{count} videos are"
            print(f"{source}: {videos} not read; {STREAM_ADVICE.format(source)}", file=sys.stderr, flush=True)


def _check_outputs(model: Path, images: Sequence[Path], project: Path | None, json_path: Path | None) -> None:
    """Raise UsageError if a result cannot be written or would overwrite an input."""
    if project and project.exists() and not project.is_dir():
        raise UsageError(f"--project {project} is a file: pass a folder")
    # An existing device or pipe, such as /dev/null, would be replaced by a file.
    if json_path and (json_path.name == "-" or (json_path.exists() and not json_path.is_file())):
        raise UsageError(f"--json {json_path} is not a file: pass a file such as detections.jsonl")
    if json_path and json_path.resolve() in {path.resolve() for path in [model, *images]}:
        raise UsageError(f"{json_path} is an input and would be overwritten: choose another file")
