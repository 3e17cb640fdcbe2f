"""Time of each feature method's loss against plain imitation, on the neck maps of yolov8n and yolov8s.

Time is the shortest of several rounds in which the methods take turns, so that other work on the machine slows down all
of them: read the ratios. With `--profile` a pass is taken apart: what depends on the teacher and the labels alone, so
that a training computes it beside the student, the alignment, the terms, and the backward pass of both. That is the CPU
time of one thread, which other work on the machine hardly changes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import inf
from time import thread_time

import torch
from torch import Tensor, nn

from benchmarks.loss import device_name
from fgd_yolo.config import METHOD_OPTIONS
from fgd_yolo.console import Parser, guarded_command, positive_int
from fgd_yolo.methods import METHODS, LabelledObjects, LevelLoss
from fgd_yolo.methods.alignment import align_student
from fgd_yolo.timing import best_times
from fgd_yolo.training.speed.pointwise import prefer_onednn_in_alignments

BASE = "fitnet"
STUDENT_CHANNELS, TEACHER_CHANNELS = (64, 128, 256), (128, 256, 512)
STRIDES = (8, 16, 32)
BOXES = 20  # per image
EXAMPLES = """\
examples:
  %(prog)s
  OMP_NUM_THREADS=1 %(prog)s --imgsz 640 --repeats 20
  %(prog)s --profile
"""
PARTS = ("target", "alignment", "terms", "backward of the terms", "backward of the alignment")
"""Parts of a pass; the target is what `LevelLoss.prepare` returns."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark on the CPU; return the exit code."""

    def run(arguments: list[str]) -> None:
        args = _parser().parse_args(arguments)
        print(format_table(args.imgsz, args.batch, measure(args.imgsz, args.batch, args.repeats)))
        if args.profile:
            print("\n" + format_parts(measure_parts(args.imgsz, args.batch, args.repeats)))

    return guarded_command(run, argv)


def _parser() -> Parser:
    description = "Time one forward and backward pass of each feature method's loss, yolov8s to yolov8n."
    parser = Parser(prog="python -m benchmarks.method_cost", description=description, epilog=EXAMPLES)
    parser.add_argument("--imgsz", type=positive_int, default=320, metavar="N", help="image size (default: 320)")
    parser.add_argument("--batch", type=positive_int, default=8, metavar="N", help="images (default: 8)")
    parser.add_argument("--repeats", type=positive_int, default=20, metavar="N", help="timed rounds (default: 20)")
    parser.add_argument("--profile", action="store_true", help="time the parts of a pass too, as a Markdown table")
    return parser


def measure(imgsz: int, batch: int, repeats: int) -> dict[str, float]:
    """Return the shortest time in seconds of a pass over all levels, by the name of the method."""
    inputs = _inputs(imgsz, batch)
    passes = {name: partial(_pass, build_losses(name), inputs) for name in METHODS}
    return best_times(passes, repeats)


def measure_parts(imgsz: int, batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Return the shortest CPU time in seconds of each of `PARTS` over all levels, by the name of the method."""
    torch.set_num_threads(1)
    inputs = _inputs(imgsz, batch)
    losses = {name: build_losses(name) for name in METHODS}
    shortest = {name: dict.fromkeys(PARTS, inf) for name in METHODS}
    for _ in range(1 + repeats):
        for name, own in losses.items():
            seconds = _parts(own, inputs)
            shortest[name] = {part: min(shortest[name][part], seconds[part]) for part in PARTS}
    return shortest


def _parts(losses: Sequence[LevelLoss], inputs: Sequence[tuple[Tensor | None, ...]]) -> dict[str, float]:
    """Return the seconds of each part of one pass over all levels."""
    seconds = dict.fromkeys(PARTS, 0.0)
    for loss, (student_map, teacher_map, *objects) in zip(losses, inputs, strict=True):
        times = [thread_time()]
        target = loss.prepare(teacher_map, LabelledObjects(*objects))
        times.append(thread_time())
        aligned = align_student(student_map, loss.align)
        times.append(thread_time())
        total = sum(loss.compare(aligned, target))
        times.append(thread_time())
        own = [value for name, value in loss.named_parameters() if not name.startswith("align")]
        gradient, *_ = torch.autograd.grad(total, [aligned, *own])
        times.append(thread_time())
        torch.autograd.grad(aligned, [student_map, *loss.align.parameters()], gradient)
        times.append(thread_time())
        for part, (start, end) in zip(PARTS, pairwise(times), strict=True):
            seconds[part] += end - start
    return seconds


def _inputs(imgsz: int, batch: int) -> list[tuple[Tensor | None, ...]]:
    """Draw what `LevelLoss.forward` takes on each level."""
    torch.manual_seed(0)
    student_maps, teacher_maps = (_maps(channels, imgsz, batch) for channels in (STUDENT_CHANNELS, TEACHER_CHANNELS))
    for student_map in student_maps:
        student_map.requires_grad_()
    scores = [torch.rand_like(teacher_map[:, 0]) for teacher_map in teacher_maps]
    image_index = torch.arange(batch).repeat_interleave(BOXES)
    extent = 0.02 + 0.38 * torch.rand(len(image_index), 2)
    boxes = torch.cat([extent / 2 + torch.rand_like(extent) * (1 - extent), extent], dim=1)
    return [
        (*maps, boxes, image_index, None, own) for *maps, own in zip(student_maps, teacher_maps, scores, strict=True)
    ]


def build_losses(name: str) -> nn.ModuleList:
    """Return the loss module of a method for each level, with its preset options, as a training has it on a CPU."""
    options = METHOD_OPTIONS[name]()
    widths = zip(STUDENT_CHANNELS, TEACHER_CHANNELS, strict=True)
    losses = nn.ModuleList(METHODS[name].from_options(*pair, options) for pair in widths)
    prefer_onednn_in_alignments(losses)
    return losses


def _maps(channels: Sequence[int], imgsz: int, batch: int) -> list[Tensor]:
    return [torch.randn(batch, width, imgsz // s, imgsz // s) for width, s in zip(channels, STRIDES, strict=True)]


def _pass(losses: Sequence[LevelLoss], inputs: Sequence[tuple[Tensor | None, ...]]) -> None:
    """Run forward and backward of all levels; gradients start empty."""
    for loss, values in zip(losses, inputs, strict=True):
        loss.zero_grad()
        values[0].grad = None
        sum(loss(*values)).backward()


def format_table(imgsz: int, batch: int, seconds: Mapping[str, float]) -> str:
    """Format the times as lines of text, each with its ratio to that of plain imitation."""
    base = seconds[BASE]
    rows = [f"{name:<10} {own * 1e3:>15.1f} ms {own / base:>9.2f}" for name, own in seconds.items()]
    head = f"{'method':<10} {'forward + backward':>18} {f'/ {BASE}':>9}"
    title = f"Loss of all levels, yolov8s to yolov8n, {batch} images of {imgsz} px, on {device_name('cpu')}"
    return "\n".join([title, head, *rows])


def format_parts(seconds: Mapping[str, Mapping[str, float]]) -> str:
    """Format the parts of each method's pass as a Markdown table, in milliseconds."""
    rows = [("ms", *PARTS, "without the target"), ("---", *["---:"] * (len(PARTS) + 1))]
    for name, own in seconds.items():
        times = [*own.values(), sum(own.values()) - own["target"]]
        rows.append((f"`{name}`", *(f"{value * 1e3:.1f}" for value in times)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
