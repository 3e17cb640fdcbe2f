"""The command line of the export, shared by `deploy/export.py` and `fgd-yolo export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.cli import guarded
from fgd_yolo.export.exporter import ExportedModel, export_onnx
from fgd_yolo.parsing import Parser

EXAMPLES = """examples:
  %(prog)s --weights best.pt
  %(prog)s --weights best.pt --imgsz 320 --output camera.onnx
  %(prog)s --weights yolov8n.pt --data my-images.yaml
"""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the export and return the exit code: 0 done, 1 failed, 2 wrong usage.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """
    words = [str(word) for word in (sys.argv[1:] if argv is None else argv)]

    def run() -> None:
        said = _parser(prog).parse_args(words)
        print(_summary(export_onnx(said.weights, said.output, imgsz=said.imgsz, data=said.data)))

    return guarded(run, debug="--debug" in words)


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Export a YOLO checkpoint to ONNX (float32) and compare the file with it on real images.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--weights", required=True, type=Path, metavar="FILE", help="the .pt checkpoint")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: the checkpoint's .onnx)")
    parser.add_argument("--imgsz", type=int, metavar="N", help="input side in pixels (default: as trained)")
    parser.add_argument("--data", metavar="YAML", help="dataset to compare on (default: the one it was trained on)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _summary(exported: ExportedModel) -> str:
    found = f"{exported.detections} detections agree" if exported.detections else "no detections to compare"
    return (
        f"{exported.path}: {exported.imgsz} px input, equal to PyTorch on {exported.images} images ({found}; "
        f"boxes within {exported.box_difference_px:.2g} px, scores within {exported.score_difference:.2g})"
    )
