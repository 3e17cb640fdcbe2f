"""Record digests of the batches and the initial weights of a training, and its epoch times."""

from __future__ import annotations

import json
from hashlib import sha256
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
"""Number of initial epochs whose batches must be the same for all methods of a seed."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run so far; a damaged record counts as empty."""
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
        print_status(f"!! {path} is damaged: the record of the training so far is lost")
    return record if valid else empty


def batches_digest(record: dict[str, Any], epochs: int) -> str | None:
    """Return a digest of the batches of the first epochs, or None if the record is incomplete.

    Args:
        record: record from `read_record`.
        epochs: number of epochs of the run.
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


class Recorder:
    """Records one training and writes the record to the run folder. It draws no random numbers.

    Its methods are callbacks of the trainer, not methods, so that no name can clash with one of the trainer.

    Convention:
        The digest of an epoch covers file names, and the image and class numbers of the boxes after augmentation, in
        order. It does not cover pixels or coordinates, whose last bits differ between machines.

    Args:
        folder: run folder; the record of a stopped training is continued.
    """

    def __init__(self, folder: Path):
        self.record = read_record(folder)
        self.batch_size = 0
        self.images = 0
        self.digest = sha256()
        self.epoch_started = 0.0

    def start_training(self, trainer) -> None:
        """Record the values that are known at the start."""
        self.batch_size = trainer.batch_size
        self.record["starts"].append(trainer.start_epoch)
        if trainer.start_epoch == 0:
            name = torch.cuda.get_device_name(trainer.device) if trainer.device.type == "cuda" else "CPU"
            self.record |= {
                "starts": [0],
                "epochs": {},
                "init_digest": weights_digest(trainer.model),
                "optimizer": type(trainer.optimizer).__name__,
                "lr0": float(trainer.args.lr0),
                "device": name,
                "device_type": trainer.device.type,
            }

    def start_epoch(self, trainer) -> None:
        """Start the digest and the clock of an epoch.

        Raises:
            FGDError: Ultralytics has reduced the batch size, which it does when memory runs out.
        """
        if trainer.batch_size != self.batch_size:
            raise FGDError(
                f"batch={self.batch_size} does not fit into memory, and a run with a smaller batch could not be "
                "compared: use a smaller --batch or fewer --jobs"
            )
        self.digest, self.images = sha256(), 0
        self.epoch_started = perf_counter()

    def add_batch(self, batch: dict[str, Any]) -> None:
        """Add a batch to the epoch's digest."""
        names = " ".join(Path(file).name for file in batch["im_file"])
        self.digest.update(names.encode())
        self.images += len(batch["im_file"])
        for key in ("batch_idx", "cls"):
            self.digest.update(batch[key].int().cpu().numpy().tobytes())

    def end_epoch(self, trainer) -> None:
        """Record digest, number of images and duration of an epoch."""
        seconds = round(perf_counter() - self.epoch_started, 4)
        values = {"train_s": seconds, "batches": self.digest.hexdigest()[:16], "images": self.images}
        self.record["epochs"][str(trainer.epoch + 1)] = values

    def write(self, trainer) -> None:
        """Write the record to the run folder."""
        with atomic_path(trainer.save_dir / RECORD) as path:
            path.write_text(to_json(self.record), encoding="utf-8")


class RecordingTrainer(LockedTrainer):
    """Mix-in for an Ultralytics trainer that locks the run folder and writes a record to it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.recorder = Recorder(self.save_dir)
        self.add_callback("on_train_start", self.recorder.start_training)
        self.add_callback("on_train_epoch_start", self.recorder.start_epoch)
        self.add_callback("on_train_epoch_end", self.recorder.end_epoch)
        self.add_callback("on_model_save", self.recorder.write)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the batch to the record."""
        self.recorder.add_batch(batch)
        return super().preprocess_batch(batch)


def with_record(trainer: type) -> type:
    """Return a trainer class that trains like `trainer` and writes a record."""
    return type(trainer.__name__, (RecordingTrainer, trainer), {})
