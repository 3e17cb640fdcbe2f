"""Time and memory of one training step: plain, with Ultralytics' distillation, and with that of this package.

The steps are those of real trainers (`train_arms`). They take turns in one process, so that other work on the machine
slows down all of them: read the ratios. Peak memory is measured in a fresh process for each, after its first step:
what the process holds at most beyond what its libraries need.

    python benchmarks/train.py            # also: python -m benchmarks.train
"""

from __future__ import annotations

import ctypes
import json
import logging
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

if not __package__:  # run as a file: the folder above has the package `benchmarks`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from ultralytics.utils import NUM_THREADS

from benchmarks.loss import resident_bytes
from benchmarks.train_arms import STUDENT, Arm, Setting, arms_of, prepare
from benchmarks.train_table import markdown
from fgd_yolo.config import METHOD_OPTIONS
from fgd_yolo.config.method_options import DEFAULT_METHOD, method_names
from fgd_yolo.console import Parser, guarded_command, positive_int, progress
from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.threads import machine_name
from fgd_yolo.ultralytics import quiet_ultralytics

WARM_UPS = 2
METHODS = (DEFAULT_METHOD, "fgd", "heads")
ALL = "all"
# Batch and image size on a GPU are those at which it is busy.
SIZES = {"cpu": {"batch": 8, "imgsz": (320, 640)}, "cuda": {"batch": 16, "imgsz": (640,)}}
EXAMPLES = (
    ("", "every arm with yolov8s and yolov8l at 320 and 640 px: hours on two cores"),
    ("--teachers yolov8s --imgsz 320 --repeats 5", "a few minutes"),
    ("--teachers yolov8s --imgsz 320 --methods all", "each method of this package"),
    ("--memory --json step.json", "with peak memory; the tables are made from the file"),
    ("--device 0 --compile", "a compiled student on a GPU"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""

    def run(arguments: list[str]) -> None:
        args = _parser().parse_args(arguments)
        kind = "cpu" if args.device == "cpu" else "cuda"
        if kind == "cuda" and not torch.cuda.is_available():
            raise FGDError(f"--device {args.device}: torch {torch.__version__} sees no GPU; use --device cpu")
        methods = list(dict.fromkeys(args.methods if ALL not in args.methods else [*METHODS, *METHOD_OPTIONS]))
        batch = args.batch or SIZES[kind]["batch"]
        record = {**describe(args.device, batch), "cells": []}
        for teacher in args.teachers:
            for imgsz in args.imgsz or SIZES[kind]["imgsz"]:
                with TemporaryDirectory(prefix="fgd_yolo-train-") as folder, quiet_ultralytics():
                    setting = Setting(Path(folder), teacher, imgsz, batch, args.device, args.compile)
                    record["cells"].append(measure(setting, methods, args.repeats, args.memory))
                if args.json:
                    Path(args.json).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(markdown(record))

    return guarded_command(run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python benchmarks/train.py",
        description="Compare one training step: plain, Ultralytics' distillation, this package, and the least that a "
        "teacher costs.",
        examples=EXAMPLES,
    )
    add = parser.add_argument
    names = "plain sizes of YOLOv8, or another architecture of Ultralytics"
    add("--teachers", nargs="+", default=["yolov8s", "yolov8l"], metavar="NAME", help=f"{names} (yolov8s yolov8l)")
    add("--imgsz", nargs="+", type=positive_int, metavar="N", help="image sizes (320 640; on a GPU 640)")
    add("--batch", type=positive_int, metavar="N", help="images (8; on a GPU 16)")
    add(
        "--methods",
        nargs="+",
        default=list(METHODS),
        type=_method,
        metavar="METHOD",
        help=f"methods of this package, joined with + or alone, or {ALL} ({' '.join(METHODS)})",
    )
    add("--repeats", type=positive_int, default=10, metavar="N", help="timed rounds (10)")
    add("--device", default="cpu", metavar="D", help="cpu or the number of a GPU, with AMP (cpu)")
    add("--compile", action="store_true", help="compile the student; three arms alone")
    add("--memory", action="store_true", help="measure peak memory too, each arm in a process of its own")
    add("--json", metavar="FILE", help="write all times and peaks to a file")
    return parser


def _method(text: str) -> str:
    return text if text == ALL else "+".join(method_names(text))


def describe(device: str, batch: int) -> dict[str, Any]:
    """Return the machine, threads, precision and versions of a measurement."""
    packages = ("torch", "ultralytics", "fgd_yolo")
    versions = {"Python": platform.python_version(), **{name: version(name) for name in packages}}
    if device == "cpu":
        machine, precision = machine_name(), "float32, teachers too if nothing else is said"
        plural = "s" if NUM_THREADS > 1 else ""
        gil = "without a GIL" if not getattr(sys, "_is_gil_enabled", lambda: True)() else "with its GIL"
        threads = (
            f"{NUM_THREADS} torch thread{plural}, as Ultralytics sets it, and as many in a second thread, in which "
            f"this package and the floor run the teacher; Python {gil}"
        )
    else:
        machine = torch.cuda.get_device_name(int(device))
        precision, threads = "AMP in float16", "one process"
    shared = {"student": STUDENT, "batch": batch, "versions": versions}
    return {"machine": machine, "threads": threads, "precision": precision, **shared}


def measure(setting: Setting, methods: Sequence[str], rounds: int, memory: bool) -> dict[str, Any]:
    """Return the times, and with `memory` the peaks, of all arms of a setting."""
    prepare(setting)
    arms = arms_of(methods, setting.device, setting.compile)
    name = f"{setting.teacher}, {setting.imgsz} px"
    steps = {arm.label: arm.build(setting) for arm in progress(arms, f"{name}: set up")}
    times = taking_turns(steps, rounds, f"{name}: rounds")
    steps.clear()
    peaks = {}
    for arm in progress(arms if memory else [], f"{name}: memory"):
        peaks[arm.label] = in_fresh_process(peak_bytes, arm, setting)
    rows = [{"arm": label, "seconds": own, "peak_bytes": peaks.get(label)} for label, own in times.items()]
    return {"teacher": setting.teacher, "imgsz": setting.imgsz, "compile": setting.compile, "arms": rows}


def taking_turns(steps: Mapping[str, Callable[[], object]], rounds: int, description: str) -> dict[str, list[float]]:
    """Return the seconds of each step in every round, after rounds that are not timed.

    Each round begins with another step, so that none always follows the same one.
    """
    times: dict[str, list[float]] = {label: [] for label in steps}
    labels = list(steps)
    for number in progress(range(WARM_UPS + rounds), description):
        first = number % len(labels)
        for label in labels[first:] + labels[:first]:
            start = perf_counter()
            steps[label]()
            times[label].append(perf_counter() - start)
    return {label: seconds[WARM_UPS:] for label, seconds in times.items()}


def in_fresh_process(function: Callable[..., int], *arguments: Any) -> int:
    """Call a function in a process that has done nothing else."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_bytes(arm: Arm, setting: Setting) -> int:
    """Return the most that three steps hold, with models and optimizer; meant for a fresh process.

    The peak is counted from the end of the first step: to load a teacher and to check it takes memory for a moment.
    """
    before = resident_bytes("VmRSS")
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    step = arm.build(setting)
    step()
    if setting.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    else:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    step()
    step()
    return torch.cuda.max_memory_allocated() if setting.device != "cpu" else resident_bytes("VmHWM") - before


if __name__ == "__main__":
    sys.exit(main())
