"""Small but real files for tests: a drawn dataset, narrow models, checkpoints as Ultralytics writes them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import yaml

CLASSES = ("disc", "block", "wedge")
IMAGE_PX = 96


KEYPOINTS = {"kpt_shape": [3, 3], "flip_idx": [0, 2, 1]}


def draw_dataset(
    folder: Path, train: int = 12, val: int = 6, seed: int = 0, task: str = "detect", channels: int = 3
) -> Path:
    """Draw discs, blocks and wedges on noise, in the layout Ultralytics reads; return the dataset YAML.

    The images are the same for every task; only the labels differ. The last image of each split is empty: it has no
    objects and an empty label file. Images of 1 and 3 channels are PNGs, others the pages of a TIFF.
    """
    random = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            image, label = draw_image(random, 0 if index == count - 1 else 1 + index % 3, task)
            save_channels(folder / "images" / split / f"{index:02}.png", image, channels)
            (folder / "labels" / split / f"{index:02}.txt").write_text(label)
    description = {
        "path": str(folder),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CLASSES)),
        **(KEYPOINTS if task == "pose" else {}),
        **({"channels": channels} if channels != 3 else {}),
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(description))
    return path


def save_channels(path: Path, image: np.ndarray, channels: int) -> Path:
    """Save a BGR image as one of 1 to 6 channels, other numbers than 1 and 3 as `.tif`, and return its path."""
    image = of_channels(image, channels)
    if channels in (1, 3):
        assert cv2.imwrite(str(path), image)
        return path
    assert cv2.imwritemulti(
        str(path.with_suffix(".tif")), [np.ascontiguousarray(page) for page in np.moveaxis(image, 2, 0)]
    )
    return path.with_suffix(".tif")


def of_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Return a BGR image with 1 to 6 channels: its brightest one, or its own and their negatives."""
    if channels == 1:
        return image.max(axis=2, keepdims=True)
    return np.concatenate([image, 255 - image], axis=2)[..., :channels]


def draw_image(random: np.random.Generator, objects: int, task: str = "detect") -> tuple[np.ndarray, str]:
    """Return a BGR image with this number of objects, each of a random class, and the text of its label file."""
    image = random.integers(90, 130, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
    labels = random.integers(0, len(CLASSES), objects)
    return image, "".join([_draw_object(image, int(label), random, task) for label in labels])


def _draw_object(image: np.ndarray, label: int, random: np.random.Generator, task: str) -> str:
    """Draw one object and return its label line: the class, and values as fractions."""
    half = int(random.integers(8, 20))
    x, y = (int(v) for v in random.integers(half, IMAGE_PX - half, 2))
    colour = [int(v) for v in random.integers(0, 60, 3)]
    colour[label] = 240
    if label == 0:
        cv2.circle(image, (x, y), half, colour, -1)
    elif label == 1:
        cv2.rectangle(image, (x - half, y - half), (x + half, y + half), colour, -1)
    else:
        cv2.fillPoly(image, [np.array([(x, y - half), (x - half, y + half), (x + half, y + half)])], colour)
    values = " ".join(f"{value:.6f}" for value in LABELS[task](label, x / IMAGE_PX, y / IMAGE_PX, half / IMAGE_PX))
    return f"{label} {values}\n"


def _box(label: int, x: float, y: float, half: float) -> list[float]:
    return [x, y, 2 * half, 2 * half]


def _polygon(label: int, x: float, y: float, half: float) -> list[float]:
    angles = np.arange(24) * (2 * np.pi / 24)
    corners = {
        0: np.stack([np.cos(angles), np.sin(angles)], axis=1),
        1: np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
        2: np.array([(0, -1), (-1, 1), (1, 1)]),
    }[label]
    return ((x, y) + half * corners).ravel().tolist()


def _keypoints(label: int, x: float, y: float, half: float) -> list[float]:
    """Return the box, and three visible points: top, lower left and lower right."""
    points = [(x, y - half, 2), (x - half, y + half, 2), (x + half, y + half, 2)]
    return _box(label, x, y, half) + [value for point in points for value in point]


def _corners(label: int, x: float, y: float, half: float) -> list[float]:
    """Return the corners of a box of half the height, turned by 30 degrees."""
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    corners = np.array([(-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)]) @ np.array([[cos, sin], [-sin, cos]])
    return ((x, y) + half * corners).ravel().tolist()


LABELS = {"detect": _box, "segment": _polygon, "pose": _keypoints, "obb": _corners}


def narrow_yaml(path: Path, width: float, task: str = "detect", **changes) -> Path:
    """Write the YAML of Ultralytics' YOLOv8 with channels times `width`, three classes and changes; return its path."""
    from ultralytics.utils import ROOT

    name = {"detect": "yolov8.yaml", "segment": "yolov8-seg.yaml"}.get(task, f"yolov8-{task}.yaml")
    model = yaml.safe_load((ROOT / "cfg/models/v8" / name).read_text(encoding="utf-8"))
    del model["scales"]
    path.write_text(
        yaml.safe_dump({**model, "nc": len(CLASSES), "depth_multiple": 0.33, "width_multiple": width, **changes})
    )
    return path


# hd, nq, ndp, nh, ndl, d_ffn, dropout, act, eval_idx, nd of Ultralytics' decoder
SMALL_DECODER = (32, 30, 2, 4, 2, 64, 0.0, None, -1, 10)


def narrow_rtdetr(path: Path, width: float, **changes) -> Path:
    """Write the YAML of Ultralytics' YOLOv8 with an RT-DETR decoder, narrow and small; return its path."""
    from ultralytics.utils import ROOT

    model = yaml.safe_load((ROOT / "cfg/models/v8/yolov8-rtdetr.yaml").read_text(encoding="utf-8"))
    del model["scales"]
    model["head"][-1][-1] = ["nc", *SMALL_DECODER]
    path.write_text(
        yaml.safe_dump({**model, "nc": len(CLASSES), "depth_multiple": 0.33, "width_multiple": width, **changes})
    )
    return path


def save_checkpoint(
    path: Path,
    model_yaml: str | Path,
    data: Path,
    seed: int = 0,
    task: str = "detect",
    small_boxes: bool = False,
    channels: int = 3,
    **keypoints,
) -> Path:
    """Save an untrained detector with varied outputs as Ultralytics saves a trained one, in half precision.

    A model whose YAML ends in a decoder of RT-DETR is one.

    Args:
        path: file to write.
        model_yaml: Ultralytics' model name (`yolo11n.yaml`) or a file.
        data: dataset YAML that the checkpoint names as its training data.
        seed: seed of the weights.
        task: detect, segment, pose or obb; must match the model.
        small_boxes: make boxes smaller than the image, as those of trained models are; Ultralytics' embedded NMS
            offsets classes by the image size, so that larger boxes would suppress those of other classes.
        channels: number of channels of the images.
        keypoints: `data_kpt_shape` of a pose model whose YAML has other keypoints than the data.
    """
    import torch
    from ultralytics import __version__
    from ultralytics.nn import tasks

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = {"detect": "Detection", "segment": "Segmentation", "pose": "Pose", "obb": "OBB"}[task]
        decoder = tasks.yaml_model_load(model_yaml)["head"][-1][2] == "RTDETRDecoder"
        kind = "RTDETRDetection" if decoder else kind
        model = getattr(tasks, f"{kind}Model")(
            str(model_yaml), ch=channels, nc=len(CLASSES), verbose=False, **keypoints
        )
        _spread_outputs(model, channels)
        for branch in getattr(model.model[-1], "cv2", ()) if small_boxes else ():
            branch[-1].bias.data -= torch.arange(16.0).repeat(4)
    model.names = dict(enumerate(CLASSES))
    model.task = task
    train_args = {"task": task, "data": str(data), "imgsz": IMAGE_PX, "model": str(model_yaml)}
    torch.save(
        {
            "epoch": -1,
            "model": model.half(),
            "ema": None,
            "train_args": train_args,
            "date": "2026-01-01T00:00:00",
            "version": __version__,
        },
        path,
    )
    return path


class TaskFiles(NamedTuple):
    """A drawn dataset of a task, an untrained teacher that has its classes, and the YAML of a narrower student."""

    data: Path
    teacher: Path
    student: Path


def task_files(folder: Path, task: str, channels: int = 3, train: int = 8) -> TaskFiles:
    """Write the files of a small training of a task into a new folder."""
    folder.mkdir(parents=True)
    data = draw_dataset(folder / "data", train=train, task=task, channels=channels)
    keypoints = KEYPOINTS if task == "pose" else {}
    wide = narrow_yaml(folder / "wide.yaml", 0.125, task, **keypoints)
    teacher = save_checkpoint(folder / "teacher.pt", wide, data, task=task, channels=channels)
    return TaskFiles(data, teacher, narrow_yaml(folder / "narrow.yaml", 0.0625, task, **keypoints))


def rename_classes(checkpoint: Path, path: Path, *names: str) -> Path:
    """Save a checkpoint again with other names of its classes, in the order of their numbers; return the new file."""
    import torch

    content = torch.load(checkpoint, weights_only=False)
    content["model"].names = dict(enumerate(names))
    torch.save(content, path)
    return path


def _spread_outputs(model, channels: int) -> None:
    """Give initial weights the spread of trained ones; otherwise all boxes are equal and all scores below 0.01.

    Batch statistics are taken from drawn images, and the last convolutions of the head get unit gain.
    """
    import torch

    random = np.random.default_rng(0)
    images = np.stack([of_channels(draw_image(random, objects=3)[0], channels) for _ in range(8)])
    images = images.transpose(0, 3, 1, 2) / 255
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0  # use the statistics of the single pass below
    missing = -IMAGE_PX % int(model.stride.max())  # a P6 model needs multiples of 64
    padded = torch.nn.functional.pad(torch.from_numpy(images).float(), (0, missing, 0, missing))
    with torch.no_grad():
        model.train()(padded)
        for name, module in model.model[-1].named_modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None and not name.startswith("dfl"):
                torch.nn.init.normal_(module.weight, std=module.in_channels**-0.5)
                if "cv3" in name:
                    torch.nn.init.constant_(module.bias, -1.0)
            if isinstance(module, torch.nn.Linear) and "score_head" in name:
                torch.nn.init.normal_(module.weight, std=0.3)
                torch.nn.init.constant_(module.bias, -1.0)
            if "bbox_head" in name and name.endswith("layers.2"):
                torch.nn.init.normal_(module.weight, std=0.05)
    for norm in norms:
        norm.momentum = momentum
    model.eval()


def file_names(folder: Path) -> list[str]:
    """Return the sorted names of the files and folders in a folder."""
    return sorted(path.name for path in folder.iterdir())
