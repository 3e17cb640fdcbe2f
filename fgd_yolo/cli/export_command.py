"""The command line of the export, shared by `deploy/export.py` and `fgd-yolo export`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgd_yolo.console import Parser, command_name, display_path, guarded_command
from fgd_yolo.export.exporter import ExportedModel, export_onnx
from fgd_yolo.export.request import PRECISIONS
from fgd_yolo.text import printable

if TYPE_CHECKING:
    from fgd_yolo.export.half_range import HalfReport

EXAMPLES = """examples:
  %(prog)s --weights best.pt
  %(prog)s --weights best.pt --imgsz 320 --output camera.onnx
  %(prog)s --weights best.pt --precision int8
      calibrated and measured on the data that it was trained on
  %(prog)s --weights best.pt --precision int8 --data my-images.yaml --max-drop 0.5
  %(prog)s --weights best.pt --uint8-input
      takes the pixels as OpenCV reads them; for fgd_yolo's detector alone
  %(prog)s --weights best.pt --dynamic
      any batch and size; with --nms the detections instead of all anchors
"""
_FLOAT_NODES_SHOWN = 4


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the export and return the exit code: 0 done, 1 failed, 2 wrong usage.

    Args:
        argv: the arguments; None reads the process's own.
        prog: the name that the help shows.
    """

    def run(words: list[str]) -> None:
        said = vars(_parser(prog).parse_args(words))
        del said["debug"]
        print(printable(_announcement(said["weights"], said["precision"])), flush=True)
        exported = export_onnx(**said)
        print(_summary(exported), flush=True)

    return guarded_command(run, argv)


def _parser(prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        description="Export a YOLO checkpoint to ONNX, and compare the file with it on real images.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("--weights", required=True, type=Path, metavar="FILE", help="the .pt checkpoint")
    add("--output", type=Path, metavar="FILE", help="file to write (default: the checkpoint's .onnx)")
    add("--precision", default="fp32", metavar="P", help=f"{', '.join(PRECISIONS)} (default: fp32)")
    add("--imgsz", type=int, metavar="N", help="input side in pixels (default: as trained)")
    add("--batch", type=int, default=1, metavar="N", help="images in one call (default: 1)")
    add("--dynamic", action="store_true", help="take any batch and any size")
    add("--nms", action="store_true", help="put NMS into the file")
    add("--uint8-input", action="store_true", help="take pixels as OpenCV reads them (fgd_yolo's detector alone)")
    add("--opset", type=int, metavar="N", help="ONNX opset (default: what Ultralytics chooses)")
    add("--data", metavar="YAML", help="dataset to calibrate, measure and compare on (default: as trained)")
    add("--max-drop", type=float, default=1.0, metavar="P", help="mAP50-95 points int8 may lose (default: 1.0)")
    add("--allow-download", action="store_true", help="let --data run its download script, which is printed first")
    add("--keep", action="store_true", help="write an int8 file that loses more, or is slower, all the same")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _announcement(weights: Path, precision: str) -> str:
    steps = {"int8": "calibrating, measuring and comparing", "fp16": "measuring its range, rounding and comparing"}.get(
        precision, "comparing"
    )
    return f"exporting {weights} to ONNX, then {steps} with PyTorch"


def _summary(exported: ExportedModel) -> str:
    megabytes = exported.path.stat().st_size / 1e6
    kind = f"{exported.precision} {exported.task}, {exported.imgsz} px"
    lines = [f"{display_path(exported.path.absolute())}: {megabytes:.1f} MB, {kind}", _agreement(exported)]
    if exported.unreadable:
        lines.append(f"{_images(exported.unreadable)} could not be read")
    lines += _measured(exported)
    if exported.uint8_input:
        lines.append("takes bytes as OpenCV reads them: for fgd_yolo's detector alone, not for Ultralytics")
    next_command = (
        f"{command_name('predict')} --model {shlex.quote(display_path(exported.path.absolute()))} --source IMAGES"
    )
    return "\n  ".join(map(printable, lines)) + f"\nnext\n  {printable(next_command)}"


def _agreement(exported: ExportedModel) -> str:
    on = f"on {_images(exported.images)}"
    within = f"boxes within {exported.box_difference_px:.2g} px, scores within {exported.score_difference:.2g}"
    if exported.precision == "int8":
        found = exported.detections - exported.missing
        return f"finds {found} of the {exported.detections} detections of PyTorch {on}, and {exported.extra} others"
    if not exported.detections:
        return f"equal to PyTorch {on} (no detections to compare; {within})"
    return f"equal to PyTorch {on} ({exported.detections} detections agree; {within})"


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


def _measured(exported: ExportedModel) -> list[str]:
    """Return what int8 lost and gained on the val images, and what fp16 cannot hold; nothing for fp32."""
    report = exported.report
    if report is None:
        return []
    if exported.precision == "fp16":
        return [_range(report)]
    before, after = (f"{100 * found['map50_95']:.2f}" for found in (report.map_fp32, report.map_int8))
    change = "lost" if report.drop_points >= 0 else "gained"
    lines = [
        f"mAP50-95 {before} in fp32, {after} in int8: {abs(report.drop_points):.2f} points {change}",
        f"{report.speed_ratio:.2f} times as fast as fp32 on this machine's CPU",
    ]
    if report.float_nodes:
        count = len(report.float_nodes)
        stay = "1 sensitive node stays" if count == 1 else f"{count} sensitive nodes stay"
        lines.append(f"{stay} in float: {_some(report.float_nodes)}")
    if not report.accepted:
        lines.append(f"kept although refused: {report.refusal}")
    return lines


def _range(report: HalfReport) -> str:
    """Return how far the values of an fp16 file go, and which nodes are not in float16 for it."""
    measured = f"values and sums reach {report.largest:.4g} on {_images(report.images)}, float16 holds 65504"
    count = len(report.float_nodes)
    if not count:
        return measured
    stay = "1 node stays" if count == 1 else f"{count} nodes stay"
    return f"{stay} in float32, out of float16's range ({measured}): {_some(report.float_nodes)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_FLOAT_NODES_SHOWN]) + (", ..." if len(names) > _FLOAT_NODES_SHOWN else "")
