"""Convert a detector to float16, for hardware that computes in it; layers that exceed its range stay float32.

The comparison with PyTorch cannot reveal those layers: a CPU computes a float16 file in float32, so most intermediate
values that exceed float16 are never rounded to it. Therefore the magnitude of every tensor is measured with the float32
file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration import CALIBRATION_IMAGES
from fgd_yolo.export.cpu_session import open_cpu_session
from fgd_yolo.export.decode_tail import LEARNED_OPERATORS, constants, decode_tail, without_decode_tail
from fgd_yolo.export.precisions import Conversion
from fgd_yolo.export.sample_images import input_batches, input_channels, read_images, spread
from fgd_yolo.runtime.images import try_load_image
from fgd_yolo.text import counted, listed

LARGEST = 65504.0  # largest finite float16 value
SMALLEST = 2.0**-14  # smallest normal float16 value; smaller ones lose bits, and those below 2**-25 become 0
ROUNDING = 2.0**-11  # largest relative error of rounding to float16
# Other images give larger values than the measured ones. With a YOLOv8s trained on BCCD, values on 228 images were
# larger than those on 8 others by a factor of up to 1.63, than those on 128 others by 1.14, and than those on
# black, white and noise images by 3.05. The margin costs nothing: the largest value in that model is 31, the largest
# sum 109.
MARGIN = 4.0
# Inputs in which a single tiny element matters, by operator: divisors and variances.
_DIVISORS = {"Div": 1, "BatchNormalization": 4}
# Operators that with a tiny constant keep a divisor or the argument of a logarithm above 0.
_FLOORS = frozenset({"Add", "Clip", "Max"})
_PASSING = frozenset({"Expand", "Flatten", "Identity", "Reshape", "Sqrt", "Squeeze", "Transpose", "Unsqueeze"})
_OUTPUT_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": -1}  # of the weights, by operator


@dataclass(frozen=True)
class Fp16Report:
    """What stays float32 in a float16 file, and why.

    Args:
        float_nodes: nodes whose values, or the sums that lead to them, exceed the range of float16, in graph order;
            usually none. The decode tail, which always stays float32, is not included.
        images: number of real images that the values were measured on.
        largest: largest absolute value or sum of products before the decode tail.
    """

    float_nodes: tuple[str, ...]
    images: int
    largest: float

    refusal: ClassVar[str | None] = None

    def metadata(self) -> dict[str, Any]:
        """Return entries for the file's metadata."""
        largest = self.largest if isfinite(self.largest) else None
        return {"float_nodes": list(self.float_nodes), "range": {"images": self.images, "largest": largest}}

    def summary(self) -> list[str]:
        """Return the largest magnitude, and the nodes that stay float32 because of it."""
        images = counted(self.images, "image")
        measured = f"values and sums reach {self.largest:.4g} on {images}, the limit is {LARGEST:g}"
        count = len(self.float_nodes)
        if not count:
            return [f"within the range of float16: {measured}"]
        stay = "1 node stays" if count == 1 else f"{count} nodes stay"
        return [f"{stay} in float32, outside the range of float16 ({measured}): {listed(self.float_nodes)}"]


def convert(conversion: Conversion) -> Fp16Report:
    """Write a float16 copy of a float32 file; nodes outside the range of float16 stay float32.

    Raises:
        FGDError: the float32 file gives NaN or infinity on an image, or the copy exceeds float16 nevertheless.
    """
    images, imgsz = conversion.images, conversion.imgsz
    report = find_float_nodes(conversion.source, images, data=conversion.data, imgsz=imgsz)
    to_float16(conversion.source, conversion.target, report.float_nodes)
    check_range(conversion.target, input_batches(onnx.load(conversion.target), images, imgsz))
    return report


@dataclass(frozen=True)
class Magnitudes:
    """The largest absolute values on all measured images.

    Args:
        values: the largest absolute value of each tensor.
        sums: for each output of a learned layer, the sum of its products' absolute values. No partial sum exceeds it,
            in whatever order a device adds, and whether or not it adds the bias last.
        finite: whether every output was finite on every image.
    """

    values: dict[str, float]
    sums: dict[str, float]
    finite: bool

    def combined(self, other: Magnitudes) -> Magnitudes:
        """Return the element-wise maximum of both."""
        values = {name: max(value, other.values[name]) for name, value in self.values.items()}
        sums = {name: max(value, other.sums[name]) for name, value in self.sums.items()}
        return Magnitudes(values, sums, self.finite and other.finite)


def find_float_nodes(source: Path, images: Sequence[np.ndarray], *, data: Any, imgsz: int) -> Fp16Report:
    """Find the nodes of a float32 file that must stay float32 in a float16 one.

    Convention:
        Magnitudes are measured on the images, on up to 128 train images if the dataset is on this disk, and on three
        images that cameras produce and datasets lack: black, white and noise.
    Args:
        source: a float32 detector.
        images: uint8 images with the model's channels that the file is compared on.
        data: dataset, as the user or a checkpoint names it.
        imgsz: side of a file of dynamic size, in pixels.
    Raises:
        FGDError: the float32 file itself gives NaN or infinity on an image.
    """
    model = onnx.load(source)
    channels = input_channels(model)
    paths = _train_images(data, channels)
    read = read_images(paths, "measuring the range of float16", channels) if paths else ()
    body = without_decode_tail(model)
    magnitudes = measure_magnitudes(body, input_batches(body, chain(images, read), imgsz))
    if not magnitudes.finite:
        raise FGDError(
            "the checkpoint itself gives NaN or infinity on a real image, in float32: its training diverged or the "
            "file is damaged; export another checkpoint"
        )
    extremes = input_batches(body, _extreme_images(imgsz, channels), imgsz)
    magnitudes = magnitudes.combined(measure_magnitudes(body, extremes))
    largest = max((*magnitudes.values.values(), *magnitudes.sums.values()), default=0.0)
    return Fp16Report(tuple(float_nodes(model, magnitudes)), len(images) + len(paths), largest)


def measure_magnitudes(model: ModelProto, batches: Iterable[np.ndarray]) -> Magnitudes:
    """Run a float32 model and return the magnitudes of its tensors; one batch is in memory at a time.

    Args:
        model: without parts whose tensors may be empty.
        batches: its inputs.
    """
    measured, names = _with_magnitudes(model, _tensors(model, {TensorProto.FLOAT}), sums=True)
    session = open_cpu_session(measured)
    largest = dict.fromkeys(names, 0.0)
    outputs = [value.name for value in model.graph.output]
    finite = True  # of the outputs: a maximum ignores NaN
    for batch in batches:
        results = session.run([*outputs, *names], {model.graph.input[0].name: batch})
        finite = finite and all(np.isfinite(result).all() for result in results[: len(outputs)])
        for name, value in zip(names, results[len(outputs) :], strict=True):
            largest[name] = max(largest[name], float(value))
    values, sums = {}, {}
    for name, (tensor, is_sum) in names.items():
        (sums if is_sum else values)[tensor] = largest[name]
    return Magnitudes(values, sums, finite)


def float_nodes(model: ModelProto, magnitudes: Magnitudes) -> list[str]:
    """Return the nodes before the decode tail that must stay float32, in graph order.

    Convention:
        A node stays float32 if one of its inputs or outputs, or a sum inside it, exceeds a quarter of the largest
        float16 value: other images may give larger values. It also stays if such a tensor is not 0 but below the
        smallest normal float16 value, if a weight or constant exceeds the largest value, or if constants are so small
        that float16 changes the result.
    Args:
        model: the complete detector, float32.
        magnitudes: those of its tensors.
    """
    tail = set(decode_tail(model))
    weights = {**constants(model), **_constant_nodes(model)}
    outside = {
        name for name, value in magnitudes.values.items() if name not in weights and not _is_representable(value)
    }
    before = [node for node in model.graph.node if node.name not in tail]
    outside |= _floored(before, weights)
    float32_nodes = [
        node
        for node in before
        if magnitudes.sums.get(node.output[0], 0.0) * MARGIN > LARGEST
        or not outside.isdisjoint((*node.input, *node.output))
        or _constants_round_badly(node, weights, magnitudes)
    ]
    read = {name for node in float32_nodes for name in node.input}
    float32_nodes += [node for node in before if node.op_type == "Constant" and node.output[0] in read]
    names = {node.name for node in float32_nodes}
    return [node.name for node in before if node.name in names]


def check_range(path: Path, batches: Iterable[np.ndarray]) -> None:
    """Check that no float16 tensor of a file exceeds float16, whatever type the CPU computes it in.

    Args:
        path: the float16 file.
        batches: its inputs.
    Raises:
        FGDError: a tensor exceeds float16; the message names it.
    """
    model = shape_inference.infer_shapes(onnx.load(path))
    measured, names = _with_magnitudes(model, _tensors(model, {TensorProto.FLOAT16}), sums=False)
    session = open_cpu_session(measured)
    for batch in batches:
        outputs = session.run(list(names), {model.graph.input[0].name: batch})
        for (tensor, _), value in zip(names.values(), outputs, strict=True):
            if not value <= LARGEST:
                raise FGDError(
                    f"the exported file is wrong: {tensor} reaches {value:.6g}, above the float16 limit of {LARGEST:g}"
                )


def to_float16(source: Path, target: Path, float_nodes: Collection[str] = ()) -> None:
    """Write a copy with weights and activations in float16; input, output and the decode tail stay float32.

    The decode tail stays because float16 has steps of half a pixel beyond 512 px.

    Args:
        source: a float32 detector.
        target: file to write, with the metadata of the source.
        float_nodes: further nodes that stay float32, together with the tensors between two of them.
    """
    model = onnx.load(source)
    original = {node.name for node in model.graph.node}
    float32_nodes = [*decode_tail(model), *float_nodes]
    _separate_constants(model, set(float32_nodes))
    half = convert_float_to_float16(model, keep_io_types=True, node_block_list=float32_nodes)
    _remove_casts_between_float32(half, original)
    editor = OnnxModel(half)
    editor.prune_graph()
    editor.topological_sort()  # the converter appends its casts at the end
    onnx.save(half, target)


def _train_images(data: Any, channels: int) -> list[Path]:
    """Return readable images evenly spread over the train split; none if the dataset is not on this disk."""
    try:
        paths = spread(split_images(data, "train", "to measure float16 on"), CALIBRATION_IMAGES)
    except FGDError:  # then only the compared images are measured, and the report counts them
        return []
    return [path for path in paths if try_load_image(path, channels=channels) is not None]


def _extreme_images(side: int, channels: int) -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)
    return [np.zeros_like(noise), np.full_like(noise, 255), noise]


def _is_representable(largest: float) -> bool:
    """Return whether float16 can represent a tensor with this largest absolute value."""
    return largest == 0 or SMALLEST <= largest <= LARGEST / MARGIN


def _floored(nodes: Iterable[NodeProto], weights: Mapping[str, np.ndarray]) -> set[str]:
    """Return the tensors that only a tiny constant keeps above 0; float16 would round it to 0."""
    floored: set[str] = set()
    for node in nodes:
        constants = [np.abs(weights[name]).max() for name in node.input if name in weights and weights[name].size]
        floor = node.op_type in _FLOORS and any(0 < value < SMALLEST for value in constants)
        if floor or (node.op_type in _PASSING and node.input[0] in floored):
            floored.update(node.output)
    return floored


def _constants_round_badly(node: NodeProto, weights: Mapping[str, np.ndarray], magnitudes: Magnitudes) -> bool:
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
            other = magnitudes.values.get(node.input[1 - place], 0.0)
            with np.errstate(over="ignore"):
                errors = np.where(tiny, np.abs(values - values.astype(np.float16).astype(np.float32)), 0)
            summed = errors.sum(axis=_summed_axes(node, values.ndim))
            if summed.max() * other > ROUNDING * magnitudes.values.get(node.output[0], 0.0):
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
    """Return the names of the tensors of some types, in a model with shapes inferred."""
    described = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in described}
    outputs = [name for node in model.graph.node for name in node.output]
    return [name for name in (*(value.name for value in model.graph.input), *outputs) if types.get(name) in kinds]


def _with_magnitudes(
    model: ModelProto, tensors: Sequence[str], sums: bool
) -> tuple[ModelProto, dict[str, tuple[str, bool]]]:
    """Return a copy with the largest absolute value of each tensor as a further output.

    Args:
        model: the model to copy.
        tensors: names of the tensors to measure, of type float32 or float16.
        sums: also measure the sums of absolute products of the learned layers.
    Returns:
        The copy; and for each further output, by its name, the tensor and whether the output is its sum of products.
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


def _separate_constants(model: ModelProto, float32_nodes: set[str]) -> None:
    """Give float32 nodes their own copies of constants: the converter rounds one that a float16 node reads too."""
    shared = {name for node in model.graph.node if node.name not in float32_nodes for name in node.input}
    values = {entry.name: entry for entry in model.graph.initializer if entry.name in shared}
    copied: dict[str, str] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input if node.name in float32_nodes else ()):
            if name in values and name not in copied:
                copied[name] = f"{name}:float32"
                copy = model.graph.initializer.add()
                copy.CopyFrom(values[name])
                copy.name = copied[name]
            node.input[place] = copied.get(name, name)


def _remove_casts_between_float32(model: ModelProto, original: set[str]) -> None:
    """Connect neighbouring float32 nodes directly: the converter rounds to float16 between any two of them."""
    narrowed = {node.output[0]: node.input[0] for node in _added_casts(model, TensorProto.FLOAT16, original)}
    joined = [node for node in _added_casts(model, TensorProto.FLOAT, original) if node.input[0] in narrowed]
    sources = {node.output[0]: narrowed[node.input[0]] for node in joined}
    for node in joined:  # a cast that writes an output of the file stays, as a copy
        node.input[0] = narrowed[node.input[0]]
    for node in model.graph.node:
        node.input[:] = [sources.get(name, name) for name in node.input]


def _added_casts(model: ModelProto, to: int, original: set[str]) -> list[NodeProto]:
    """Return the casts to one type that the converter added, except for the cast of the image."""
    images = {entry.name for entry in model.graph.input}
    added = [node for node in model.graph.node if node.name not in original and node.op_type == "Cast"]
    return [node for node in added if node.attribute[0].i == to and node.input[0] not in images]
