"""Keep Ultralytics from executing, installing or downloading what files name, during calls of this package only.

Ultralytics copies its settings into the modules that use them when it is imported, so an environment variable or a
value in `ultralytics.utils` has no effect in a process that has already imported it. Therefore the names are replaced
in the modules that look them up, while a thread is inside `safe_loading`. Other threads see what the user has set.
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
"""Address of Ultralytics' own weights, fonts and small data sets."""
_ARRAYS = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
_ARRAYS |= {("numpy", "ndarray"), ("numpy", "dtype")}


def read_checkpoint(file: str | Path, *_, **__) -> Any:
    """Read an existing `.pt` file with Ultralytics' safe loader, in place of torch.load.

    The loader is given a link with a neutral name, because it removes quotes from names, and replaces a file called
    yolov5n.pt by a download.
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
    """Read a label cache of a data set (`labels/*.cache`, a pickle), which may contain only plain values and arrays.

    Raises:
        UnpicklingError: it contains something else; Ultralytics then reads the label files.
    """
    with Path(file).open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        read_header[version](stream)
        return _ArrayUnpickler(stream).load().item()


def _official_only(safe_download: Callable) -> Callable:
    def download(url: str | Path, *args, **kwargs) -> Path:
        if not str(url).startswith(OFFICIAL):
            raise FGDError(f"{str(url)[:120]} is not downloaded here: download it yourself and give the file")
        return safe_download(url, *args, **kwargs)

    return download


class _Switch:
    """Replaces a name in a module of Ultralytics: the safe value inside `safe_loading`, the original elsewhere.

    Args:
        module: module that looks up the name.
        name: name of a flag or function.
        make_safe: function from the original to the safe value.
    """

    def __init__(self, module: Any, name: str, make_safe: Callable[[Any], Any]):
        self.module, self.name, self.make_safe = module, name, make_safe
        self.original: Any = None

    def install(self) -> None:
        current = getattr(self.module, self.name)
        if current is not self:
            self.original = current
            setattr(self.module, self.name, self)

    def uninstall(self) -> None:
        if getattr(self.module, self.name) is self:  # otherwise the user has set it in the meantime
            setattr(self.module, self.name, self.original)

    @property
    def _value(self) -> Any:
        return self.make_safe(self.original) if _nesting.depth else self.original

    def __bool__(self) -> bool:
        return bool(self._value)

    def __call__(self, *args, **kwargs) -> Any:
        return self._value(*args, **kwargs)


class _Nesting(threading.local):
    depth = 0  # of nested `safe_loading` blocks in this thread


_SWITCHES = (
    _Switch(tasks, "SAFE_LOAD", lambda _: True),  # checkpoints and `activation` of a model YAML
    _Switch(checks, "AUTOINSTALL", lambda _: False),  # pip install of what a checkpoint or an export names
    _Switch(torch_utils, "torch_load", lambda _: read_checkpoint),  # strip_optimizer
    _Switch(label_caches, "load_dataset_cache_file", lambda _: read_label_cache),
    _Switch(downloads, "safe_download", _official_only),
    _Switch(data_utils, "safe_download", _official_only),
)
_nesting = _Nesting()
_lock = threading.Lock()
_threads_inside = 0


@contextmanager
def safe_loading() -> Iterator[None]:
    """Keep Ultralytics from executing, installing or downloading what a file names, in this thread and block.

    Can be nested and used as a decorator. Ultralytics' own weights and fonts may still be downloaded.
    """
    global _threads_inside
    with _lock:
        for switch in _SWITCHES:
            switch.install()
        _threads_inside += 1
    _nesting.depth += 1
    try:
        yield
    finally:
        _nesting.depth -= 1
        with _lock:
            _threads_inside -= 1
            if not _threads_inside:
                for switch in _SWITCHES:
                    switch.uninstall()


@contextmanager
def user_settings() -> Iterator[None]:
    """Restore the user's own settings for a block of this thread, for a download that the user has allowed."""
    depth, _nesting.depth = _nesting.depth, 0
    try:
        yield
    finally:
        _nesting.depth = depth
