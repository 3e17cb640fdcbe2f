"""A float16 file of a model that exceeds float16 is correct on a device that computes in it, not only on a CPU."""

from __future__ import annotations

import json

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from fgd_yolo import export_onnx
from fgd_yolo.cli.main import main
from fgd_yolo.errors import FGDError
from fgd_yolo.export.fp16 import find_float_nodes
from fixtures import narrow_yaml, save_checkpoint

pytestmark = pytest.mark.slow

SIZE = 64


def change(path, edit):
    """Change the model of a checkpoint in place; it is stored in float32, since it exceeds float16."""
    checkpoint = torch.load(path, weights_only=False)
    with torch.no_grad():
        edit(checkpoint["model"].float().model)
    torch.save(checkpoint, path)
    return path


def scale_up(layers):
    """Make the maps of layer 2, which only layer 3 reads, 30 000 times as large, and divide by it there."""
    last = layers[2].cv2
    last.bn.weight *= 3e4
    last.bn.bias *= 3e4
    layers[3].conv.weight /= 3e4


def all_images(data):
    """Return all images of the data at the size of the file, with plain OpenCV, since they are square: (N, 3, H, W)."""
    paths = sorted((data.parent / "images").rglob("*.png"))
    pixels = np.stack([cv2.resize(cv2.imread(str(path)), (SIZE, SIZE)) for path in paths])
    return np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255


def in_float16_arithmetic(path, images):
    """Return what a device that rounds every float16 tensor to float16 computes."""
    evaluator = ReferenceEvaluator(onnx.load(path))
    with np.errstate(all="ignore"):
        return [evaluator.run(None, {"images": image[None]}) for image in images]


@pytest.mark.parametrize(
    ("task", "family"),
    [
        ("detect", "narrow"),
        *(pytest.param(task, "narrow", marks=pytest.mark.slow) for task in ("segment", "pose", "obb")),
        pytest.param("detect", "yolo11n.yaml", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_overflows_is_right_in_float16_arithmetic(task, family, tiny_data, tmp_path):
    model_yaml = narrow_yaml(tmp_path / "narrow.yaml", width=0.125, task=task) if family == "narrow" else family
    weights = save_checkpoint(tmp_path / "model.pt", model_yaml, tiny_data, task=task, small_boxes=True)
    change(weights, scale_up)
    images = all_images(tiny_data)[:3]
    half = torch.load(weights, weights_only=False)["model"].half().eval()
    assert not half(torch.from_numpy(images).half())[0][0].isfinite().all(), "PyTorch's own float16 overflows"

    exported = export_onnx(weights, imgsz=SIZE, precision="fp16")
    inner = "/model.2/cv2"
    names = (f"{inner}/conv/Conv", f"{inner}/act/Sigmoid", f"{inner}/act/Mul", "/model.3/conv/Conv")
    assert exported.report.float_nodes == names
    assert exported.report.images == 18
    model = torch.load(weights, weights_only=False)["model"].float().eval()
    model.end2end = False
    with torch.no_grad():
        expected = model(torch.from_numpy(images))[0]
    expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
    actual = np.concatenate([outputs[0] for outputs in in_float16_arithmetic(exported.path, images)])
    scores = slice(4, 7)
    assert np.abs(actual[:, scores] - expected[:, scores]).max() < 0.05
    assert actual.shape == expected.shape


def test_the_float32_layers_are_those_whose_values_exceed_a_quarter_of_the_limit(tiny_data, tmp_path):
    weights = save_checkpoint(
        tmp_path / "model.pt", narrow_yaml(tmp_path / "narrow.yaml", width=0.125), tiny_data, small_boxes=True
    )
    change(weights, scale_up)
    model, largest = torch.load(weights, weights_only=False)["model"].float().eval(), {}

    def keep(name):
        def hook(module, inputs, output):
            largest[name] = max(largest.get(name, 0), float(output.abs().max()))

        return hook

    for name, module in model.named_modules():
        if hasattr(module, "bn"):
            module.bn.register_forward_hook(keep(f"/{name.removeprefix('model.')}/conv/Conv"))
    with torch.no_grad():
        model(torch.from_numpy(all_images(tiny_data)))
    beyond = {name.replace("/", "/model.", 1).replace(".cv", "/cv") for name, value in largest.items() if value > 16376}
    report = export_onnx(weights, imgsz=SIZE, precision="fp16").report
    assert beyond == {"/model.2/cv2/conv/Conv"} <= set(report.float_nodes)
    assert report.largest >= max(largest.values())


def test_attention_whose_products_overflow_stays_float32(tiny_data, tmp_path):
    """An untrained YOLO26, whose queries and keys are large: the expectation is PyTorch's own products."""
    weights = save_checkpoint(tmp_path / "model.pt", "yolo26n.yaml", tiny_data)
    model, products = torch.load(weights, weights_only=False)["model"].float().eval(), {}

    def watch(layer, attention):
        def hook(module, inputs, output):
            parts = [attention.key_dim, attention.key_dim, attention.head_dim]
            query, key, _ = output.flatten(2).unflatten(1, (attention.num_heads, -1)).split(parts, dim=2)
            products[layer] = float((query.transpose(-2, -1) @ key * attention.scale).abs().max())

        attention.qkv.register_forward_hook(hook)

    for name, module in model.named_modules():
        if type(module).__name__ == "Attention":
            watch(name.split(".")[1], module)
    white = np.ones((1, 3, SIZE, SIZE), "f4")
    with torch.no_grad():
        model(torch.from_numpy(np.concatenate([white * 0, white])))  # larger products than any drawn image gives
    plain = export_onnx(weights, imgsz=SIZE)
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    report = find_float_nodes(plain.path, [image], data=None, imgsz=SIZE)
    beyond = {layer for layer, value in products.items() if value > 16376}
    assert beyond == {"22"}
    names = {name for name in report.float_nodes if name.endswith("/attn/MatMul")}
    assert {name.split("/")[1] for name in names} == {"model.22"}


def test_the_command_and_the_file_name_the_float32_nodes(tiny_data, tmp_path, capsys):
    weights = save_checkpoint(
        tmp_path / "model.pt", narrow_yaml(tmp_path / "narrow.yaml", width=0.125), tiny_data, small_boxes=True
    )
    words = ["export", "--model", str(weights), "--imgsz", str(SIZE), "--precision", "fp16"]
    assert main(words) == 0
    assert "on 18 images, the limit is 65504\n" in capsys.readouterr().out
    change(weights, scale_up)
    assert main(words) == 0
    assert "4 nodes stay in float32, outside the range of float16 (values and sums reach" in capsys.readouterr().out
    entries = {entry.key: entry.value for entry in onnx.load(weights.with_suffix(".onnx")).metadata_props}
    entry = json.loads(entries["fgd_yolo"])
    assert (len(entry["float_nodes"]), entry["range"]["images"]) == (4, 18)


def test_without_train_images_the_compared_ones_are_measured_and_counted(tiny_data, tmp_path):
    weights = save_checkpoint(tmp_path / "model.pt", narrow_yaml(tmp_path / "narrow.yaml", width=0.125), "gone.yaml")
    files = sorted((tiny_data.parent / "images/val").iterdir())[:2]
    assert export_onnx(weights, imgsz=SIZE, precision="fp16", check_images=files).report.images == 2
    with pytest.raises(FGDError, match="no real images"):
        export_onnx(weights, imgsz=SIZE, precision="fp16")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_checkpoint_with_nan_is_reported(precision, tiny_data, tmp_path):
    weights = save_checkpoint(tmp_path / "model.pt", narrow_yaml(tmp_path / "narrow.yaml", width=0.125), tiny_data)

    def spoil(layers):
        layers[3].conv.weight[0, 0, 0, 0] = float("nan")

    with pytest.raises(FGDError, match="the checkpoint itself gives NaN or infinity on a real image"):
        export_onnx(change(weights, spoil), imgsz=SIZE, precision=precision)
    assert not weights.with_suffix(".onnx").exists()
