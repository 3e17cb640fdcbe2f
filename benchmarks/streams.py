"""The stream benchmark: speed on a file, CPU time of a camera, and overload, as Markdown tables."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from benchmarks import overload, stream_speed
from benchmarks.overload import Overload, measure_overload
from benchmarks.stream_speed import CpuTimes, Rates, measure_cpu_ms, measure_rates
from fgd_yolo.cache import cache_root
from fgd_yolo.console import Parser, guarded_command, positive_int
from fgd_yolo.demo import demo_dataset, demo_video
from fgd_yolo.inference_benchmark import DEFAULT_MODEL, export_variants, random_weights
from fgd_yolo.runtime.threads import machine_name
from fgd_yolo.timing import format_number, ratio
from tests.cameras.clips import read_frames, write_frames
from tests.cameras.processes import MISSING

EXAMPLES = """\
examples:
  %(prog)s
  %(prog)s --model student.onnx student-int8.onnx --threads 2
"""
SIZE_PX = 320
CAMERA_S = 10.0
CAMERA_FRAMES = 150
CAMERAS = 8
OVERLOAD_S = 30.0
OVERLOAD_FRAMES = 60  # two seconds: more of them only take memory


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""

    def run(arguments: list[str]) -> None:
        args = _parser().parse_args(arguments)
        print(report(args.model, args.threads, args.rounds), flush=True)

    return guarded_command(run, argv)


def _parser() -> Parser:
    description = "Compare the stream pipeline with bare threads and Ultralytics, and measure it under overload."
    parser = Parser(prog="python -m benchmarks.streams", description=description, epilog=EXAMPLES)
    parser.add_argument(
        "--model",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="ONNX files of a fixed size (default: YOLOv8n of 320 px with random weights, fp32 and int8)",
    )
    number = {"type": positive_int, "metavar": "N"}
    parser.add_argument("--threads", default=2, help="threads of each variant (default: 2)", **number)
    parser.add_argument("--rounds", default=5, help="runs of each variant (default: 5)", **number)
    return parser


def report(models: Sequence[Path] | None, threads: int, rounds: int) -> str:
    """Run all measurements and return their tables in Markdown.

    Args:
        models: ONNX files of a fixed size with a float input; None exports a YOLOv8n with random weights.
        threads: threads of each variant.
        rounds: runs of each variant on the file.
    """
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-benchmark-") as name:
        folder = Path(name)
        files = {path.name: path for path in models} if models else _random_models(folder)
        video, _ = demo_video(cache_root())
        clip = write_frames(folder / "clip.mp4", read_frames(video))
        images = list(islice(read_frames(video), CAMERA_FRAMES))
        rates = {model: measure_rates(path, clip, threads, rounds) for model, path in files.items()}
        cpu_ms = {model: measure_cpu_ms(path, images, CAMERA_S) for model, path in files.items()}
        overloads = {
            model: measure_overload(path, images[-OVERLOAD_FRAMES:], CAMERAS, threads, OVERLOAD_S)
            for model, path in files.items()
        }
    title = f"640x480 H.264, {threads} thread(s) each, best of {rounds} rounds, {machine_name()}"
    return f"{title}\n\n{speed_table(rates, cpu_ms)}\n\n{overload_table(overloads)}"


def _random_models(folder: Path) -> dict[str, Path]:
    data = str(demo_dataset(cache_root()))
    files = export_variants(random_weights(DEFAULT_MODEL, data, folder), data, SIZE_PX, folder)
    return {name: files[name] for name in ("fp32", "int8")}


def speed_table(rates: Mapping[str, Rates], cpu_ms: Mapping[str, CpuTimes]) -> str:
    """Format frames per second and CPU times, both by model, as a Markdown table."""
    header = ["", "bare threads", "pipeline", "pipeline / threads", "Ultralytics", "pipeline / Ultralytics"]
    header += [f"CPU per frame at {stream_speed.CAMERA_FPS} fps", "Ultralytics", "ratio"]
    rows = []
    for model, fps in rates.items():
        cpu = cpu_ms[model]
        rows.append(
            [
                model,
                format_number(fps.bare_threads, ".0f", " fps"),
                format_number(fps.pipeline, ".0f", " fps"),
                format_number(ratio(fps.pipeline, fps.bare_threads), ".2f"),
                format_number(fps.ultralytics, ".0f", " fps"),
                format_number(ratio(fps.pipeline, fps.ultralytics), ".2f"),
                format_number(cpu.pipeline, ".1f", " ms"),
                format_number(cpu.ultralytics, ".1f", " ms"),
                format_number(ratio(cpu.pipeline, cpu.ultralytics), ".2f"),
            ]
        )
    return _markdown(header, rows)


def overload_table(overloads: Mapping[str, Overload]) -> str:
    """Format measurements under overload, by model, as a Markdown table with its notes."""
    kind = next(iter(overloads.values())).kind
    header = [f"{kind} at {overload.CAMERA_FPS} fps", "cameras", "load", "lowest share"]
    header += ["p50 age, first and last third", "p95 age", "allowed", "memory", "threads"]
    rows = [
        [
            model,
            str(measured.cameras),
            format_number(measured.load, ".2f"),
            format_number(measured.min_share, ".2f"),
            "{:.0f}, {:.0f} ms".format(*measured.p50_ms),
            "{:.0f}, {:.0f} ms".format(*measured.p95_ms),
            f"{measured.allowed_ms:.0f} ms",
            "{:.0f}, {:.0f} MB".format(*measured.memory_mb),
            "{}, {}".format(*measured.threads),
        ]
        for model, measured in overloads.items()
    ]
    arrivals = ", ".join(f"{measured.arrival_ms:.0f}" for measured in overloads.values())
    notes = [
        f"Ages are counted from the capture of a frame. With one camera alone a frame arrives after {arrivals} ms."
    ]
    if kind != "RTSP":
        notes.append(f"MJPEG instead of RTSP: {MISSING}.")
    return "\n\n".join([_markdown(header, rows), *notes])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        ["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *("| " + " | ".join(row) + " |" for row in rows)]
    )


if __name__ == "__main__":
    sys.exit(main())
