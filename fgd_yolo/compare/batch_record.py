"""What a run writes down while the host trains: the order of its images, its start, its seconds."""

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
PROVED_EPOCHS = 3
"""Epochs whose batches must be the same for every method of a seed."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return what a run has written down so far; what is damaged counts as nothing."""
    path = folder / RECORD
    nothing: dict[str, Any] = {"starts": [], "epochs": {}}
    if not path.is_file():
        return nothing
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(record["starts"], list) and all("train_s" in epoch for epoch in record["epochs"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        whole = False
    if not whole:
        print_status(f"!! {path} is damaged: what it told about the training so far is lost")
    return record if whole else nothing


def batches_digest(record: dict[str, Any], epochs: int) -> str | None:
    """Return one digest of the first epochs' batches, or None where the run has not written them all down.

    Args:
        record: of `read_record`.
        epochs: of the whole run.
    """
    first = [record["epochs"].get(str(epoch + 1), {}).get("order") for epoch in range(min(PROVED_EPOCHS, epochs))]
    return sha256(" ".join(first).encode()).hexdigest()[:16] if all(first) else None


def weights_digest(model: torch.nn.Module) -> str:
    """Return a digest of a model's weights; a student that the host has wrapped with its teacher counts alone."""
    model = unwrap_model(model)
    digest = sha256()
    for name, values in getattr(model, "student_model", model).state_dict().items():
        digest.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class Recording(LockedTrainer):
    """Stands before an Ultralytics trainer in its bases and writes a record into the run folder, which it locks.

    It draws no random number.

    Convention:
        The digest of an epoch is over file names, and over the images' and classes' numbers of the boxes that the
        augmentation left, in order; not over pixels or coordinates, whose last bits differ between machines.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.record = read_record(self.save_dir)
        for event, method in {
            "on_train_start": "_note_start",
            "on_train_epoch_start": "_open_record",
            "on_train_epoch_end": "_close_record",
            "on_model_save": "_write_record",
        }.items():
            self.add_callback(event, methodcaller(method))

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take the batch into the epoch's digest and hand it on."""
        names = " ".join(Path(file).name for file in batch["im_file"])
        self.batches.update(names.encode())
        for key in ("batch_idx", "cls"):
            self.batches.update(batch[key].int().cpu().numpy().tobytes())
        return super().preprocess_batch(batch)

    def _note_start(self) -> None:
        self.asked_batch = self.batch_size
        self.record["starts"].append(self.start_epoch)
        if self.start_epoch == 0:
            name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
            self.record |= {
                "starts": [0],
                "epochs": {},
                "init": weights_digest(self.model),
                "optimizer": type(self.optimizer).__name__,
                "lr0": float(self.args.lr0),
                "device": name,
                "device_type": self.device.type,
            }

    def _open_record(self) -> None:
        if self.batch_size != self.asked_batch:  # out of memory, the host begins the epoch anew with half of it
            raise FGDError(
                f"batch={self.asked_batch} needs more memory than there is, and with a smaller batch the run could not "
                "be compared: name a smaller --batch or fewer --jobs"
            )
        self.batches = sha256()
        self.epoch_began = perf_counter()

    def _close_record(self) -> None:
        seconds = round(perf_counter() - self.epoch_began, 4)
        self.record["epochs"][str(self.epoch + 1)] = {"train_s": seconds, "order": self.batches.hexdigest()[:16]}

    def _write_record(self) -> None:
        with atomic_path(self.save_dir / RECORD) as path:
            path.write_text(to_json(self.record), encoding="utf-8")


def recorded(trainer: type) -> type:
    """Return a trainer class that trains as the given one and writes a record."""
    return type(trainer.__name__, (Recording, trainer), {})
