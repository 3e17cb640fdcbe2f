"""Whether an ONNX file and the PyTorch model it came from see the same objects."""

from __future__ import annotations

from ast import literal_eval
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from torch import nn

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.export.matching import (
    CONFIDENCE,
    Tolerance,
    alike,
    compare_elements,
    compare_rows,
    lost,
    nearest,
    scale,
    suppressed,
)
from fgd_yolo.export.sample_images import as_input

TOLERANCES = {
    # Float32 rounding moves a box by some 0.002 px (a trained YOLOv8s at 320 and 640) and a score by 2e-6.
    "fp32": Tolerance(box_px=0.1, score=1e-3, extra=2e-4, overlap=0.01),
    # Of a trained YOLOv8n and YOLOv8s at 320 and 640 px, float16 moves boxes by up to 0.39 px where a score is above
    # 0.05, 0.11 px where it is above 0.25, but 5.5 px where there is nothing; and scores by up to 0.011. Less sure
    # models round farther. That no more than rounding is there to see, the float32 file has shown before.
    "fp16": Tolerance(box_px=2.0, score=0.03, extra=0.03, overlap=0.1, above=0.1, any_class=True),
    # Refuses nothing: it only weighs box against score where the nearest of two boxes is looked for.
    "int8": Tolerance(box_px=2.0, score=0.03, extra=float("inf"), overlap=0),
}
EXTRAS = {"segment": "mask coefficients and prototypes", "pose": "keypoints", "obb": "angles"}
MANY = 10  # detections of PyTorch where an int8 file that has none of them is broken


class Parity(NamedTuple):
    """How closely the file followed the model, over all images.

    Of an int8 file the differences are those of the detections that both have.
    """

    detections: int
    missing: int
    extra: int
    box_difference_px: float
    score_difference: float


class _Kind(NamedTuple):
    """What the file says about its outputs, which decides how they are read."""

    task: str
    classes: int
    end2end: bool
    embedded_nms: bool
    precision: str


@torch.no_grad()
def compare_with_torch(path: Path, model: nn.Module, batches: list[np.ndarray], precision: str = "fp32") -> Parity:
    """Run both on the same pictures and compare the output tensors, then the detections after NMS.

    The model is compared as it was trained, not fused, so that the host's fusion is part of what is tested.
    Its head is switched to the branch that the file's metadata names.

    Convention:
        Raw outputs (B, 4 + classes + extras, anchors) are compared element by element. Final rows of a head
        without NMS are sorted by score, and rounding swaps neighbours, so they are compared as sets. Rows of
        embedded NMS are compared as sets with what the host's NMS makes of PyTorch's raw output. An int8 file
        rounds too coarsely for either, its mAP is its judge: its detections are counted, not refused, unless
        it finds nothing where PyTorch finds much.
    Args:
        path: the ONNX file, with a float or a uint8 input.
        model: the detector, float32 in eval mode on the CPU.
        batches: letterboxed photos (B, H, W, 3), BGR uint8.
        precision: whose rounding is allowed: fp32, fp16 or int8.
    Raises:
        FGDError: the file cannot be run, an output has another shape or is not finite, or they differ.
    """
    session = _open(path)
    said = session.get_modelmeta().custom_metadata_map
    nms = bool(literal_eval(said.get("args") or "{}").get("nms"))
    kind = _Kind(model.task, len(model.names), said.get("end2end") == "True", nms, precision)
    model.end2end = kind.end2end
    results = [_compare_batch(kind, _predict(model, pixels), _run(session, pixels)) for pixels in batches]
    detections, missing, extra = (sum(counts) for counts in zip(*(result[:3] for result in results), strict=True))
    if precision == "int8" and detections >= MANY and missing == detections:
        raise FGDError(f"the export is wrong: it finds none of the {detections} objects that PyTorch finds")
    differences = (max(values) for values in zip(*(result[3:] for result in results), strict=True))
    return Parity(detections, missing, extra, *differences)


def compare_files(plain: Path, wrapped: Path, batches: list[np.ndarray]) -> None:
    """Check that a file with uint8 input gives what the file with float input gives, to the last bit.

    Raises:
        FGDError: an output differs.
    """
    sessions = _open(plain), _open(wrapped)
    for pixels in batches:
        for ours, theirs in zip(*(_run(session, pixels) for session in sessions), strict=True):
            if not torch.equal(ours, theirs):
                raise FGDError("the export is wrong: with uint8 input the outputs are not those of the float input")


def _compare_batch(kind: _Kind, ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> Parity:
    if kind.end2end:  # a dynamic file keeps the number of rows that it was made with
        ours[0] = ours[0][:, : theirs[0].shape[1]]
    _check_outputs(kind, ours, theirs)
    differences = torch.zeros(3)
    if kind.precision != "int8":
        differences = _compare_tensors(kind, ours, theirs)
        _judge(kind, differences)
    found = suppressed(ours[0], kind.classes, end2end=kind.end2end, rotated=kind.task == "obb")
    if kind.embedded_nms:
        their_found = [rows[rows[:, 4] > CONFIDENCE] for rows in theirs[0]]
    else:
        their_found = suppressed(theirs[0], kind.classes, end2end=kind.end2end, rotated=kind.task == "obb")
    missing = extra = 0
    least = max(CONFIDENCE, *(float(output[0][:, -1, 4].max()) for output in (ours, theirs) if kind.end2end), 0)
    for pair in zip(found, their_found, strict=True):
        gone, added, common = _compare_detections(kind, *pair, least)
        missing, extra = missing + gone, extra + added
        if kind.embedded_nms or kind.precision == "int8":
            differences = differences.maximum(common)
    return Parity(sum(map(len, found)), missing, extra, float(differences[0]), float(differences[1]))


def _check_outputs(kind: _Kind, ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    if not all(output.isfinite().all() for output in ours):
        raise FGDError(
            "the checkpoint itself gives NaN or infinity on a real image: its training diverged or the file is "
            "damaged; export another checkpoint"
        )
    expected, found = ([tuple(output.shape) for output in outputs] for outputs in (ours, theirs))
    if kind.embedded_nms:
        images, channels, _ = expected[0]
        rows = found[0][1] if len(found[0]) == 3 else 0
        expected[0] = (images, rows, channels - kind.classes + 2)
    if expected != found or not all(output.isfinite().all() for output in theirs):
        raise FGDError(
            f"the export is wrong: its outputs are {found}, PyTorch's are {expected}, "
            "and its own must have the same shapes and be finite"
        )


def _compare_tensors(kind: _Kind, ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> torch.Tensor:
    """Return the largest differences (3,) of all that can be compared before NMS."""
    if kind.embedded_nms:
        largest = torch.zeros(3)
    elif kind.end2end:
        pairs = zip(ours[0], theirs[0], strict=True)
        largest = torch.stack([compare_rows(*pair, TOLERANCES[kind.precision]) for pair in pairs]).amax(0)
    else:
        largest = compare_elements(ours[0], theirs[0], kind.classes, TOLERANCES[kind.precision].above)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):  # the prototypes of masks
        largest[2] = largest[2].maximum((mine - other).abs().max() / scale(mine))
    return largest


def _judge(kind: _Kind, differences: torch.Tensor) -> None:
    box, score, extra = (float(value) for value in differences)
    allowed = TOLERANCES[kind.precision]
    if box <= allowed.box_px and score <= allowed.score and extra <= allowed.extra:
        return
    others = f", {EXTRAS.get(kind.task)} by {extra:.4g} of the largest (allowed {allowed.extra})"
    raise FGDError(
        f"the export is wrong: boxes differ from PyTorch's by {box:.4g} px (allowed {allowed.box_px}), "
        f"scores by {score:.4g} (allowed {allowed.score}){others if kind.task in EXTRAS else ''}"
    )


def _compare_detections(
    kind: _Kind, ours: torch.Tensor, theirs: torch.Tensor, least: float
) -> tuple[int, int, torch.Tensor]:
    """Return how many of each side the other lacks, and the largest differences of those that both have."""
    rotated, tolerance = kind.task == "obb", TOLERANCES[kind.precision]
    distances = nearest(ours, theirs, tolerance)
    if kind.precision == "int8":
        both = alike(ours, theirs, rotated)
        return int((~both).sum()), int((~alike(theirs, ours, rotated)).sum()), _largest(distances[both])
    missing, extra = (int(lost(*pair, tolerance, rotated, least).sum()) for pair in ((ours, theirs), (theirs, ours)))
    if missing or extra:
        raise FGDError(
            f"the export is wrong: after NMS {missing} of PyTorch's {len(ours)} detections are missing, "
            f"{extra} of its own {len(theirs)} are not PyTorch's"
        )
    return 0, 0, _largest(distances[(distances <= torch.tensor(tolerance[:3])).all(1)])


def _largest(distances: torch.Tensor) -> torch.Tensor:
    return torch.cat((distances, torch.zeros(1, 3))).amax(0)


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        raise FGDError(f"onnxruntime cannot load the exported file: {one_line(error)}") from error


def _run(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> list[torch.Tensor]:
    """Return the outputs of a file on letterboxed photos, whichever input it has."""
    (image,) = session.get_inputs()
    try:
        outputs = session.run(None, {image.name: pixels if "uint8" in image.type else as_input(pixels)})
    except Exception as error:
        raise FGDError(f"onnxruntime cannot run the exported file: {one_line(error)}") from error
    return [torch.from_numpy(output) for output in outputs]


def _predict(model: nn.Module, pixels: np.ndarray) -> list[torch.Tensor]:
    """Return PyTorch's outputs: what is decoded, and with masks their prototypes."""
    output = model(torch.from_numpy(as_input(pixels)))[0]
    return list(output) if isinstance(output, tuple) else [output]
