"""`fgd-yolo export` and `deploy/export.py`: export a checkpoint to ONNX."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from fgd_yolo.console import Parser, command_name, display_path, guarded_command, offer
from fgd_yolo.export.export_options import ExportOptions
from fgd_yolo.export.exporter import ExportedModel, export_onnx
from fgd_yolo.export.precisions import PRECISIONS
from fgd_yolo.text import counted, printable

EXAMPLES = [
    ("--model best.pt", "best.onnx beside it, in float32"),
    ("--model best.pt --precision int8 --output camera.onnx", "calibrated and measured on the training data"),
    ("--model best.pt --precision int8 --calibrate frames", "on frames without labels: how well int8 agrees with fp32"),
    ("--model best.pt --imgsz 320 --dynamic --nms", "any batch and image size, with final detections"),
]


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the export and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(words: list[str]) -> None:
        args = vars(build_parser(prog).parse_args(words))
        del args["debug"]
        print(printable(_announcement(args["model"], args["precision"])), flush=True)
        exported = export_onnx(**args)
        print(_summary(exported), flush=True)

    return guarded_command(run, argv)


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="Export a YOLO checkpoint to ONNX, and compare the outputs of both on real images.",
        examples=EXAMPLES,
    )
    precisions = "; ".join(f"{name}: {row.description}" for name, row in PRECISIONS.items())
    add = parser.add_argument_group("model and data").add_argument
    add("--model", required=True, type=Path, metavar="FILE", help=".pt checkpoint")
    help_text = "dataset for calibration and comparison (default: the training data)"
    add("--data", metavar="YAML", help=help_text)
    help_text = "frames without labels to calibrate int8 on; without --data it is measured by its agreement with fp32"
    add("--calibrate", nargs="+", default=(), metavar="PATH", help=help_text)
    add("--allow-download", action="store_true", help="let --data download missing images; the script is printed first")
    add = parser.add_argument_group("file").add_argument
    add("--output", type=Path, metavar="FILE", help="ONNX file to write (default: beside the checkpoint)")
    help_text = f"{precisions} (default: %(default)s)"
    offer(add("--precision", default=ExportOptions.precision, metavar="PRECISION", help=help_text), PRECISIONS)
    add("--imgsz", type=int, metavar="N", help="input size in pixels (default: as in training)")
    add("--batch", type=int, default=ExportOptions.batch, metavar="N", help="images per call (default: %(default)s)")
    add("--dynamic", action="store_true", help="accept any batch size, and image sizes in multiples of the stride")
    add("--nms", action="store_true", help="include NMS in the graph")
    add("--uint8-input", action="store_true", help="take uint8 BGR images; for fgd_yolo's detector only")
    add("--opset", type=int, metavar="N", help="ONNX opset (default: Ultralytics' choice)")
    add = parser.add_argument_group("refusal of an int8 file").add_argument
    help_text = "mAP50-95 points that it may lose (default: 1 of accuracy, 8 of agreement with fp32)"
    add("--max-map-drop", type=float, metavar="F", help=help_text)
    add("--allow-regression", action="store_true", help="keep a file that loses more, or is slower than float32")
    return parser


def _announcement(model: Path, precision: str) -> str:
    steps = PRECISIONS[precision].steps if precision in PRECISIONS else "comparing"
    return f"exporting {model} to ONNX, then {steps} with PyTorch"


def _summary(exported: ExportedModel) -> str:
    path = display_path(exported.path.absolute())
    megabytes = exported.path.stat().st_size / 1e6
    lines = [
        f"{path}: {megabytes:.1f} MB, {exported.precision} {exported.task}, {exported.imgsz} px",
        _parity(exported),
    ]
    if exported.unreadable:
        lines.append(f"{counted(exported.unreadable, 'image')} could not be read")
    if exported.report:
        lines += exported.report.summary()
        if exported.report.refusal:
            lines.append(f"kept although refused: {exported.report.refusal}")
    if exported.uint8_input:
        lines.append("takes uint8 images as OpenCV reads them: only for fgd_yolo's detector, not for Ultralytics")
    next_command = f"{command_name('predict')} --model {shlex.quote(path)} --source IMAGES"
    purpose = "# what it sees: put an image, a folder or a quoted pattern in place of IMAGES"
    return "\n  ".join(map(printable, lines)) + f"\n\nnext\n  {purpose}\n  {printable(next_command)}"


def _parity(exported: ExportedModel) -> str:
    images = counted(exported.images, "image")
    if not PRECISIONS[exported.precision].compare_outputs:
        common = exported.detections - exported.missing
        return f"has {common} of PyTorch's {exported.detections} detections on {images}, and {exported.extra} others"
    count = f"{exported.detections or 'no'} detection{'s' * (exported.detections != 1)}"
    within = f"boxes within {exported.box_difference_px:.2g} px, scores within {exported.score_difference:.2g}"
    return f"matches PyTorch on {images} ({count}; {within})"
