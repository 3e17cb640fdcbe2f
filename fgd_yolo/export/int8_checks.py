"""What an int8 file is measured against: the labels of a data set, or the float32 file's own detections on frames.

Both are the mAP of Ultralytics' validator. Against labels it is accuracy. Against the detections of float32 it is
agreement: it says how little int8 changes, and nothing about how often either file is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fgd_yolo.export.agreement import MIN_SCORE, OwnDetections
from fgd_yolo.export.file_metrics import measure_map
from fgd_yolo.export.metadata import AGREEMENT_KEY
from fgd_yolo.task_table import Accuracy, YoloTask


class Check(Protocol):
    """How an int8 file is compared with its float32 source, and the words for it.

    Args:
        task: task of the model.
        max_drop: mAP50-95 points (hundredths) that int8 may lose where the user sets no limit.
    """

    task: YoloTask
    max_drop: float

    def measure(self, path: Path, imgsz: int | tuple[int, int]) -> Accuracy:
        """Return the mAP of a file."""

    def metadata(self, fp32: Accuracy, int8: Accuracy, drop_points: float) -> dict[str, Any]:
        """Return entries for the metadata of the int8 file."""

    def changes(self, fp32: Accuracy, int8: Accuracy) -> list[str]:
        """Return a line for each mAP50-95 of the task."""

    def loss(self, fp32: Accuracy, int8: Accuracy, drop_points: float) -> str:
        """Return what int8 loses, with the numbers, as the end of `int8 runs ... and`."""

    def flaw(self, fp32: Accuracy, max_drop: float) -> str | None:
        """Return why no loss can be measured against this, or None."""


@dataclass(frozen=True)
class LabelCheck:
    """Accuracy: mAP on the labels of the val split of `data`."""

    task: YoloTask
    data: Any
    max_drop: float = 1.0

    def measure(self, path: Path, imgsz: int | tuple[int, int]) -> Accuracy:
        return measure_map(path, self.data, imgsz, self.task.name)

    def metadata(self, fp32: Accuracy, int8: Accuracy, drop_points: float) -> dict[str, Any]:
        return {**int8._asdict(), "fp32": fp32._asdict(), "drop_points": drop_points}

    def changes(self, fp32: Accuracy, int8: Accuracy) -> list[str]:
        lines = []
        for words, prefix in self.task.accuracies.items():
            before, after = (_points(measured, prefix) for measured in (fp32, int8))
            of_words = f" of {words}" if len(self.task.accuracies) > 1 else ""
            lines.append(f"mAP50-95{of_words} {before:.2f} in fp32, {after:.2f} in int8: {_change(before, after)}")
        return lines

    def loss(self, fp32: Accuracy, int8: Accuracy, drop_points: float) -> str:
        return f"loses {drop_points:.2f} mAP50-95 points ({_numbers(self.task, fp32, int8)})"

    def flaw(self, fp32: Accuracy, max_drop: float) -> str | None:
        if not _is_inconclusive(fp32, max_drop):
            return None
        return (
            f"float32 itself has {100 * fp32.map50_95:.2f} {self.task.map_name} points on the val split, no more than "
            f"int8 may lose ({max_drop:g}), so the loss cannot be measured: train the model longer, or pass the "
            "data= (--data) that it was trained on"
        )


@dataclass(frozen=True)
class AgreementCheck:
    """Agreement with float32: mAP against its own detections on held-out frames, which have no labels.

    Convention:
        Float32 itself does not reach 100 points: Ultralytics' average precision ends at 99.5. So what int8 loses is
        the difference of both.

        Agreement falls by some 8 points where accuracy falls by one, since a box that moves a little agrees less and
        may fit its object as well. Of 42 int8 files of two models (BCCD at 224 and 320 px, demo scenes at 128 px; good
        ranges, and ranges or layers that harm), the 16 that lost at most one point of mAP50-95 on labels lost 0.0 to
        9.1 points of agreement, and 13 of them at most 8. Of the 26 others one lost 5.7, and all others more than 8.
    """

    task: YoloTask
    detections: OwnDetections
    max_drop: float = 8.0

    def measure(self, path: Path, imgsz: int | tuple[int, int]) -> Accuracy:
        return measure_map(path, self.detections.data, imgsz, self.task.name)

    def metadata(self, fp32: Accuracy, int8: Accuracy, drop_points: float) -> dict[str, Any]:
        entry = {
            **int8._asdict(),
            "fp32": fp32._asdict(),
            "drop_points": drop_points,
            "images": self.detections.images,
            "objects": self.detections.objects,
            "min_score": MIN_SCORE,
        }
        return {AGREEMENT_KEY: entry}

    def changes(self, fp32: Accuracy, int8: Accuracy) -> list[str]:
        lines = []
        for words, prefix in self.task.accuracies.items():
            own, agreed = (_points(measured, prefix) for measured in (fp32, int8))
            lines.append(f"mAP50-95 {agreed:.2f} of {own:.2f} against the {words} of fp32: {_change(own, agreed)}")
        found = f"{self.detections.objects} objects that fp32 finds on {self.detections.images} held-out frames"
        return [f"agreement with fp32, not accuracy, on the {found}:", *(f"  {line}" for line in lines)]

    def loss(self, fp32: Accuracy, int8: Accuracy, drop_points: float) -> str:
        frames = f"{self.detections.images} held-out frames"
        return (
            f"loses {drop_points:.2f} points of agreement with it on {frames} (mAP50-95 against its own detections, "
            f"{_numbers(self.task, fp32, int8)})"
        )

    def flaw(self, fp32: Accuracy, max_drop: float) -> str | None:
        if not _is_inconclusive(fp32, max_drop):
            return None
        return (
            f"float32 itself has {100 * fp32.map50_95:.2f} {self.task.map_name} points against its own detections, no "
            f"more than int8 may lose ({max_drop:g}), so the agreement cannot be measured: its detections are not "
            "those of a trained model on these frames; pass others to calibrate= (--calibrate)"
        )


def _points(measured: Accuracy, prefix: str) -> float:
    return 100 * getattr(measured, f"{prefix}map50_95")


def _change(before: float, after: float) -> str:
    return f"{abs(before - after):.2f} points {'lost' if before >= after else 'gained'}"


def _numbers(task: YoloTask, fp32: Accuracy, int8: Accuracy) -> str:
    """Return the mAP50-95 of what the task predicts, before and after, in words."""
    return ", ".join(
        f"{words}: {getattr(fp32, f'{prefix}map50_95'):.4f} to {getattr(int8, f'{prefix}map50_95'):.4f}"
        for words, prefix in task.accuracies.items()
    )


def _is_inconclusive(fp32: Accuracy, max_drop: float) -> bool:
    """Return whether every loss would be accepted, as on data with other classes; a limit of 100 requests just that."""
    return 100 * fp32.map50_95 <= max_drop < 100
