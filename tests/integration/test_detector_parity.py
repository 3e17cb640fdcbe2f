"""The detector and Ultralytics detect the same objects with the same file, on realistic images of every shape."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fgd_yolo.runtime import OnnxDetector
from long_cases import long

SIDE = 160
BOX_PX, SCORE = 0.5, 1e-3
# Heights and widths: of a camera, odd, tall, one pixel, a thin strip, a panorama.
SHAPES = [(480, 640), (333, 777), (101, 97), (1000, 300), (1, 1), (3, 200), (60, 60), (400, 8000)]
TASKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb"}  # and the suffix of Ultralytics' model YAML
FORMS = {
    "raw": {},
    "raw, of dynamic size": {"dynamic": True},
    "embedded nms": {"nms": True},
    "embedded nms, of dynamic size": {"nms": True, "dynamic": True, "batch": 2},
}
CONFIDENCE, OVERLAP = 0.3, 0.65
MIN_COMPARED = 40

pytestmark = pytest.mark.slow


def scene(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Paint a realistic image: uneven light, blobs and blocks at many scales, blur and sensor noise."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    light = 110 + 70 * np.sin(3 * x[..., None] + 5 * y[..., None] + random.uniform(0, 6, 3))
    image = light.astype(np.uint8).copy()
    for _ in range(40):
        centre = [int(v) for v in (random.integers(0, width), random.integers(0, height))]
        half = [int(v) for v in random.integers(1, max(2, min(height, max(width // 4, 2)) // 3 + 2), 2)]
        paint = [int(v) for v in random.integers(0, 256, 3)]
        if random.random() < 0.6:
            cv2.ellipse(image, centre, half, float(random.uniform(0, 180)), 0, 360, paint, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, np.subtract(centre, half).tolist(), np.add(centre, half).tolist(), paint, -1)
    noisy = cv2.GaussianBlur(image, (0, 0), 1.2) + random.normal(0, 6, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> list[Path]:
    """JPEG files, as a camera writes them."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = []
    for height, width in SHAPES:
        paths.append(folder / f"{width}x{height}.jpg")
        cv2.imwrite(str(paths[-1]), scene(random, height, width))
    return paths


def mimic_training(model, random: np.random.Generator) -> None:
    """Give fresh weights the spread of trained ones, measured on images: a few percent of the anchors are objects."""
    import torch

    scenes = [cv2.resize(scene(random, side, side), (SIDE, SIDE)) for side in (60, 160, 300, 480, 640, 900) * 2]
    images = np.stack(scenes)[..., ::-1].transpose(0, 3, 1, 2) / 255
    batch = torch.from_numpy(images).float()
    head = model.model[-1]
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # takes over the statistics of the first pass
    with torch.no_grad():
        model.train()(batch)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # a channel inactive in this pass must not explode later
                module.running_var.clamp_(min=0.2 * float(module.running_var.mean()))
        last_layers = {
            name: module
            for name, module in head.named_modules()
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None
        }
        hooks = [module.register_forward_hook(spread_out(*spread(name, head))) for name, module in last_layers.items()]
        model.eval()(batch)
    for hook in hooks:
        hook.remove()


def spread(name: str, head) -> tuple[float, float]:
    """Return the mean and the deviation that the outputs of a last convolution of the head should have."""
    if "cv3" in name:
        return -2.0, 1.0
    if "cv2" in name and head.reg_max == 1:
        return 2.5, 0.5  # distances themselves: below zero a box would be inside out
    return 0.0, 1.5


def spread_out(mean: float, deviation: float):
    def hook(module, inputs, output):
        scale = deviation / output.std()
        module.bias.copy_((module.bias - output.mean()) * scale + mean)
        module.weight.mul_(scale)
        return (output - output.mean()) * scale + mean

    return hook


def build(folder: Path, family: str, task: str) -> Path:
    """Write a checkpoint of Ultralytics' model, `yolov8` or `yolo26`, with few channels and three classes."""
    import torch
    import yaml
    from ultralytics import __version__
    from ultralytics.nn import tasks
    from ultralytics.utils import ROOT

    kind = {"segment": "Segmentation", "detect": "Detection", "pose": "Pose", "obb": "OBB"}[task]
    source = ROOT / f"cfg/models/{family.removeprefix('yolo')}/{family}{TASKS[task]}.yaml"
    described = yaml.safe_load(source.read_text(encoding="utf-8"))
    del described["scales"]
    described |= {"nc": 3, "depth_multiple": 0.33, "width_multiple": 0.125}
    (folder / source.name).write_text(yaml.safe_dump(described))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(tasks, f"{kind}Model")(str(folder / source.name), verbose=False)
        mimic_training(model, np.random.default_rng(1))
    model.names, model.task = {0: "disc", 1: "block", 2: "wedge"}, task
    train_args = {"task": task, "imgsz": SIDE, "data": "none.yaml", "model": source.name}
    checkpoint = {"epoch": -1, "model": model.half(), "ema": None, "train_args": train_args}
    path = folder / f"{family}.pt"
    torch.save({**checkpoint, "date": "2026-01-01T00:00:00", "version": __version__}, path)
    return path


def export(weights: Path, size: int = SIDE, **options) -> Path:
    """Convert with Ultralytics' exporter, without simplification, which changes no number."""
    from ultralytics import YOLO

    return Path(YOLO(weights).export(format="onnx", imgsz=size, simplify=False, verbose=False, **options))


def compare(file: Path, task: str, images: list[Path], size: int = SIDE) -> int:
    """Assert that the objects and their order are those of Ultralytics; return their number."""
    from ultralytics import YOLO

    options = {"conf": CONFIDENCE, "iou": OVERLAP, "imgsz": size, "retina_masks": True, "verbose": False}
    reference = YOLO(file, task=task)
    results = OnnxDetector(file, "cpu", threads=1, conf=CONFIDENCE, iou=OVERLAP)([*images])
    for path, detections in zip(images, results, strict=True):
        expected = reference.predict(str(path), **options)[0]
        boxes = expected.obb if task == "obb" else expected.boxes
        assert detections.shape == expected.orig_shape and len(detections) == len(boxes), path.name
        assert detections.class_id.tolist() == boxes.cls.tolist(), path.name
        near(detections.xyxy, boxes.xyxy, BOX_PX, path)
        near(detections.confidence, boxes.conf, SCORE, path)
        if task == "obb":
            near(detections.xywhr[:, :4], boxes.xywhr[:, :4], BOX_PX, path)
            near(detections.xywhr[:, 4], boxes.xywhr[:, 4], SCORE, path)
        elif task == "pose":
            near(detections.keypoints[..., :2], expected.keypoints.xy, BOX_PX, path)
            near(detections.keypoints[..., 2], expected.keypoints.conf, SCORE, path)
        elif task == "segment" and len(detections):
            differing = (detections.mask != expected.masks.data.numpy().astype(bool)).mean()
            assert differing < 1e-5, f"{path.name}: {differing:.1e} of all mask pixels"
    return sum(map(len, results))


def near(actual: np.ndarray, expected, tolerance: float, path: Path) -> None:
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=tolerance, err_msg=path.name)


def cases(forms, rare):
    """Return every form with every task; the rare forms of other tasks than detect are left to `make test-long`."""
    return [
        pytest.param(task, form, id=f"{task}-{form}", marks=[pytest.mark.long] * (task != "detect" and form in rare))
        for task in TASKS
        for form in forms
    ]


@pytest.mark.parametrize(("task", "form"), cases(FORMS, rare=("raw, of dynamic size", "embedded nms")))
def test_yolov8_files_give_the_objects_of_ultralytics(task, form, images, tmp_path):
    options = {"conf": CONFIDENCE, "iou": OVERLAP} if "nms" in FORMS[form] else {}
    file = export(build(tmp_path, "yolov8", task), **FORMS[form], **options)
    assert compare(file, task, images) >= MIN_COMPARED


def test_images_rotated_by_their_exif_orientation_give_the_objects_of_ultralytics(images, tmp_path):
    image = Image.open(images[1])  # 777 x 333 px
    rotated = []
    for kind, suffix in (("AVIF", "avif"), ("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")):
        for orientation in range(1, 9) if kind == "AVIF" else (6, 7):
            exif = Image.Exif()
            exif[0x0112] = orientation
            rotated.append(tmp_path / f"{orientation}.{suffix}")
            image.save(rotated[-1], kind, exif=exif)
    file = export(build(tmp_path, "yolov8", "detect"))
    assert compare(file, "detect", rotated) >= MIN_COMPARED
    results = OnnxDetector(file, "cpu")(rotated)
    sizes = {path.name: detections.shape for path, detections in zip(rotated, results, strict=True)}
    assert (sizes["1.avif"], sizes["6.avif"]) == ((333, 777), (777, 333))


@pytest.mark.parametrize(("task", "form"), cases(("end to end", "raw"), rare=("raw",)))
def test_yolo26_files_give_the_objects_of_ultralytics(task, form, images, tmp_path):
    file = export(build(tmp_path, "yolo26", task), **({"nms": False} if form == "raw" else {}))
    assert OnnxDetector(file, "cpu").info.decoded == (form == "raw")
    assert compare(file, task, images) >= MIN_COMPARED


@pytest.mark.parametrize("task", ["detect", *long("segment", "pose", "obb")])
def test_end_to_end_files_of_dynamic_size_take_thin_images_that_ultralytics_cannot_run(task, images, tmp_path):
    weights = build(tmp_path, "yolo26", task)
    file = export(weights, nms=False, dynamic=True, size=256)
    thin = [path for path in images if path.stem in {"8000x400", "200x3"}]
    assert compare(file, task, [path for path in images if path not in thin], size=256) >= MIN_COMPARED
    assert len(thin) == 2
    # For them it gives the same detections as a file of fixed size, which overwrites it on the disk.
    options = {"device": "cpu", "threads": 1, "conf": CONFIDENCE}
    free = OnnxDetector(file, **options)(thin)
    fixed = OnnxDetector(export(weights, nms=False, size=256), **options)(thin)
    assert sum(map(len, free)) > 0
    for detections, expected in zip(free, fixed, strict=True):
        assert len(detections) == len(expected)
        np.testing.assert_allclose(detections.xyxy, expected.xyxy, rtol=0, atol=BOX_PX)
