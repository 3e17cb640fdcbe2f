"""Whether an ONNX file and the PyTorch model it came from see the same objects."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from torch import nn
from torchvision.ops import box_iou  # once torchvision is imported, the host's NMS uses it too
from ultralytics.utils.nms import non_max_suppression

from fgd_yolo.errors import FGDError

# Float32 rounding moves a box by some 0.002 px (a trained YOLOv8s at 320 and 640) and a score by 2e-6.
BOX_TOLERANCE_PX = 0.1
SCORE_TOLERANCE = 1e-3
CONFIDENCE, OVERLAP = 0.25, 0.7  # the host's thresholds in prediction
OVERLAP_SLACK = 0.01


class Parity(NamedTuple):
    """How closely the file followed the model, over all images."""

    images: int
    detections: int
    box_difference_px: float
    score_difference: float


@torch.no_grad()
def compare_with_torch(path: Path, model: nn.Module, inputs: list[np.ndarray]) -> Parity:
    """Run both on the same inputs and compare the output tensors, then the detections after NMS.

    The model is compared as it was trained, not fused, so that the host's fusion is part of what is tested.
    Its head is switched to the branch that the file's metadata names.

    Convention:
        Raw outputs (1, 4 + classes, anchors) are compared element by element. Decoded ones (1, rows, 6) are
        sorted by score, and rounding swaps neighbours, so their rows are compared as sets, leaving out rows
        at the cut of top-k.
    Args:
        path: the ONNX file.
        model: the detector, float32 in eval mode on the CPU.
        inputs: (3, size, size) arrays in [0, 1].
    Raises:
        FGDError: the file cannot be run, an output has another shape or is not finite, or they differ.
    """
    session = _open(path)
    model.end2end = session.get_modelmeta().custom_metadata_map.get("end2end") == "True"
    box_difference = score_difference = 0.0
    detections = 0
    for image in inputs:
        batch = image[None]
        ours, theirs = model(torch.from_numpy(batch))[0], torch.from_numpy(_run(session, batch))
        if ours.shape != theirs.shape or not (ours.isfinite().all() and theirs.isfinite().all()):
            raise FGDError(
                f"the export is wrong: its output is {tuple(theirs.shape)}, PyTorch's is "
                f"{tuple(ours.shape)}, and both must have one shape and be finite"
            )
        compare = _compare_rows if model.end2end else _compare_elements
        box_px, score = compare(ours, theirs)
        box_difference, score_difference = max(box_difference, box_px), max(score_difference, score)
        if box_difference > BOX_TOLERANCE_PX or score_difference > SCORE_TOLERANCE:
            raise FGDError(
                f"the export is wrong: boxes differ from PyTorch's by {box_difference:.4g} px (allowed "
                f"{BOX_TOLERANCE_PX}), scores by {score_difference:.4g} (allowed {SCORE_TOLERANCE})"
            )
        detections += _compare_detections(ours, theirs)
    return Parity(len(inputs), detections, box_difference, score_difference)


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        raise FGDError(f"onnxruntime cannot load the exported file: {' '.join(str(error).split())[:200]}") from error


def _run(session: onnxruntime.InferenceSession, batch: np.ndarray) -> np.ndarray:
    try:
        (output,) = session.run(None, {session.get_inputs()[0].name: batch})
    except Exception as error:
        raise FGDError(f"onnxruntime cannot run the exported file: {' '.join(str(error).split())[:200]}") from error
    return output


def _compare_elements(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[float, float]:
    """Return the largest difference of a box coordinate and of a score, raw outputs."""
    difference = (ours - theirs).abs()
    return float(difference[:, :4].max()), float(difference[:, 4:].max())


def _compare_rows(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[float, float]:
    """Return the same for decoded outputs; infinite where a row above the cut has none of its class."""
    ours, theirs = ours[0], theirs[0]
    in_order = float((ours[:, 4] - theirs[:, 4]).abs().max())
    above_cut = float(max(ours[-1, 4], theirs[-1, 4])) + SCORE_TOLERANCE
    pairs = [_nearest(rows[rows[:, 4] > above_cut], other) for rows, other in ((ours, theirs), (theirs, ours))]
    differences = torch.cat(pairs).amax(0) if sum(map(len, pairs)) else torch.zeros(2)
    return float(differences[0]), max(in_order, float(differences[1]))


def _nearest(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return (n, 2): box and score difference of each row to its nearest of the same class, or infinity."""
    if not len(rows) or not len(others):
        return torch.full((len(rows), 2), torch.inf)
    box = (rows[:, None, :4] - others[None, :, :4]).abs().amax(-1)
    score = (rows[:, None, 4] - others[None, :, 4]).abs()
    other_class = rows[:, None, 5] != others[None, :, 5]
    distance = (box / BOX_TOLERANCE_PX).maximum(score / SCORE_TOLERANCE).masked_fill(other_class, torch.inf)
    nearest = distance.argmin(1, keepdim=True)
    found = torch.stack((box.gather(1, nearest), score.gather(1, nearest)), -1)[:, 0]
    return found.masked_fill(distance.gather(1, nearest).isinf(), torch.inf)


def _compare_detections(ours: torch.Tensor, theirs: torch.Tensor) -> int:
    """Return how many detections the first has; raise if one of either side is not among the other's."""
    ours, theirs = (non_max_suppression(output.clone(), CONFIDENCE, OVERLAP)[0] for output in (ours, theirs))
    missing, extra = _lost(ours, theirs), _lost(theirs, ours)
    if missing or extra:
        raise FGDError(
            f"the export is wrong: after NMS {missing} of PyTorch's {len(ours)} detections are missing, "
            f"{extra} of its own {len(theirs)} are not PyTorch's"
        )
    return len(ours)


def _lost(detections: torch.Tensor, others: torch.Tensor) -> int:
    """Count the detections that the others lack for another reason than rounding beside a threshold.

    Rounding may drop one whose score is at the confidence threshold, and NMS may settle a tie the other way:
    then a box of the same class, of no lower score, stands where this one would have been suppressed.
    """
    same = (_nearest(detections, others) <= torch.tensor([BOX_TOLERANCE_PX, SCORE_TOLERANCE])).all(1)
    stands = (
        (detections[:, None, 5] == others[None, :, 5])
        & (others[None, :, 4] >= detections[:, None, 4] - SCORE_TOLERANCE)
        & (box_iou(detections[:, :4], others[:, :4]) >= OVERLAP - OVERLAP_SLACK)
    ).any(1)
    return int((~same & ~stands & (detections[:, 4] > CONFIDENCE + SCORE_TOLERANCE)).sum())
