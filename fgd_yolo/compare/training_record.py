"""What a run records while Ultralytics trains: digests of its batches and initial weights, and its epoch times."""

from __future__ import annotations

import json
from hashlib import sha256
from operator import methodcaller
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from ultralytics.utils.torch_utils import unwrap_model

from fgd_yolo.console import print_status
from fgd_yolo.errors import FGDError
from fgd_yolo.files import atomic_path
from fgd_yolo.strict_json import to_json
from fgd_yolo.training.run_lock import LockedTrainer

RECORD = "record.json"
DIGEST_EPOCHS = 3
"""Number of first epochs whose batches must be the same for every method of a seed."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return what a run has recorded so far; a damaged record counts as empty."""
    path = folder / RECORD
    empty: dict[str, Any] = {"starts": [], "epochs": {}}
    if not path.is_file():
        return empty
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        valid = isinstance(record["starts"], list) and all("train_s" in epoch for epoch in record["epochs"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        valid = False
    if not valid:
        print_status(f"!! {path} is damaged: what it recorded of the training so far is lost")
    return record if valid else empty


def batches_digest(record: dict[str, Any], epochs: int) -> str | None:
    """Return one digest of the first epochs' batches, or None if the record does not have all of them.

    Args:
        record: of `read_record`.
        epochs: of the whole run.
    """
    digests = [record["epochs"].get(str(epoch + 1), {}).get("batches") for epoch in range(min(DIGEST_EPOCHS, epochs))]
    return sha256(" ".join(digests).encode()).hexdigest()[:16] if all(digests) else None


def weights_digest(model: torch.nn.Module) -> str:
    """Return a digest of a model's weights; of the student alone if Ultralytics has wrapped it with its teacher."""
    model = unwrap_model(model)
    digest = sha256()
    for name, values in getattr(model, "student_model", model).state_dict().items():
        digest.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class RecordingTrainer(LockedTrainer):
    """Mix-in for an Ultralytics trainer that locks the run folder and writes a record into it.

    It draws no random number.

    Convention:
        The digest of an epoch covers file names, and the image and class numbers of the boxes after augmentation, in
        order. It does not cover pixels or coordinates, whose last bits differ between machines.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.record = read_record(self.save_dir)
        for event, method in {
            "on_train_start": "_record_start",
            "on_train_epoch_start": "_start_epoch",
            "on_train_epoch_end": "_end_epoch",
            "on_model_save": "_write_record",
        }.items():
            self.add_callback(event, methodcaller(method))

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the batch to the epoch's digest."""
        names = " ".join(Path(file).name for file in batch["im_file"])
        self.digest.update(names.encode())
        for key in ("batch_idx", "cls"):
            self.digest.update(batch[key].int().cpu().numpy().tobytes())
        return super().preprocess_batch(batch)

    def _record_start(self) -> None:
        self.initial_batch_size = self.batch_size
        self.record["starts"].append(self.start_epoch)
        if self.start_epoch == 0:
            name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
            self.record |= {
                "starts": [0],
                "epochs": {},
                "init_digest": weights_digest(self.model),
                "optimizer": type(self.optimizer).__name__,
                "lr0": float(self.args.lr0),
                "device": name,
                "device_type": self.device.type,
            }

    def _start_epoch(self) -> None:
        if self.batch_size != self.initial_batch_size:  # Ultralytics restarts the epoch so when memory runs out
            raise FGDError(
                f"batch={self.initial_batch_size} does not fit into memory, and a run with a smaller batch could not "
                "be compared: use a smaller --batch or fewer --jobs"
            )
        self.digest = sha256()
        self.epoch_started = perf_counter()

    def _end_epoch(self) -> None:
        seconds = round(perf_counter() - self.epoch_started, 4)
        self.record["epochs"][str(self.epoch + 1)] = {"train_s": seconds, "batches": self.digest.hexdigest()[:16]}

    def _write_record(self) -> None:
        with atomic_path(self.save_dir / RECORD) as path:
            path.write_text(to_json(self.record), encoding="utf-8")


def with_record(trainer: type) -> type:
    """Return a trainer class that trains like `trainer` and writes a record."""
    return type(trainer.__name__, (RecordingTrainer, trainer), {})
