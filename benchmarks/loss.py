"""Time and memory of the FGD loss against a plain implementation of the same arithmetic in torch.

Time is the shortest of several rounds in which the two implementations take turns, so that other work on the machine
slows down both. Peak extra memory is the most that one forward and backward pass holds beyond its inputs:

- On CUDA it is the allocator's own peak, which is exact.
- On a CPU, where torch records no peak, it is the growth of the process's peak resident memory (VmHWM, so Linux
  only). Each implementation runs in a fresh process, since a peak never falls, and after a tiny pass that loads
  libraries and starts threads. The usual `ru_maxrss` does not work: a child process starts with its parent's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.plain_loss import plain_terms
from fgd_yolo.console import Parser, guarded_command, positive_int
from fgd_yolo.errors import FGDError
from fgd_yolo.methods import FGDLoss
from fgd_yolo.runtime.threads import machine_name
from fgd_yolo.timing import best_times, format_number, ratio

EXAMPLES = """\
examples:
  %(prog)s
  OMP_NUM_THREADS=1 %(prog)s --repeats 20
"""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Level:
    """One feature level: a batch of square maps with boxes.

    Args:
        images: batch size.
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map.
        cells: H and W.
        boxes: boxes per image, with sides of 2 % to 40 % of the image.
    """

    images: int = 8
    student_channels: int = 64
    teacher_channels: int = 256
    cells: int = 80
    boxes: int = 20


@dataclass(frozen=True)
class Cost:
    """Cost of one forward and backward pass of one implementation."""

    seconds: float
    extra_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Both implementations on one device; `error` is their largest relative difference, gradients included."""

    machine: str
    error: float
    plain: Cost
    package: Cost


Maps = tuple[Tensor, Tensor, Tensor, Tensor]
Implementation = Callable[..., tuple[Tensor, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark on the CPU and, if available, on CUDA; return the exit code."""

    def run(arguments: list[str]) -> None:
        args = _parser().parse_args(arguments)
        level = Level()
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            print(format_table(level, compare(level, device, args.repeats)), flush=True)

    return guarded_command(run, argv)


def _parser() -> Parser:
    description = "Compare time and memory of the FGD loss of one level with a plain implementation."
    parser = Parser(prog="python -m benchmarks.loss", description=description, epilog=EXAMPLES)
    parser.add_argument("--repeats", type=positive_int, default=10, metavar="N", help="timed rounds (default: 10)")
    return parser


def compare(level: Level, device: str, repeats: int) -> Comparison:
    """Check that both implementations agree, then measure them.

    TF32 is switched off: by default CUDA convolutions round to it, and differently in the two implementations.

    Raises:
        FGDError: they do not agree, so their cost cannot be compared.
    """
    torch.backends.cudnn.allow_tf32 = False
    loss, maps = make_level(level, device)
    error = disagreement(loss, maps)
    if not error <= TOLERANCE:
        raise FGDError(
            f"the loss and its plain implementation differ by {error:.1e} on {device}: one of them is wrong, "
            "so their cost cannot be compared"
        )
    seconds = fastest(loss, maps, repeats)
    if device == "cpu":
        peaks = [in_fresh_process(extra_bytes_on_cpu, name, level) for name in IMPLEMENTATIONS]
    else:
        peaks = [extra_bytes_on_cuda(implementation, loss, maps) for implementation in IMPLEMENTATIONS.values()]
    plain, package = (Cost(*cost) for cost in zip(seconds, peaks, strict=True))
    return Comparison(device_name(device), error, plain, package)


def make_level(level: Level, device: str) -> tuple[FGDLoss, Maps]:
    """Draw a loss whose context blocks are not zero, both maps, boxes inside the image, and their image indices."""
    torch.manual_seed(0)
    loss = FGDLoss(
        level.student_channels,
        level.teacher_channels,
        fg_weight=1e-3,
        bg_weight=5e-4,
        attn_weight=1e-3,
        rel_weight=5e-6,
        free=False,
    )
    for block in (loss.student_context, loss.teacher_context):
        torch.nn.init.normal_(block.transform[-1].weight, std=0.1)
    grid = (level.cells, level.cells)
    student_map = torch.randn(level.images, level.student_channels, *grid)
    teacher_map = torch.randn(level.images, level.teacher_channels, *grid)
    extent = 0.02 + 0.38 * torch.rand(level.images * level.boxes, 2)
    centre = extent / 2 + torch.rand_like(extent) * (1 - extent)
    image_index = torch.arange(level.images).repeat_interleave(level.boxes)
    maps = (student_map, teacher_map, torch.cat([centre, extent], dim=1), image_index)
    student_map, *rest = (values.to(device) for values in maps)
    return loss.to(device), (student_map.requires_grad_(), *rest)


def package_terms(loss: FGDLoss, *maps: Tensor) -> tuple[Tensor, ...]:
    """Compute the terms with the package's own forward pass."""
    return loss(*maps)


IMPLEMENTATIONS: dict[str, Implementation] = {"plain": plain_terms, "fgd_yolo": package_terms}


def disagreement(loss: FGDLoss, maps: Maps) -> float:
    """Return the largest relative difference between the implementations, over each loss term and each gradient."""
    # The softmax ignores the bias of the key convolution: its gradient is zero up to rounding.
    parameters = [value for name, value in loss.named_parameters() if not name.endswith("key.bias")]
    results = []
    for implementation in IMPLEMENTATIONS.values():
        terms = implementation(loss, *maps)
        gradients = torch.autograd.grad(sum(terms), [maps[0], *parameters])
        results.append((*(term.detach() for term in terms), *gradients))
    pairs = zip(*results, strict=True)
    return max(((package - plain).norm() / plain.norm()).item() for plain, package in pairs)


def fastest(loss: FGDLoss, maps: Maps, repeats: int) -> list[float]:
    """Return the shortest time in seconds of each implementation, after one warm-up round."""
    passes = {name: partial(run_once, function, loss, maps) for name, function in IMPLEMENTATIONS.items()}
    return list(best_times(passes, repeats).values())


def run_once(implementation: Implementation, loss: FGDLoss, maps: Maps) -> None:
    """Run forward and backward until the device has finished; gradients start empty."""
    maps[0].grad = None
    loss.zero_grad()
    sum(implementation(loss, *maps)).backward()
    if maps[0].is_cuda:
        torch.cuda.synchronize()


def extra_bytes_on_cuda(implementation: Implementation, loss: FGDLoss, maps: Maps) -> int:
    """Return the allocator's peak during one pass beyond what was allocated before it."""
    maps[0].grad = None
    loss.zero_grad()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run_once(implementation, loss, maps)
    return torch.cuda.max_memory_allocated() - before


def extra_bytes_on_cpu(name: str, level: Level, threads: int) -> int:
    """Return the growth of this process's peak memory during one pass; meant for a fresh process."""
    torch.set_num_threads(threads)
    run_once(IMPLEMENTATIONS[name], *make_level(Level(images=2, cells=8), "cpu"))
    loss, maps = make_level(level, "cpu")
    before = resident_bytes()
    run_once(IMPLEMENTATIONS[name], loss, maps)
    return resident_bytes() - before


def in_fresh_process(measure: Callable[..., int], name: str, level: Level) -> int:
    """Measure in a process whose memory peak nothing else has raised."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (name, level, torch.get_num_threads()))


def resident_bytes(field: str = "VmHWM") -> int:
    """Return the resident memory of this process: its peak `VmHWM`, or what it holds now, `VmRSS`."""
    return 1024 * int(re.search(rf"{field}:\s*(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[1])


def device_name(device: str) -> str:
    """Return the hardware that was measured, with the number of threads for a CPU."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{machine_name()}, {torch.get_num_threads()} thread(s)"


def format_table(level: Level, comparison: Comparison) -> str:
    """Format a comparison as lines of text; both ratios are plain over package."""
    plain, package = comparison.plain, comparison.package
    rows = [
        f"{name:<10} {cost.seconds * 1e3:>18.1f} ms {cost.extra_bytes / 2**20:>17.0f} MiB"
        for name, cost in (("plain", plain), ("fgd_yolo", package))
    ]
    shape = (level.images, level.teacher_channels, level.cells, level.cells)
    faster = format_number(ratio(plain.seconds, package.seconds), ".2f", " x faster")
    smaller = format_number(ratio(plain.extra_bytes, package.extra_bytes), ".2f", " x smaller")
    return "\n".join(
        [
            f"FGD loss of one level: maps {shape}, student {level.student_channels} channels, "
            f"{level.boxes} boxes per image",
            f"on {comparison.machine}; losses and gradients agree within {comparison.error:.0e}",
            f"{'':<10} {'forward + backward':>21} {'peak extra memory':>21}",
            *rows,
            f"{'ratio':<10} {faster:>21} {smaller:>21}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
