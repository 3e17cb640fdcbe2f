"""Time and memory of the FGD loss against the same arithmetic written out step by step in plain torch.

Time is the smallest of several repeats, the two variants taking turns, so that other work on the machine
falls on both. Peak extra memory is what one pass forward and backward holds at most beyond its inputs:

- On CUDA it is the allocator's own peak, which is exact.
- On a CPU, where torch keeps no peak, it is the growth of the process's peak resident memory (VmHWM, so Linux
  only). Each variant runs in a fresh process, since a peak never falls, and after a tiny pass that loads
  libraries and threads. The usual `ru_maxrss` would not do: a child process starts with its parent's.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.plain_loss import yardstick_terms
from fgd_yolo.errors import FGDError
from fgd_yolo.methods import FGDLoss
from fgd_yolo.timing import best_times

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
    """What one forward and backward pass of one variant costs."""

    seconds: float
    extra_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Both variants on one device; `error` is their largest relative difference, gradients included."""

    machine: str
    error: float
    yardstick: Cost
    ours: Cost


Maps = tuple[Tensor, Tensor, Tensor, Tensor]
Variant = Callable[..., tuple[Tensor, ...]]


def compare(level: Level, device: str, repeats: int) -> Comparison:
    """Check that both variants agree, then measure them.

    On CUDA convolutions round to TF32 by default, differently in the two variants' shapes; here they may not.

    Raises:
        FGDError: they do not agree, so that their cost cannot be compared.
    """
    torch.backends.cudnn.allow_tf32 = False
    loss, maps = make_level(level, device)
    error = disagreement(loss, maps)
    if not error <= TOLERANCE:
        raise FGDError(f"benchmark refused: loss and yardstick differ by {error:.1e} on {device}, so one is wrong")
    seconds = fastest(loss, maps, repeats)
    if device == "cpu":
        peaks = [in_fresh_process(extra_bytes_on_cpu, name, level) for name in VARIANTS]
    else:
        peaks = [extra_bytes_on_cuda(variant, loss, maps) for variant in VARIANTS.values()]
    yardstick, ours = (Cost(*cost) for cost in zip(seconds, peaks, strict=True))
    return Comparison(machine_name(device), error, yardstick, ours)


def make_level(level: Level, device: str) -> tuple[FGDLoss, Maps]:
    """Draw a loss whose context blocks are not zero, both maps, boxes inside the image and their images."""
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


def our_terms(loss: FGDLoss, *maps: Tensor) -> tuple[Tensor, ...]:
    """The package's own forward pass."""
    return loss(*maps)


VARIANTS: dict[str, Variant] = {"yardstick": yardstick_terms, "fgd_yolo": our_terms}


def disagreement(loss: FGDLoss, maps: Maps) -> float:
    """Return the largest relative difference between the variants, over each loss term and each gradient."""
    # The softmax ignores the keys' biases: their gradient is 0 and what is left of it rounding.
    wanted = [value for name, value in loss.named_parameters() if not name.endswith("key.bias")]
    found = []
    for variant in VARIANTS.values():
        terms = variant(loss, *maps)
        found.append((*(term.detach() for term in terms), *torch.autograd.grad(sum(terms), [maps[0], *wanted])))
    pairs = zip(*found, strict=True)
    return max(((ours - theirs).norm() / theirs.norm()).item() for theirs, ours in pairs)


def fastest(loss: FGDLoss, maps: Maps, repeats: int) -> list[float]:
    """Return the smallest time in seconds of each variant, after one warm-up round."""
    passes = {name: lambda variant=variant: run_once(variant, loss, maps) for name, variant in VARIANTS.items()}
    return list(best_times(passes, repeats).values())


def run_once(variant: Variant, loss: FGDLoss, maps: Maps) -> None:
    """Forward and backward, to the end of the device's work; gradients start empty."""
    maps[0].grad = None
    loss.zero_grad()
    sum(variant(loss, *maps)).backward()
    if maps[0].is_cuda:
        torch.cuda.synchronize()


def extra_bytes_on_cuda(variant: Variant, loss: FGDLoss, maps: Maps) -> int:
    """Return the allocator's peak during one pass beyond what was held before it."""
    maps[0].grad = None
    loss.zero_grad()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run_once(variant, loss, maps)
    return torch.cuda.max_memory_allocated() - before


def extra_bytes_on_cpu(name: str, level: Level, threads: int) -> int:
    """Return the growth of this process's peak memory during one pass; meant for a fresh process."""
    torch.set_num_threads(threads)
    run_once(VARIANTS[name], *make_level(Level(images=2, cells=8), "cpu"))
    loss, maps = make_level(level, "cpu")
    before = _peak_bytes()
    run_once(VARIANTS[name], loss, maps)
    return _peak_bytes() - before


def in_fresh_process(measure: Callable[..., int], name: str, level: Level) -> int:
    """Run a measurement where nothing else has raised the memory peak."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (name, level, torch.get_num_threads()))


def machine_name(device: str) -> str:
    """Return what the numbers were taken on."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    name = found[1] if found else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s)"


def _peak_bytes() -> int:
    """Largest resident memory that this process has had."""
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[1])
