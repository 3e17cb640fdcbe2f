"""The inference benchmark from weights to tables: export, measure, print."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.loss import machine_name
from fgd_yolo.benchmark.inference_benchmark import Stages, benchmark_photo, measure_runs, measure_stages
from fgd_yolo.benchmark.inference_files import HOST_INT8, export_all, random_weights
from fgd_yolo.datasets import read_dataset, recorded_data
from fgd_yolo.demo import cache_root, demo_dataset
from fgd_yolo.export.measure import map_of
from fgd_yolo.timing import format_number, ratio
from fgd_yolo.ultralytics import load_exportable

DEFAULT_MODEL = "yolov8n.yaml"


def report(
    weights: Path | None, data: str | None, sizes: Sequence[int], threads: Sequence[int], rounds: int
) -> Iterator[str]:
    """Yield one table, in Markdown, for each input size.

    Args:
        weights: a `.pt` checkpoint; None takes a YOLOv8n with random weights, whose speed is that of a trained one.
        data: dataset YAML that both int8 files are calibrated on and all are measured on; None takes the data that
            the checkpoint names, or the built-in demo scenes for random weights.
        sizes: sides of the input, in pixels.
        threads: numbers of CPU threads.
        rounds: timed runs of everything.
    """
    trained = weights is not None
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-benchmark-") as name:
        folder = Path(name)
        if not trained:
            data = data or str(demo_dataset(cache_root()))
            weights = random_weights(DEFAULT_MODEL, data, folder)
        model, checkpoint = load_exportable(weights)
        named = data or recorded_data((checkpoint.get("train_args") or {}).get("data"), weights)
        data = str(read_dataset(named, recorded=data is None).kept_in(folder / "data").file)
        title = weights.name if trained else f"{DEFAULT_MODEL}, random weights"
        for size in sizes:
            files = export_all(weights, data, size, folder)
            accuracy = {file: map_of(path, data, size, model.task) for file, path in files.items()} if trained else {}
            runs = {count: measure_runs(files, count, rounds) for count in threads}
            photo = benchmark_photo(data)
            stages = {count: measure_stages(files["fp32"], photo, count, rounds) for count in threads}
            yield f"{title}, {size} px, {machine_name('cpu').rsplit(',', 1)[0]}, smallest of {rounds} rounds\n"
            yield table(runs, accuracy)
            yield from (stage_line(count, found) for count, found in stages.items())


def table(runs: dict[int, dict[str, float]], accuracy: dict[str, dict[str, float]]) -> str:
    """Return the times of the runs as a Markdown table.

    Args:
        runs: seconds of each variant, by number of threads.
        accuracy: mAP of a variant's file, in [0, 1]; empty where the weights are not trained.
    """
    ratios = (f"{count} thread{'s' * (count != 1)} | times fp32" for count in runs)
    heads = ["", *ratios, *["mAP50-95"] * bool(accuracy)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * (1 + 2 * len(runs) + bool(accuracy))]
    for variant in next(iter(runs.values())):
        cells = [f"{found[variant] * 1e3:.1f} ms | {_times(found, 'fp32', variant)}" for found in runs.values()]
        if accuracy:
            cells.append(format_number(100 * accuracy[variant]["map50_95"], ".1f") if variant in accuracy else "")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    best = (f"{_times(found, HOST_INT8, 'int8')} ({count})" for count, found in runs.items())
    return "\n".join([*lines, f"\nint8 over {HOST_INT8}, by threads: {', '.join(best)}"])


def _times(seconds: dict[str, float], slow: str, fast: str) -> str:
    return format_number(ratio(seconds[slow], seconds[fast]), ".2f")


def stage_line(threads: int, found: Stages) -> str:
    """Return what surrounds the network, as one sentence."""
    surroundings, overhead = format_number(found.surroundings, ".1%"), format_number(found.overhead, ".3f")
    return (
        f"fp32, {threads} thread(s), a 640x480 photo: preprocessing {found.preprocess * 1e3:.2f} ms and postprocessing "
        f"{found.postprocess * 1e3:.2f} ms, {surroundings} of the network's {found.bare_run * 1e3:.1f} ms; "
        f"the whole call takes {overhead} times its steps"
    )
