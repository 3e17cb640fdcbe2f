"""Benchmark the inference of a detector: precisions and runtimes against each other, and the cost of each stage.

All times of a table come from one process, in which the variants take turns and the shortest time counts. Absolute
times depend on the machine; ratios can be compared.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.cache import cache_root
from fgd_yolo.datasets import Dataset, moved_dataset, read_dataset
from fgd_yolo.demo import demo_dataset
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.export import export_onnx
from fgd_yolo.export.cpu_session import open_cpu_session
from fgd_yolo.export.file_metrics import measure_map
from fgd_yolo.export.precisions import PRECISIONS
from fgd_yolo.export.sample_images import images_to_compare
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.runtime.session import Session, open_session
from fgd_yolo.runtime.threads import machine_name
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import TASKS, Accuracy, image_channels, task_of_yaml
from fgd_yolo.text import counted
from fgd_yolo.timing import best_times, format_number, ratio
from fgd_yolo.ultralytics import load_model, quiet_ultralytics, read_architecture

DEFAULT_MODEL = "yolov8n.yaml"
ULTRALYTICS_INT8 = "Ultralytics int8"
IMAGE_SIZE = (640, 480)
"""Width and height in pixels of the image that the stages are timed on: a common camera frame."""


def benchmark_inference(
    weights: Path | None, data: str | None, sizes: Sequence[int], threads: Sequence[int], rounds: int
) -> Iterator[str]:
    """Export a checkpoint in every precision, time the files, and yield a Markdown table for each input size.

    Args:
        weights: a `.pt` checkpoint; None uses YOLOv8n with random weights, which is as fast as a trained one.
        data: dataset YAML for the calibration of both int8 files and for the mAP; None uses the dataset that the
            checkpoint names, or the built-in demo scenes for random weights.
        sizes: input sizes in pixels.
        threads: numbers of CPU threads.
        rounds: timed runs of each variant.
    """
    trained = weights is not None
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-benchmark-") as name:
        folder = Path(name)
        if not trained:
            data = data or str(demo_dataset(cache_root()))
            weights = random_weights(DEFAULT_MODEL, data, folder)
        model, checkpoint = load_model(weights)
        named = data or moved_dataset((checkpoint.get("train_args") or {}).get("data"), weights)
        dataset = read_dataset(named, recorded=data is None).copy_to(folder / "data")
        data = str(dataset.file)
        title = weights.name if trained else f"{DEFAULT_MODEL}, random weights"
        for size in sizes:
            files = export_variants(weights, data, size, folder)
            measured = files if trained else {}
            accuracy = {file: measure_map(path, data, size, model.task) for file, path in measured.items()}
            runs = {count: time_networks(files, count, rounds) for count in threads}
            image = _camera_image(data, image_channels(model.yaml))
            stages = {count: time_stages(files["fp32"], image, count, rounds) for count in threads}
            yield f"{title}, {size} px, {machine_name()}, shortest of {rounds} rounds\n"
            yield format_table(runs, accuracy, _map_name(dataset, model.task))
            yield from (format_stages(count, times) for count, times in stages.items())


def _map_name(dataset: Dataset, task: str) -> str:
    """Return the name of what is measured on the val images: without true labels it is no accuracy."""
    name = TASKS[task].map_name
    if dataset.labelled_by is None:
        return name
    return f"agreement with {dataset.labelled_by['teacher']}, not accuracy ({name})"


def export_variants(weights: Path, data: str, imgsz: int, folder: Path) -> dict[str, Path]:
    """Export a checkpoint in each precision, and with Ultralytics' own int8 quantization.

    An int8 file that loses too much accuracy is included, since the benchmark shows the loss.

    Args:
        weights: the `.pt` checkpoint.
        data: dataset YAML; its train images calibrate both int8 files.
        imgsz: input size in pixels.
        folder: folder for the files.

    Returns:
        The files by name: fp32, fp16, int8, Ultralytics int8.
    """
    files = {}
    for precision in PRECISIONS:
        output = folder / f"{precision}-{imgsz}.onnx"
        files[precision] = export_onnx(
            weights, output, precision=precision, imgsz=imgsz, data=data, allow_regression=True
        ).path
    return {**files, ULTRALYTICS_INT8: _export_with_ultralytics(weights, data, imgsz, folder)}


@safe_loading()
def random_weights(model: str, data: str, folder: Path) -> Path:
    """Save an Ultralytics model with random weights, and the classes and channels of a dataset, to measure its speed.

    Args:
        model: name of the model, such as `yolov8n.yaml`.
        data: dataset YAML.
        folder: folder for the checkpoint.
    """
    from ultralytics import YOLO

    dataset = read_dataset(data)
    task = task_of_yaml(read_architecture(model))
    detector = YOLO(model, task=task.name)
    detector.model = task.model(model, ch=dataset.channels, nc=len(dataset.names), verbose=False)
    detector.model.names = dataset.names
    path = folder / "random.pt"
    detector.save(path)
    return path


@safe_loading()
def _export_with_ultralytics(weights: Path, data: str, imgsz: int, folder: Path) -> Path:
    from ultralytics import YOLO

    copy_folder = folder / f"ultralytics-{imgsz}"  # Ultralytics writes beside the weights
    copy_folder.mkdir()
    shutil.copy(weights, copy_folder / "model.pt")
    data = str(read_dataset(data, recorded=True).copy_if_needed(copy_folder / "data").file)
    try:
        with quiet_ultralytics(logging.ERROR):
            exported = YOLO(copy_folder / "model.pt").export(
                format="onnx", quantize=8, data=data, imgsz=imgsz, device="cpu"
            )
    except Exception as error:  # Ultralytics raises all kinds of exceptions here
        raise FGDError(f"Ultralytics could not write its int8 file: {one_line(error)}") from error
    return Path(exported)


def time_networks(files: Mapping[str, Path], threads: int, rounds: int) -> dict[str, float]:
    """Return the seconds that one run of each file's network takes.

    Args:
        files: ONNX files by name. Each runs in onnxruntime; fp32 and int8 also run in OpenVINO if it is installed.
        threads: number of CPU threads.
        rounds: number of timed runs of each.
    """
    sessions = {name: _open_quietly(path, "cpu", threads) for name, path in files.items()}
    if find_spec("openvino"):
        sessions |= {f"{name}, OpenVINO": _open_quietly(files[name], "openvino", threads) for name in ("fp32", "int8")}
    (shape,) = {session.inputs[0].shape for session in sessions.values()}
    batch = np.random.default_rng(0).random(shape, dtype=np.float32)
    return best_times({name: lambda run=session.run: run(batch) for name, session in sessions.items()}, rounds)


@dataclass(frozen=True)
class StageTimes:
    """Times of a detector for one image.

    Args:
        preprocess: seconds of the preprocessing.
        network: seconds of the network.
        postprocess: seconds of the postprocessing.
        call: seconds of a call of the detector, which runs all three.
    """

    preprocess: float
    network: float
    postprocess: float
    call: float

    @property
    def processing_ratio(self) -> float | None:
        """Time of pre- and postprocessing relative to that of the network."""
        return ratio(self.preprocess + self.postprocess, self.network)

    @property
    def call_ratio(self) -> float | None:
        """Time of a call relative to the sum of its stages; 1 without any overhead."""
        return ratio(self.call, self.preprocess + self.network + self.postprocess)


def time_stages(file: Path, image: np.ndarray, threads: int, rounds: int) -> StageTimes:
    """Time a detector: a call, and each of its stages.

    Args:
        file: an ONNX file of a fixed size and batch 1.
        image: (H, W) or (H, W, C) uint8, as the detector accepts it.
        threads: CPU threads.
        rounds: timed runs of each stage.
    """
    with redirect_stderr(StringIO()):
        detector = OnnxDetector(file, "cpu", threads)
    session = open_cpu_session(file, threads)
    name = session.get_inputs()[0].name
    tensor, placement = detector.preprocess(image)
    outputs = detector.infer(tensor)
    stages = {
        "preprocess": lambda: detector.preprocess(image),
        "network": lambda: session.run(None, {name: tensor}),
        "postprocess": lambda: detector.postprocess(outputs, [placement]),
        "call": lambda: detector(image),
    }
    return StageTimes(**best_times(stages, rounds))


def _camera_image(data: str, channels: int) -> np.ndarray:
    """Return a val image of the dataset, resized to a camera frame, (480, 640) or (480, 640, channels)."""
    images, _ = images_to_compare(data, channels=channels)
    return cv2.resize(images[0], IMAGE_SIZE)


def _open_quietly(path: Path, device: str, threads: int) -> Session:
    with redirect_stderr(StringIO()):  # each session would print its device
        return open_session(path, device, threads)


def format_table(
    runs: Mapping[int, Mapping[str, float]], accuracy: Mapping[str, Accuracy], map_name: str = "mAP50-95"
) -> str:
    """Format the times of the networks as a Markdown table.

    Args:
        runs: seconds of each variant, by number of threads.
        accuracy: accuracy of each exported file; empty for random weights.
        map_name: name of its mAP50-95.
    """
    columns = (f"{counted(count, 'thread')} | times fp32" for count in runs)
    header = ["", *columns, *[map_name] * bool(accuracy)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * (1 + 2 * len(runs) + bool(accuracy))]
    for variant in next(iter(runs.values())):
        cells = [f"{times[variant] * 1e3:.1f} ms | {_speedup(times, 'fp32', variant)}" for times in runs.values()]
        if accuracy:
            cells.append(format_number(100 * accuracy[variant].map50_95, ".1f") if variant in accuracy else "")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    speedups = (f"{_speedup(times, ULTRALYTICS_INT8, 'int8')} ({count})" for count, times in runs.items())
    return "\n".join([*lines, f"\nint8 over {ULTRALYTICS_INT8}, by threads: {', '.join(speedups)}"])


def _speedup(seconds: Mapping[str, float], slow: str, fast: str) -> str:
    return format_number(ratio(seconds[slow], seconds[fast]), ".2f")


def format_stages(threads: int, times: StageTimes) -> str:
    """Format the times of the stages as a sentence."""
    width, height = IMAGE_SIZE
    processing, call = format_number(times.processing_ratio, ".1%"), format_number(times.call_ratio, ".3f")
    return (
        f"fp32, {threads} thread(s), an image of {width}x{height}: preprocessing {times.preprocess * 1e3:.2f} ms and "
        f"postprocessing {times.postprocess * 1e3:.2f} ms, {processing} of the network's "
        f"{times.network * 1e3:.1f} ms; a call takes {call} times the sum of its stages"
    )
