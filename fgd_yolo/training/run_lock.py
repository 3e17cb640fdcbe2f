"""The lock on a run folder: no two processes train in it, and a removed folder stops the training."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_save_dir
from ultralytics.utils import RANK

from fgd_yolo.files import remove_leftovers
from fgd_yolo.locking import FolderLock
from fgd_yolo.training.checkpoints import check_folder


class LockedTrainer:
    """Mixin before an Ultralytics trainer that locks its run folder against other processes.

    The folder is chosen and locked in `check_resume`, the last method that the trainer calls before it writes.
    """

    folder_lock: FolderLock | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            self._unlock()
            if self.folder_lock is not None:
                with suppress(OSError):  # an empty folder is removed, a folder with files stays
                    self.folder_lock.folder.rmdir()
            raise

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Read the arguments of a resumed run as Ultralytics does, then lock the run folder.

        Raises:
            FGDError: another process trains in it.
        """
        super().check_resume(overrides)
        if RANK not in {-1, 0}:
            return
        folder = self._own_folder()
        self.args.save_dir = str(folder)
        self.folder_lock = FolderLock(folder)
        self.folder_lock.acquire()
        remove_leftovers(folder, recursive=True)

    def _own_folder(self) -> Path:
        """Create the run folder; if another process has just created it, take the next number."""
        while True:
            folder = Path(get_save_dir(self.args)).absolute()
            # save_dir is not among Ultralytics' defaults
            given = bool(self.args.exist_ok or getattr(self.args, "save_dir", None))
            try:
                folder.mkdir(parents=True, exist_ok=given)
            except FileExistsError:
                if given:  # it is a file
                    raise
                continue
            return folder

    def train(self) -> None:
        """Train as Ultralytics does, then unlock the folder; of the processes that this one starts, one locks it."""
        if self.folder_lock is not None and not self.folder_lock.held:
            self.folder_lock.acquire()
        if self.ddp:
            self._unlock()
        try:
            return super().train()
        finally:
            self._unlock()

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the epoch's row of results.csv, unless the folder was removed: Ultralytics would create it again."""
        self.check_folder()
        super().save_metrics(metrics)

    def check_folder(self) -> None:
        """Stop if the run folder or the folder of its checkpoints was removed.

        Raises:
            FGDError: it was removed.
        """
        if self.folder_lock is not None:
            self.folder_lock.check()
            check_folder(self.wdir)

    def _unlock(self) -> None:
        if self.folder_lock is not None:
            self.folder_lock.release()
