"""Find the model that a name stands for: a checkpoint on this disk, or an untrained architecture."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from torch import nn
from ultralytics.utils import ROOT, SETTINGS
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, GITHUB_ASSETS_STEMS, attempt_download_asset

from fgd_yolo.console import print_status, short_names
from fgd_yolo.errors import FGDError, UsageError, close_match, one_line
from fgd_yolo.files import partial_folder, remove_leftovers, sha256_of_file, sha256_of_json
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import TASKS, YoloTask, image_channels, last_layer, task_of_model, task_of_yaml, why_refused
from fgd_yolo.text import printable
from fgd_yolo.ultralytics import load_model, quiet_ultralytics, read_architecture

_SUGGEST = {
    "teacher": "give its file (--teacher path.pt) or train one from random weights (--teacher {stem}.yaml "
    "--teacher-epochs N)",
    "student": "give its file (--student path.pt) or start from random weights (--student {stem}.yaml)",
}


@dataclass(frozen=True)
class Model:
    """The initial model of a training.

    Args:
        name: file name without folder and suffix.
        file: file for Ultralytics: the absolute path of a `.pt` file, or a model YAML.
        task: what it predicts.
        names: class names by number that it was trained on; None without weights.
        channels: number of channels of its input images.
        digest: SHA-256 of weights or architecture, independent of the path.
    """

    name: str
    file: str
    task: YoloTask
    names: dict[int, str] | None
    channels: int
    digest: str


def resolve(name: str | Path, role: str, demo: bool = False) -> Model:
    """Find a model as Ultralytics does: a file, its weights folder, a download; a `.yaml` is untrained.

    Args:
        name: model name or file: `yolov8l`, `yolov8l.pt`, `runs/best.pt`, `yolov8l.yaml`.
        role: "teacher" or "student", for messages.
        demo: if weights are not available, start from random ones with a warning, as for the demo data.

    Raises:
        UsageError: Ultralytics has no model of that name; the message names the closest one.
        FGDError: the file is missing or not a YOLO, or the weights are missing and cannot be downloaded.
    """
    path = Path(str(name).strip())
    if path.suffix in {".yaml", ".yml"}:
        return _architecture(path, role)
    if path.suffix not in {"", ".pt"} and path.name not in GITHUB_ASSETS_STEMS:
        raise FGDError(
            f"{role} {path} is not a .pt checkpoint: an exported model can be neither trained nor distilled from"
        )
    if not path.is_file() and path.suffix != ".pt":
        path = path.with_name(f"{path.name}.pt")
    weights_dir = Path(SETTINGS["weights_dir"])
    for candidate in (path, weights_dir / path):
        if candidate.is_file():
            return _checkpoint(candidate)
    if path.name not in GITHUB_ASSETS_NAMES or len(path.parts) > 1:
        raise _missing(path, role)
    try:
        return _checkpoint(_download(path.name, weights_dir))
    except ConnectionError as error:
        missing = f"{role} weights {path} are neither in {Path.cwd()} nor in {weights_dir.absolute()}"
        if demo:
            print_status(f"!! {missing}, and cannot be downloaded ({one_line(error)}): STARTING FROM RANDOM WEIGHTS")
            return _architecture(path.with_suffix(".yaml"), role)
        options = _SUGGEST[role].format(stem=path.stem)
        raise FGDError(f"{missing}, and cannot be downloaded ({one_line(error)}): {options}") from error


def _checkpoint(path: Path) -> Model:
    path = path.absolute()
    model, _ = load_model(path)
    digest = sha256_of_file(path)
    task, names = task_of_model(model), dict(model.names)
    return Model(printable(path.stem), str(path), task, names, image_channels(model.yaml), digest)


def _architecture(path: Path, role: str) -> Model:
    try:
        model = read_architecture(path)
    except FileNotFoundError as error:
        raise _missing(path, role) from error
    task = task_of_yaml(model)
    if task is None:
        last = last_layer(model)
        reason = why_refused(last)
        raise FGDError(
            f"{role} {path} ends in {last or 'nothing'}{reason}; give the YAML of a YOLO for {', '.join(TASKS)}"
        )
    if path.is_file():  # those shipped with Ultralytics can be built
        _check_buildable(model, task, f"{role} {path}")
    file = str(path.absolute()) if path.is_file() else str(path)
    content = {key: value for key, value in model.items() if key != "yaml_file"}
    digest = sha256_of_json(content)
    return Model(printable(path.stem), file, task, None, image_channels(model), digest)


@safe_loading()
def _check_buildable(config: dict[str, Any], task: YoloTask, where: str) -> None:
    """Build a model once, so that an error in its YAML is reported before the teacher's training.

    Raises:
        FGDError: the model cannot be built.
    """
    try:
        with preserve_random_state(), quiet_ultralytics(logging.ERROR):
            task.model(deepcopy(config), verbose=False)
    except Exception as error:  # its type depends on the layer
        raise FGDError(f"{where} cannot be built ({type(error).__name__}: {one_line(error)})") from error


def teacher_names(teachers: Sequence[Model]) -> list[str]:
    """Return the names of teachers in tables and messages: without folders, unless two files have the same name."""
    if len(teachers) < 2:
        return [teacher.name for teacher in teachers]
    return short_names([Path(teacher.file).with_suffix("") for teacher in teachers])


@safe_loading()
def built(model: Model) -> nn.Module:
    """Return a model with its weights, or with random ones if it has none; it is read again by each call."""
    if model.file.endswith(".pt"):
        return load_model(model.file)[0]
    with preserve_random_state(), quiet_ultralytics(logging.ERROR):
        return model.task.model(read_architecture(model.file), verbose=False)


def _missing(path: Path, role: str) -> FGDError:
    """Return the error for a missing file; for a name without a folder it suggests the closest model of Ultralytics."""
    if (folder := path.with_suffix("")).is_dir():
        return FGDError(f"{role} {folder} is a folder: give the file of a model, such as {folder / 'student.pt'}")
    stems = GITHUB_ASSETS_STEMS | {file.stem for file in (ROOT / "cfg" / "models").rglob("*.yaml")}
    name = path.name if path.suffix == ".yaml" else path.stem
    near = close_match(name, sorted(f"{stem}.yaml" if name == path.name else stem for stem in stems))
    if len(path.parts) > 1 or not near:
        return FGDError(f"{role} file {path} does not exist")
    return UsageError(f"{role} '{name}' is neither a file nor a model of Ultralytics{near}")


@safe_loading()
def _download(name: str, weights_dir: Path) -> Path:
    """Let Ultralytics download a file in a temporary folder, so that a partial file is never used."""
    print_status(f"{name} is not on this disk: downloading it")
    _check_online()
    weights_dir.mkdir(parents=True, exist_ok=True)
    remove_leftovers(weights_dir)
    with partial_folder(weights_dir / name) as folder:
        file = Path(attempt_download_asset(folder / name, retry=0))
        if not file.is_file():
            raise ConnectionError("nothing was downloaded")
        return file.replace(weights_dir / name)


def _check_online() -> None:
    """Check the connection within seconds, also through a proxy; Ultralytics' download gives up after minutes."""
    if os.environ.get("YOLO_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise ConnectionError("YOLO_OFFLINE is set")
    try:
        requests.head("https://github.com", timeout=5).raise_for_status()
    except requests.RequestException as error:
        raise ConnectionError(f"no connection to github.com: {type(error).__name__}") from error
