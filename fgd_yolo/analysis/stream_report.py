"""The stream benchmark from files to its table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.analysis.camera_benchmark import MANY_FPS, PACE_FPS, Overload, measure_overload, paced_cpu_ms
from fgd_yolo.analysis.inference_files import export_all, random_weights
from fgd_yolo.analysis.inference_report import DEFAULT_MODEL
from fgd_yolo.analysis.loss_benchmark import machine_name
from fgd_yolo.analysis.stream_benchmark import Rates, measure_rates, write_clip
from fgd_yolo.data import cache_root, demo_dataset, demo_video

SIZE_PX = 320
PACED_S = 10.0
PACED_PICTURES = 150
CAMERAS = 8


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
        pictures = _read(video)
        clip = write_clip(folder / "clip.mp4", pictures)
        rates = {model: measure_rates(path, clip, threads, rounds) for model, path in files.items()}
        paced = {model: paced_cpu_ms(path, pictures[:PACED_PICTURES], PACED_S) for model, path in files.items()}
        crowded = {
            model: measure_overload(path, pictures[:PACED_PICTURES], CAMERAS, threads, PACED_S)
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
        cells = [f"{rate.bound:.0f} fps", f"{rate.pipeline:.0f} fps", f"{rate.pipeline / rate.bound:.2f}"]
        cells += [f"{rate.host:.0f} fps", f"{rate.pipeline / rate.host:.2f}"]
        cells += [f"{own:.1f} ms", f"{host:.1f} ms", f"{own / host:.2f}"]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def crowd_table(crowded: Mapping[str, Overload]) -> str:
    """Return what becomes of too many cameras as a Markdown table, by model."""
    heads = [f"MJPEG at {MANY_FPS} fps", "cameras", "load", "least share", "p50 age", "p95 age", "allowed"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for model, found in crowded.items():
        ages = " | ".join(f"{age:.0f} ms" for age in (found.p50_ms, found.p95_ms, found.allowed_ms))
        lines.append(f"| {model} | {found.cameras} | {found.load:.2f} | {found.least_share:.2f} | {ages} |")
    return "\n".join(lines)


def _random_files(folder: Path) -> dict[str, Path]:
    data = str(demo_dataset(cache_root()))
    made = export_all(random_weights(DEFAULT_MODEL, data, folder), data, SIZE_PX, folder)
    return {name: made[name] for name in ("fp32", "int8")}


def _read(video: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(video))
    pictures = []
    while True:
        whole, picture = capture.read()
        if not whole:
            capture.release()
            return pictures
        pictures.append(picture)
