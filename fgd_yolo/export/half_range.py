"""Which layers float16 cannot hold, measured with the float32 file on real images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from fgd_yolo.console import progress
from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration import CALIBRATION_IMAGES, photo_batches
from fgd_yolo.export.sample_images import spread
from fgd_yolo.export.tail import LEARNED_OPERATORS, body, constants, decode_tail
from fgd_yolo.runtime.images import read_image

LARGEST = 65504.0  # of float16: what is larger becomes infinity
SMALLEST = 2.0**-14  # that float16 holds with all of its 11 bits; below it loses bits, and below 2**-25 everything
ROUNDING = 2.0**-11  # largest relative error of rounding to float16
# Images that were not measured go beyond those that were. A YOLOv8s trained on BCCD exceeded on 228 images what it
# reached on 8 others by a factor of up to 1.63, on 128 others by 1.14, and on the black, white and noise pictures by
# 3.05. The margin costs nothing: the largest value in that model is 31, the largest sum 109.
MARGIN = 4.0
# Inputs of which a single tiny element counts: what is divided by, and variances.
_DIVISORS = {"Div": 1, "BatchNormalization": 4}
_FLOORS = frozenset({"Add", "Clip", "Max"})  # with a tiny constant they keep a divisor or a logarithm from 0
_PASSING = frozenset({"Expand", "Flatten", "Identity", "Reshape", "Sqrt", "Squeeze", "Transpose", "Unsqueeze"})
_OUTPUT_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": -1}  # of the weights


@dataclass(frozen=True)
class HalfReport:
    """What had to stay float32 in a float16 file.

    Args:
        float_nodes: nodes whose values, or the sums that lead to them, leave the range of float16, in graph order;
            none as a rule. The decode tail, which always stays float32, is not among them.
        images: real images that the values were measured on.
        largest: largest absolute value or sum before the decode tail.
    """

    float_nodes: tuple[str, ...]
    images: int
    largest: float


@dataclass(frozen=True)
class Reach:
    """The largest absolute values on all images that were measured.

    Args:
        values: of each tensor.
        sums: of each output of a learned layer: the sum of its products' absolute values, which no partial sum
            exceeds, whatever order a device adds in, and whether or not it adds the bias last.
        finite: whether every output was, on every image.
    """

    values: dict[str, float]
    sums: dict[str, float]
    finite: bool

    def joined(self, other: Reach) -> Reach:
        """Return what both reached together."""
        values = {name: max(value, other.values[name]) for name, value in self.values.items()}
        sums = {name: max(value, other.sums[name]) for name, value in self.sums.items()}
        return Reach(values, sums, self.finite and other.finite)


def measure_half(
    source: Path, photos: Sequence[np.ndarray], *, data: str | Path | None, recorded: Any, imgsz: int
) -> HalfReport:
    """Find the nodes of a float32 file that must stay float32 in a float16 one.

    Parity cannot find them: a CPU computes a float16 file in float32, and most of what exceeds float16 on the way is
    never rounded to it.

    Convention:
        Measured are the photos, up to 128 train images where the data has them on this disk, and three pictures that
        cameras give and data sets lack: black, white and noise.
    Args:
        source: a float32 detector.
        photos: BGR images that the file is compared on.
        data: dataset YAML given by the user.
        recorded: what the checkpoint says it was trained on, used when no data is given.
        imgsz: side of a file with a dynamic size, in pixels.
    Raises:
        FGDError: the float32 file itself gives NaN or infinity on an image.
    """
    model = onnx.load(source)
    paths = _train_images(data, recorded)
    read = map(read_image, progress(paths, "measuring the range of float16") if paths else ())
    stages = body(model)
    reach = measure_reach(stages, photo_batches(stages, chain(photos, read), imgsz))
    if not reach.finite:
        raise FGDError(
            "the checkpoint itself gives NaN or infinity on a real image, in float32: its training diverged or the "
            "file is damaged; export another checkpoint"
        )
    reach = reach.joined(measure_reach(stages, photo_batches(stages, _extremes(imgsz), imgsz)))
    largest = max((*reach.values.values(), *reach.sums.values()), default=0.0)
    return HalfReport(tuple(float_nodes(model, reach)), len(photos) + len(paths), largest)


def measure_reach(model: ModelProto, batches: Iterable[np.ndarray]) -> Reach:
    """Run a float32 model on inputs and return how far its tensors reach; one batch is in memory at a time.

    Args:
        model: without parts whose tensors may be empty.
        batches: its inputs.
    """
    watched, names = _watched(model, _tensors(model, {TensorProto.FLOAT}), sums=True)
    session = _open(watched)
    found = dict.fromkeys(names, 0.0)
    outputs = [value.name for value in model.graph.output]
    finite = True  # asked of the outputs: a maximum leaves NaN out
    for batch in batches:
        answers = session.run([*outputs, *names], {model.graph.input[0].name: batch})
        finite = finite and all(np.isfinite(answer).all() for answer in answers[: len(outputs)])
        for name, value in zip(names, answers[len(outputs) :], strict=True):
            found[name] = max(found[name], float(value))
    values, sums = {}, {}
    for name, (tensor, is_sum) in names.items():
        (sums if is_sum else values)[tensor] = found[name]
    return Reach(values, sums, finite)


def float_nodes(model: ModelProto, reach: Reach) -> list[str]:
    """Return the nodes before the decode tail that float16 cannot hold, in graph order.

    Convention:
        A node stays float32 where one of its inputs or outputs, or a sum inside it, goes beyond a quarter of what
        float16 holds: images that were not measured go beyond those that were. It stays too where such a tensor is
        not 0 but below the smallest number of float16 that has all its bits, where a weight or constant is above
        the largest number, and where constants are so small that float16 changes the result.
    Args:
        model: the whole detector, float32.
        reach: of its tensors.
    """
    tail = set(decode_tail(model))
    weights = {**constants(model), **_constant_nodes(model)}
    lost = {name for name, value in reach.values.items() if name not in weights and not _holds(value)}
    before = [node for node in model.graph.node if node.name not in tail]
    lost |= _floored(before, weights)
    kept = [
        node
        for node in before
        if reach.sums.get(node.output[0], 0.0) * MARGIN > LARGEST
        or not lost.isdisjoint((*node.input, *node.output))
        or _spoilt(node, weights, reach)
    ]
    read = {name for node in kept for name in node.input}
    kept += [node for node in before if node.op_type == "Constant" and node.output[0] in read]
    names = {node.name for node in kept}
    return [node.name for node in before if node.name in names]


def check_half(path: Path, batches: Iterable[np.ndarray]) -> None:
    """Check that no float16 tensor of a file holds more than float16 can, whatever the CPU computes it in.

    Args:
        path: the float16 file.
        batches: its inputs.
    Raises:
        FGDError: one does; it is named.
    """
    model = shape_inference.infer_shapes(onnx.load(path))
    watched, names = _watched(model, _tensors(model, {TensorProto.FLOAT16}), sums=False)
    session = _open(watched)
    for batch in batches:
        answers = session.run(list(names), {model.graph.input[0].name: batch})
        for (tensor, _), value in zip(names.values(), answers, strict=True):
            if not value <= LARGEST:
                raise FGDError(
                    f"the export is wrong: {tensor} reaches {value:.6g} in float16, which ends at {LARGEST:g}"
                )


def _train_images(data: str | Path | None, recorded: Any) -> list[Path]:
    """Return readable images of the train split, evenly spread over it; none where the data is not on this disk."""
    try:
        paths = spread(
            split_images(data if data is not None else recorded, "train", "to measure float16 on"), CALIBRATION_IMAGES
        )
    except FGDError:  # the images that are compared on are then measured alone, and the report counts them
        return []
    return [path for path in paths if read_image(path) is not None]


def _extremes(side: int) -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return [np.zeros_like(noise), np.full_like(noise, 255), noise]


def _holds(largest: float) -> bool:
    """Return whether float16 holds a tensor, from its largest absolute value."""
    return largest == 0 or SMALLEST <= largest <= LARGEST / MARGIN


def _floored(nodes: Iterable[NodeProto], weights: Mapping[str, np.ndarray]) -> set[str]:
    """Return the tensors that a tiny constant keeps from 0, which rounded to float16 would be 0 after all."""
    found: set[str] = set()
    for node in nodes:
        constants = [np.abs(weights[name]).max() for name in node.input if name in weights and weights[name].size]
        floor = node.op_type in _FLOORS and any(0 < value < SMALLEST for value in constants)
        if floor or (node.op_type in _PASSING and node.input[0] in found):
            found.update(node.output)
    return found


def _spoilt(node: NodeProto, weights: Mapping[str, np.ndarray], reach: Reach) -> bool:
    """Return whether rounding a node's constants to float16 changes more than rounding its output does."""
    for place, name in enumerate(node.input):
        values = weights.get(name)
        if values is None or values.dtype != np.float32 or not values.any():
            continue
        sizes = np.abs(values)
        tiny = (sizes > 0) & (sizes < SMALLEST)
        if sizes.max() > LARGEST or (_DIVISORS.get(node.op_type) == place and tiny.any()):
            return True
        if node.op_type not in LEARNED_OPERATORS:
            if tiny[sizes > 0].all():
                return True
        elif place < 2 and tiny.any():
            other = reach.values.get(node.input[1 - place], 0.0)
            with np.errstate(over="ignore"):
                errors = np.where(tiny, np.abs(values - values.astype(np.float16).astype(np.float32)), 0)
            summed = errors.sum(axis=_summed_axes(node, values.ndim))
            if summed.max() * other > ROUNDING * reach.values.get(node.output[0], 0.0):
                return True
    return False


def _summed_axes(node: NodeProto, axes: int) -> tuple[int, ...]:
    """Return the axes of a learned layer's weights over which an output is summed."""
    transposed = node.op_type == "Gemm" and any(entry.name == "transB" and entry.i for entry in node.attribute)
    output = 0 if transposed else _OUTPUT_AXES[node.op_type] % axes
    return tuple(axis for axis in range(axes) if axis != output)


def _constant_nodes(model: ModelProto) -> dict[str, np.ndarray]:
    nodes = [node for node in model.graph.node if node.op_type == "Constant"]
    values = {node.output[0]: entry for node in nodes for entry in node.attribute if entry.name == "value"}
    return {name: numpy_helper.to_array(entry.t) for name, entry in values.items()}


def _tensors(model: ModelProto, kinds: Collection[int]) -> list[str]:
    """Return the inputs and the nodes' outputs of some types, of a model with shapes inferred."""
    described = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in described}
    made = [name for node in model.graph.node for name in node.output]
    return [name for name in (*(value.name for value in model.graph.input), *made) if types.get(name) in kinds]


def _watched(model: ModelProto, tensors: Sequence[str], sums: bool) -> tuple[ModelProto, dict[str, tuple[str, bool]]]:
    """Return a copy with the largest absolute value of each tensor as further outputs.

    Args:
        model: any.
        tensors: of type float32 or float16.
        sums: watch the learned layers' sums of absolute products too.
    Returns:
        The copy; and what each further output is of, by its name: a tensor, and whether it is of the sums.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    watched: dict[str, tuple[str, bool]] = {}
    absolute: dict[str, str] = {}

    def add(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        copy.graph.node.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def size_of(name: str) -> str:
        if name and name not in absolute:
            absolute[name] = add("Abs", [name], f"{name}:size")
        return absolute.get(name, "")

    def watch(sizes: str, tensor: str, is_sum: bool) -> None:
        output = add("ReduceMax", [sizes], f"{sizes}:largest", keepdims=0)
        copy.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
        watched[output] = (tensor, is_sum)

    for name in tensors:
        source = name if sums else add("Cast", [name], f"{name}:float", to=TensorProto.FLOAT)
        watch(size_of(source), name, False)
    for node in model.graph.node if sums else ():
        if node.op_type in LEARNED_OPERATORS:
            twin = copy.graph.node.add()
            twin.CopyFrom(node)
            twin.name = f"{node.name}:sums"
            twin.input[:] = [size_of(name) for name in node.input]
            twin.output[:] = [f"{node.output[0]}:sums"]
            watch(twin.output[0], node.output[0], True)
    return copy, watched


def _open(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
