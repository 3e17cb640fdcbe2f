"""Check that an ONNX file and the PyTorch model it was exported from detect the same objects."""

from __future__ import annotations

from ast import literal_eval
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from torch import nn
from ultralytics.utils.ops import xywh2xyxy

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.export.cpu_session import open_cpu_session
from fgd_yolo.export.matching import (
    apply_nms,
    has_similar,
    magnitude,
    missing_detections,
    nearest_differences,
    output_differences,
    row_differences,
)
from fgd_yolo.export.precisions import PRECISIONS, Precision
from fgd_yolo.export.sample_images import to_float_input
from fgd_yolo.preprocessing import UINT8_INPUT
from fgd_yolo.runtime.model_info import DETECTION_COLUMNS, RTDETR_HEAD
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE
from fgd_yolo.runtime.tasks import DECODERS

MIN_DETECTIONS = 10  # from this number of PyTorch's detections on, a file judged only by its mAP must have one of them


class Parity(NamedTuple):
    """How closely a file follows its model, over all images.

    If detections are only counted, the differences are those of matching detections.

    Args:
        detections: number of PyTorch's detections.
        missing: number of PyTorch's detections that the file lacks.
        extra: number of the file's detections that PyTorch lacks.
        box_difference_px: largest difference of a box coordinate.
        score_difference: largest difference of a class score.
    """

    detections: int
    missing: int
    extra: int
    box_difference_px: float
    score_difference: float


class _OutputKind(NamedTuple):
    """How the outputs of a file are read and compared; `queries` says that they are an RT-DETR's."""

    task: str
    classes: int
    end2end: bool
    embedded_nms: bool
    precision: Precision
    queries: bool = False

    @property
    def rotated(self) -> bool:
        return DECODERS[self.task].rotated


@torch.no_grad()
def compare_with_torch(path: Path, model: nn.Module, batches: list[np.ndarray], precision: str = "fp32") -> Parity:
    """Run both on the same images and compare the output tensors, then the detections after NMS.

    The model is compared as it was trained, not fused, so that Ultralytics' fusion is part of what is tested.
    Its head is switched to the branch that the file's metadata names.

    Convention:
        Raw outputs (B, 4 + classes + extras, anchors) are compared element by element. Final rows of a head without
        NMS, such as RT-DETR's, are sorted by score, and rounding swaps neighbours, so they are compared as sets. Rows
        of embedded NMS are compared as sets with the result of Ultralytics' NMS on PyTorch's raw output. A precision
        without `compare_outputs` rounds too coarsely for either, and its mAP was measured: its detections are only
        counted, and the file is refused if it has none of many detections.
    Args:
        path: the ONNX file, with a float or a uint8 input.
        model: the detector, float32 in eval mode on the CPU.
        batches: letterboxed images (B, H, W, C) uint8, BGR for three channels.
        precision: name of the file's precision, whose tolerance is used.
    Raises:
        FGDError: the file cannot be run, an output has a wrong shape or is not finite, or the outputs differ.
    """
    session = _open(path)
    metadata = session.get_modelmeta().custom_metadata_map
    nms = bool(literal_eval(metadata.get("args") or "{}").get("nms"))
    queries = metadata.get("head") == RTDETR_HEAD
    end2end = queries or metadata.get("end2end") == "True"
    kind = _OutputKind(model.task, len(model.names), end2end, nms, PRECISIONS[precision], queries)
    if not queries:
        model.end2end = end2end
    results = []
    for batch in batches:
        outputs = _run_torch(model, batch), _run(session, batch)
        if queries:
            size = batch.shape[1:3]
            outputs = tuple([_rows_in_pixels(rows, size) for rows in side] for side in outputs)
        results.append(_compare_batch(kind, *outputs))
    detections, missing, extra = (sum(counts) for counts in zip(*(result[:3] for result in results), strict=True))
    if not kind.precision.compare_outputs and detections >= MIN_DETECTIONS and missing == detections:
        raise FGDError(f"the exported file is wrong: it detects none of the {detections} objects that PyTorch detects")
    differences = (max(values) for values in zip(*(result[3:] for result in results), strict=True))
    return Parity(detections, missing, extra, *differences)


def _rows_in_pixels(rows: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return RT-DETR's rows (B, n, 6) with corners in pixels in place of centre and size as fractions.

    Args:
        size: height and width of the input.
    """
    if rows.shape[-1] != DETECTION_COLUMNS:
        return rows  # refused later, with its shape
    scale = rows.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.cat((xywh2xyxy(rows[..., :4]) * scale, rows[..., 4:]), -1)


def compare_files(float_input: Path, uint8_input: Path, batches: list[np.ndarray]) -> None:
    """Check that a file with uint8 input gives the outputs of the file with float input, bit for bit.

    Raises:
        FGDError: an output differs.
    """
    sessions = _open(float_input), _open(uint8_input)
    for batch in batches:
        for expected, actual in zip(*(_run(session, batch) for session in sessions), strict=True):
            if not torch.equal(expected, actual):
                raise FGDError(
                    "the exported file is wrong: with uint8 input its outputs are not those of the float input"
                )


def _compare_batch(kind: _OutputKind, expected: list[torch.Tensor], actual: list[torch.Tensor]) -> Parity:
    if kind.end2end:  # a dynamic file keeps the number of rows that it was exported with
        expected[0] = expected[0][:, : actual[0].shape[1]]
    _check_outputs(kind, expected, actual)
    differences = torch.zeros(3)
    if kind.precision.compare_outputs:
        differences = _tensor_differences(kind, expected, actual)
        _check_differences(kind, differences)
    expected_detections = apply_nms(expected[0], kind.classes, end2end=kind.end2end, rotated=kind.rotated)
    if kind.embedded_nms:
        detections = [rows[rows[:, 4] > DEFAULT_CONFIDENCE] for rows in actual[0]]
    else:
        detections = apply_nms(actual[0], kind.classes, end2end=kind.end2end, rotated=kind.rotated)
    missing_count = extra_count = 0
    lowest_scores = (float(output[0][:, -1, 4].max()) for output in (expected, actual) if kind.end2end)
    threshold = max(DEFAULT_CONFIDENCE, *lowest_scores, 0)
    for pair in zip(expected_detections, detections, strict=True):
        missing, extra, common_differences = _compare_detections(kind, *pair, threshold)
        missing_count, extra_count = missing_count + missing, extra_count + extra
        if kind.embedded_nms or not kind.precision.compare_outputs:
            differences = differences.maximum(common_differences)
    count = sum(map(len, expected_detections))
    return Parity(count, missing_count, extra_count, float(differences[0]), float(differences[1]))


def _check_outputs(kind: _OutputKind, expected: list[torch.Tensor], actual: list[torch.Tensor]) -> None:
    if not all(output.isfinite().all() for output in expected):
        raise FGDError(
            "the checkpoint itself gives NaN or infinity on a real image: its training diverged or the file is "
            "damaged; export another checkpoint"
        )
    expected_shapes, shapes = ([tuple(output.shape) for output in outputs] for outputs in (expected, actual))
    if kind.embedded_nms:
        images, channels, _ = expected_shapes[0]
        rows = shapes[0][1] if len(shapes[0]) == 3 else 0
        expected_shapes[0] = (images, rows, channels - kind.classes + 2)
    if expected_shapes != shapes:
        raise FGDError(
            f"the exported file is wrong: its outputs have the shapes {shapes}, but PyTorch's have {expected_shapes}"
        )
    if not all(output.isfinite().all() for output in actual):
        raise FGDError("the exported file is wrong: its outputs are not finite on an image where PyTorch's are finite")


def _tensor_differences(kind: _OutputKind, expected: list[torch.Tensor], actual: list[torch.Tensor]) -> torch.Tensor:
    """Return the largest differences (3,) of all outputs that can be compared before NMS."""
    tolerance = kind.precision.tolerance
    if kind.embedded_nms:
        largest = torch.zeros(3)
    elif kind.end2end:
        pairs = zip(expected[0], actual[0], strict=True)
        largest = torch.stack([row_differences(*pair, tolerance) for pair in pairs]).amax(0)
    else:
        largest = output_differences(expected[0], actual[0], kind.classes, tolerance.above)
    for prototypes, other in zip(expected[1:], actual[1:], strict=True):  # mask prototypes
        largest[2] = largest[2].maximum((prototypes - other).abs().max() / magnitude(prototypes))
    return largest


def _check_differences(kind: _OutputKind, differences: torch.Tensor) -> None:
    box, score, extra = (float(value) for value in differences)
    allowed = kind.precision.tolerance
    if box <= allowed.box_px and score <= allowed.score and extra <= allowed.extra:
        return
    name = DECODERS[kind.task].extras
    others = f", {name} by {extra:.4g} of the largest (allowed {allowed.extra})"
    raise FGDError(
        f"the exported file is wrong: boxes differ from PyTorch's by {box:.4g} px (allowed {allowed.box_px}), "
        f"scores by {score:.4g} (allowed {allowed.score}){others if name else ''}"
    )


def _compare_detections(
    kind: _OutputKind, expected: torch.Tensor, actual: torch.Tensor, threshold: float
) -> tuple[int, int, torch.Tensor]:
    """Return the number of missing and of extra detections, and the largest differences of the common ones."""
    tolerance = kind.precision.tolerance
    differences = nearest_differences(expected, actual, tolerance)
    if not kind.precision.compare_outputs:
        common = has_similar(expected, actual, kind.rotated)
        extra = ~has_similar(actual, expected, kind.rotated)
        return int((~common).sum()), int(extra.sum()), _largest(differences[common])
    missing_count, extra_count = (
        int(missing_detections(*pair, tolerance, kind.rotated, threshold).sum())
        for pair in ((expected, actual), (actual, expected))
    )
    if missing_count or extra_count:
        raise FGDError(
            f"the exported file is wrong: after NMS {missing_count} of PyTorch's {len(expected)} detections are "
            f"missing, {extra_count} of its {len(actual)} detections are not PyTorch's"
        )
    return 0, 0, _largest(differences[(differences <= torch.tensor(tolerance[:3])).all(1)])


def _largest(differences: torch.Tensor) -> torch.Tensor:
    return torch.cat((differences, torch.zeros(1, 3))).amax(0)


def _open(path: Path) -> onnxruntime.InferenceSession:
    try:
        return open_cpu_session(path)
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        raise FGDError(f"onnxruntime cannot load the exported file: {one_line(error)}") from error


def _run(session: onnxruntime.InferenceSession, batch: np.ndarray) -> list[torch.Tensor]:
    """Return the outputs of a file on letterboxed images, for a float or a uint8 input."""
    (image,) = session.get_inputs()
    try:
        outputs = session.run(None, {image.name: batch if UINT8_INPUT.input in image.type else to_float_input(batch)})
    except Exception as error:
        raise FGDError(f"onnxruntime cannot run the exported file: {one_line(error)}") from error
    return [torch.from_numpy(output) for output in outputs]


def _run_torch(model: nn.Module, batch: np.ndarray) -> list[torch.Tensor]:
    """Return PyTorch's outputs: the decoded tensor and, for masks, their prototypes."""
    output = model(torch.from_numpy(to_float_input(batch)))[0]
    return list(output) if isinstance(output, tuple) else [output]
