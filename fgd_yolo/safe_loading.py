"""Ultralytics executes, installs and downloads nothing while a call of ours runs, and is its user's own otherwise.

Ultralytics copies its switches into the modules that use them when it is imported, so an environment variable or a
value in `ultralytics.utils` comes too late in a process that has imported it already. Here the names themselves are
replaced, in the modules that look them up, for as long as a thread is inside `safe_loading`. Other threads see what the
user has set, at any time.
"""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.data import dataset as label_caches
from ultralytics.data import utils as data_utils
from ultralytics.nn import tasks
from ultralytics.utils import checks, downloads, torch_utils

from fgd_yolo.errors import FGDError

OFFICIAL = "https://github.com/ultralytics/assets/releases/download/"
"""Where Ultralytics keeps its weights, fonts and small data sets."""
_ARRAYS = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
_ARRAYS |= {("numpy", "ndarray"), ("numpy", "dtype")}


def read_checkpoint(file: str | Path, *_, **__) -> Any:
    """Read a `.pt` that exists with Ultralytics' safe loader, in place of torch.load.

    The loader is given a name that means nothing to it: it drops quotes from names, and downloads another model in the
    place of a file called yolov5n.pt.
    """
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-") as folder:
        link = Path(folder) / "weights.pt"
        link.symlink_to(Path(file).absolute())
        return tasks.torch_safe_load(link, safe_only=True)[0]


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return super().find_class(module, name)


def read_label_cache(file: Path) -> dict[str, Any]:
    """Read the `labels/*.cache` of a data set, which is a pickle, as plain values and arrays.

    Raises:
        UnpicklingError: it holds something else. Ultralytics then reads the labels themselves.
    """
    with Path(file).open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        read_header[version](stream)
        return _ArrayUnpickler(stream).load().item()


def _official_only(safe_download: Callable) -> Callable:
    def download(url: str | Path, *args, **kwargs) -> Path:
        if not str(url).startswith(OFFICIAL):
            raise FGDError(f"{str(url)[:120]} is not downloaded here: fetch it yourself and give the file")
        return safe_download(url, *args, **kwargs)

    return download


class _Switch:
    """Stands in a module of Ultralytics for one of its names, as ours inside `safe_loading` and as it was elsewhere.

    Args:
        module: that looks the name up.
        name: of a flag or a function.
        ours: makes our value from the one that was there.
    """

    def __init__(self, module: Any, name: str, ours: Callable[[Any], Any]):
        self.module, self.name, self.ours = module, name, ours
        self.before: Any = None

    def put_on(self) -> None:
        found = getattr(self.module, self.name)
        if found is not self:
            self.before = found
            setattr(self.module, self.name, self)

    def take_off(self) -> None:
        if getattr(self.module, self.name) is self:  # else the user has set it meanwhile
            setattr(self.module, self.name, self.before)

    @property
    def _value(self) -> Any:
        return self.ours(self.before) if _inside.depth else self.before

    def __bool__(self) -> bool:
        return bool(self._value)

    def __call__(self, *args, **kwargs) -> Any:
        return self._value(*args, **kwargs)


class _Inside(threading.local):
    depth = 0  # of this thread


_SWITCHES = (
    _Switch(tasks, "SAFE_LOAD", lambda _: True),  # checkpoints and `activation` of a model YAML
    _Switch(checks, "AUTOINSTALL", lambda _: False),  # pip install of what a checkpoint or an export names
    _Switch(torch_utils, "torch_load", lambda _: read_checkpoint),  # strip_optimizer
    _Switch(label_caches, "load_dataset_cache_file", lambda _: read_label_cache),
    _Switch(downloads, "safe_download", _official_only),
    _Switch(data_utils, "safe_download", _official_only),
)
_inside = _Inside()
_lock = threading.Lock()
_threads_inside = 0


@contextmanager
def safe_loading() -> Iterator[None]:
    """Keep Ultralytics from executing, installing or downloading what a file names, in this thread and block.

    Also a decorator. May be nested. Ultralytics' own weights and fonts may still be downloaded.
    """
    global _threads_inside
    with _lock:
        for switch in _SWITCHES:
            switch.put_on()
        _threads_inside += 1
    _inside.depth += 1
    try:
        yield
    finally:
        _inside.depth -= 1
        with _lock:
            _threads_inside -= 1
            if not _threads_inside:
                for switch in _SWITCHES:
                    switch.take_off()


@contextmanager
def user_settings() -> Iterator[None]:
    """Suspend `safe_loading` for a block of this thread: for what the user has allowed."""
    depth, _inside.depth = _inside.depth, 0
    try:
        yield
    finally:
        _inside.depth = depth
