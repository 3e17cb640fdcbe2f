from __future__ import annotations

import numpy as np
import pytest

from fgd_yolo.export.calibration import input_batches, measure_ranges
from fgd_yolo.export.quantize import always_float
from fgd_yolo.export.sensitivity import rank_layers
from fgd_yolo.export.tail import body
from fixtures import draw_dataset
from graphs import build, detector, node, silu

DEPTH = 5


def chain(planted: int) -> object:
    """Convolutions in a row; one of them has a huge constant channel, which the next one ignores.

    In float32 that channel does nothing. In int8 all the others drown in its first step.
    """
    random = np.random.default_rng(0)
    nodes, constants, before = [], {}, "images"
    for index in range(DEPTH):
        layer = f"model.{index}"
        inputs = 3 if index == 0 else 8
        weight = random.normal(scale=(2 / inputs) ** 0.5, size=(8, inputs, 1, 1)).astype("f4")
        bias = np.zeros(8, "f4")
        if index == planted:
            weight[0], bias[0] = 0, 1e4
        if index == planted + 1:
            weight[:, 0] = 0
        nodes += [node("Conv", f"{before} w{index} b{index}", f"{layer}/conv", f"/{layer}/conv/Conv"), *silu(layer)]
        constants |= {f"w{index}": weight, f"b{index}": bias}
        before = f"{layer}/act"
    nodes.append(node("Conv", f"{before} w", "end", f"/model.{DEPTH}/Conv"))
    return build(nodes, {**constants, "w": np.ones((1, 8, 1, 1), "f4")}, {"images": [1, 3, 32, 32]}, ["end"])


@pytest.fixture
def photos(tmp_path):
    data = draw_dataset(tmp_path / "data", train=4, val=1)
    return sorted((data.parent / "images/train").iterdir())


def ranked(model, photos):
    stem = body(model)
    ranges = measure_ranges(stem, photos, 32)
    return rank_layers(stem, ranges, always_float(model), list(input_batches(stem, photos[:2], 32)))


@pytest.mark.parametrize("planted", [1, 2, 3])
def test_the_layers_on_both_sides_of_a_bad_tensor_come_first(photos, planted):
    order = [names[0].split("/")[1] for names in ranked(chain(planted), photos)]
    assert sorted(order[:2]) == [f"model.{planted}", f"model.{planted + 1}"]
    assert sorted(order) == [f"model.{index}" for index in range(1, DEPTH + 1)]


def test_every_node_that_may_be_int8_is_ranked_once_and_no_other(photos):
    model = detector()
    names = [name for layer in ranked(model, photos) for name in layer]
    assert sorted(names) == sorted({node.name for node in model.graph.node} - set(always_float(model)))
