"""The stream benchmark from files to its table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from benchmarks.camera_cost import PACE_FPS, paced_cpu_ms
from benchmarks.crowd import CROWD_FPS, Overload, measure_overload
from benchmarks.loss import machine_name
from benchmarks.stream_rates import Rates, measure_rates, read_clip, write_clip
from fgd_yolo.benchmark.inference_files import export_all, random_weights
from fgd_yolo.benchmark.inference_report import DEFAULT_MODEL
from fgd_yolo.demo import cache_root, demo_dataset, demo_video
from fgd_yolo.timing import format_number, ratio
from tests.cameras.processes import MISSING

SIZE_PX = 320
PACED_S = 10.0
PACED_PICTURES = 150
CAMERAS = 8
CROWD_S = 30.0
CROWD_PICTURES = 60  # two seconds: a longer film only takes memory


def report(models: Sequence[Path] | None, threads: int, rounds: int) -> str:
    """Measure and return a table in Markdown.

    Args:
        models: ONNX files of a fixed size with a float input; None exports a YOLOv8n with random weights.
        threads: of each contestant.
        rounds: turns of each contestant on the file.
    """
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-benchmark-") as name:
        folder = Path(name)
        files = {path.name: path for path in models} if models else _random_files(folder)
        video, _ = demo_video(cache_root())
        clip = write_clip(folder / "clip.mp4", read_clip(video))
        pictures = list(islice(read_clip(video), PACED_PICTURES))
        rates = {model: measure_rates(path, clip, threads, rounds) for model, path in files.items()}
        paced = {model: paced_cpu_ms(path, pictures, PACED_S) for model, path in files.items()}
        crowded = {
            model: measure_overload(path, pictures[-CROWD_PICTURES:], CAMERAS, threads, CROWD_S)
            for model, path in files.items()
        }
    title = f"640x480 H.264, {threads} thread(s) each, best of {rounds} rounds, {machine_name('cpu').rsplit(',', 1)[0]}"
    return f"{title}\n\n{table(rates, paced)}\n\n{crowd_table(crowded)}"


def table(rates: Mapping[str, Rates], paced: Mapping[str, Mapping[str, float]]) -> str:
    """Return the figures as a Markdown table.

    Args:
        rates: frames per second of the contestants, by model.
        paced: milliseconds of CPU per frame of a paced camera, of the pipeline and of the host, by model.
    """
    heads = ["", "bare threads", "pipeline", "of bare", "Ultralytics", "pipeline over it"]
    heads += [f"CPU per frame at {PACE_FPS} fps", "Ultralytics", "ratio"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for model, rate in rates.items():
        own, host = paced[model]["pipeline"], paced[model]["host"]
        cells = [format_number(rate.bound, ".0f", " fps"), format_number(rate.pipeline, ".0f", " fps")]
        cells += [format_number(ratio(rate.pipeline, rate.bound), ".2f")]
        cells += [format_number(rate.host, ".0f", " fps"), format_number(ratio(rate.pipeline, rate.host), ".2f")]
        cells += [
            format_number(own, ".1f", " ms"),
            format_number(host, ".1f", " ms"),
            format_number(ratio(own, host), ".2f"),
        ]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def crowd_table(crowded: Mapping[str, Overload]) -> str:
    """Return what becomes of too many cameras as a Markdown table, by model; a pair is the first and the last third."""
    kind = next(iter(crowded.values())).kind
    heads = [f"{kind} at {CROWD_FPS} fps", "cameras", "load", "least share"]
    heads += ["p50 age, first and last third", "p95 age", "allowed", "memory", "threads"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for model, found in crowded.items():
        cells = [str(found.cameras), format_number(found.load, ".2f"), format_number(found.least_share, ".2f")]
        cells += ["{:.0f}, {:.0f} ms".format(*ages) for ages in (found.p50_ms, found.p95_ms)]
        cells += [f"{found.allowed_ms:.0f} ms", "{:.0f}, {:.0f} MB".format(*found.memory_mb)]
        cells.append("{}, {}".format(*found.threads))
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    arrivals = ", ".join(f"{found.arrival_ms:.0f}" for found in crowded.values())
    lines.append(f"\nAges count from the making of a picture. Of one camera alone it arrives after {arrivals} ms.")
    if kind != "RTSP":
        lines.append(f"\nMJPEG instead of RTSP: {MISSING}.")
    return "\n".join(lines)


def _random_files(folder: Path) -> dict[str, Path]:
    data = str(demo_dataset(cache_root()))
    made = export_all(random_weights(DEFAULT_MODEL, data, folder), data, SIZE_PX, folder)
    return {name: made[name] for name in ("fp32", "int8")}
