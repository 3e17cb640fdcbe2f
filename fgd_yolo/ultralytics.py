"""Load Ultralytics' models without executing code from their files, and run its validator.

`safe_loading` keeps Ultralytics itself from executing, installing or downloading anything.
"""

from __future__ import annotations

import ast
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from ultralytics import YOLO
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import select_device

from fgd_yolo.distributed.alone import alone
from fgd_yolo.errors import FGDError, UsageError, error_message, one_line
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import read_checkpoint, safe_loading
from fgd_yolo.task_table import TASKS, class_counts, task_of_model, why_refused
from fgd_yolo.text import counted, printable_names, shortened

ACTIVATIONS = {*nn.modules.activation.__all__, "Identity"} - {"MultiheadAttention"}
_ACTIVATION_CHARACTERS = 200  # longer than any valid one; Python's parser has no limit
_ADDRESS = re.compile(r"\w[\w+.-]+:/")  # Path turns two slashes into one; at least two letters: C:/ is a drive
_TEMPORARY = re.compile(r"\S*fgd_yolo-\S*weights\.pt")


def load_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """Read an Ultralytics checkpoint without executing code from the file.

    Raises:
        FGDError: the file is missing, damaged or not an Ultralytics checkpoint, or names classes that are not safe.
    """
    path = Path(path)
    if path.is_dir():
        raise FGDError(f"{path} is a folder: give the file of a model, such as {path / 'student.pt'}")
    if not path.is_file():
        raise FGDError(f"weights file {path} does not exist")
    if path.suffix != ".pt":
        raise FGDError(f"{path} is not a .pt checkpoint of Ultralytics")
    checkpoint = _read_safely(path)
    if not isinstance(checkpoint, dict):
        raise FGDError(f"{path} contains a {type(checkpoint).__name__}, not an Ultralytics checkpoint")
    return checkpoint


def _read_safely(path: Path) -> Any:
    with safe_loading(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warnings about pickles
        try:
            return read_checkpoint(path)
        except Exception as error:  # a damaged file raises almost any error
            reason = shortened(_TEMPORARY.sub(path.name, error_message(error)), 80)
            raise FGDError(
                f"{path} is damaged or not an Ultralytics checkpoint; nothing in it was executed ({reason})"
            ) from error


def load_model(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a YOLO of any task of `TASKS`, or an RT-DETR, from a checkpoint without executing code from the file.

    Args:
        path: a `.pt` file on this disk.

    Returns:
        The model in float32 and eval mode, on the CPU, with its train arguments as `args` and the name of its task as
        `task`; and the checkpoint.

    Raises:
        FGDError: as for `load_checkpoint_file`; or the model is of another kind, such as an open-vocabulary model or
            a classifier; or its names do not match its head.
    """
    checkpoint = load_checkpoint_file(path)
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, nn.Module):
        raise FGDError(f"{path} contains no model: give an Ultralytics checkpoint, such as best.pt of a run")
    task = task_of_model(model)
    if task is None:
        layers = getattr(model, "model", None)
        head = type(layers[-1]).__name__ if isinstance(layers, nn.Sequential) else "no YOLO head"
        kind = f"{path} is a {type(model).__name__} ({head}), not a YOLO for {', '.join(TASKS)}"
        raise FGDError(kind + why_refused(head))
    return _ready(model, task.name, path, checkpoint), checkpoint


def _ready(model: nn.Module, task: str, path: str | Path, checkpoint: dict[str, Any]) -> nn.Module:
    config = getattr(model, "yaml", None)
    if isinstance(config, dict):  # the activation alone: layers of old files have other names
        check_activation(config.get("activation"), path)
    check_names(model, path)
    model = model.float().eval()
    clean_names(model)
    model.args = {**DEFAULT_CFG_DICT, **(checkpoint.get("train_args") or {})}
    model.task = task
    model.pt_path = str(path)
    return model


@safe_loading()
def read_architecture(path: str | Path) -> dict[str, Any]:
    """Read a model YAML, a file on this disk or one that Ultralytics ships, and check that it is safe to build.

    Raises:
        FileNotFoundError: the file does not exist, and Ultralytics ships none of that name.
        FGDError: the path is an address or not a model YAML, or the file names something other than layers and an
            activation.
    """
    if _ADDRESS.match(str(path)):
        raise FGDError(f"model {path} is an address: download it yourself and give the file")
    try:
        config = tasks.yaml_model_load(path)
    except (AssertionError, ValueError, UnicodeError) as error:
        raise FGDError(f"{path} is not a model YAML: {one_line(error)}") from error
    check_architecture(config, path)
    return config


def check_architecture(config: Mapping[str, Any], where: str | Path) -> None:
    """Check that a model YAML names only layers and an activation, since Ultralytics evaluates its values.

    Args:
        config: content of the YAML, or `yaml` of a model.
        where: file or model, for messages.

    Raises:
        FGDError: a layer or the activation is not known; the message names it.
    """
    check_activation(config.get("activation"), where)
    for part in ("backbone", "head"):
        for layer in config.get(part) or []:
            if not isinstance(layer, (list, tuple)) or len(layer) != 4 or not isinstance(layer[2], str):
                raise FGDError(
                    f"{where} is not a model YAML: {str(layer)[:60]} in its {part} is not [from, n, layer, args]"
                )
            kind = _layer_class(layer[2])
            if not isinstance(kind, type) or not issubclass(kind, nn.Module) or issubclass(kind, tasks.BaseModel):
                raise FGDError(f"{where} names the layer {layer[2][:60]!r}, which Ultralytics does not have")


def check_activation(text: Any, where: str | Path) -> None:
    """Check that a text is empty or an activation of torch.nn with literal values, such as `nn.LeakyReLU(0.1)`.

    Raises:
        FGDError: the text is anything else; nothing of it has been evaluated.
    """
    if not text:
        return
    try:
        if len(text) > _ACTIVATION_CHARACTERS:
            raise ValueError("too long")
        call = ast.parse(text.strip(), mode="eval").body
        prefix, _, name = ast.unparse(call.func).rpartition(".")
        if prefix not in {"nn", "torch.nn"} or name not in ACTIVATIONS:
            raise ValueError("not in torch.nn")
        values = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        getattr(nn, name)(*map(ast.literal_eval, call.args), **values)
    except Exception as error:  # of the parser or the activation
        raise FGDError(
            f"{where}: the activation {str(text)[:60]!r} is not one of torch.nn with literal values, such as nn.SiLU() "
            "or nn.LeakyReLU(0.1); nothing of it was executed"
        ) from error


def _layer_class(name: str) -> Any:
    """Return the class that Ultralytics uses for the name of a layer, or None."""
    for prefix, module in {"nn.": nn, "torchvision.ops.": torchvision.ops}.items():
        if name.startswith(prefix):
            return getattr(module, name.removeprefix(prefix), None)
    return getattr(tasks, name, None)


def check_names(model: nn.Module, path: str | Path) -> None:
    """Check that the head of a model predicts as many classes as the model names.

    Raises:
        FGDError: the numbers differ; the message has both.
    """
    head = model.model[-1]
    widths = {head.nc, *class_counts(head)}
    names = getattr(model, "names", None) or {}
    numbers = set(names) if isinstance(names, dict) else set(range(len(names)))
    if widths == {len(names)} and numbers == set(range(len(names))):
        return
    raise FGDError(
        f"{path} is inconsistent: it names {counted(len(names), 'class')}, its head predicts "
        f"{' or '.join(map(str, sorted(widths)))}; give a checkpoint with the names that it was trained with"
    )


def clean_names(model: nn.Module) -> None:
    """Make the class names of a model printable, if it has any."""
    if isinstance(getattr(model, "names", None), (dict, list, tuple)):
        model.names = printable_names(model.names)


@safe_loading()
def validate(
    model: str | Path | nn.Module,
    arguments: Mapping[str, Any],
    *,
    task: str = "detect",
    loader: Any = None,
    validator: type[BaseValidator] | None = None,
    callbacks: Mapping[str, Callable[[Any], Any]] | None = None,
) -> BaseValidator:
    """Run Ultralytics' validator, without plots, without files left behind and without changing a random state.

    Among several processes that train together, this one validates alone.

    Args:
        model: checkpoint or exported file, or a model in memory, which is not changed.
        arguments: Ultralytics' arguments; `data` is required without a loader.
        task: task that a file is validated for, by its name in `TASKS`; that of a model in memory is its own.
        loader: validation loader of a trainer, for a model in memory.
        validator: class to use in place of Ultralytics' own for the task.
        callbacks: functions called with the validator, by Ultralytics' event, for a file.

    Returns:
        The validator after its run: `metrics` holds the results.
    """
    with alone(), tempfile.TemporaryDirectory(prefix="fgd_yolo-val-") as folder, preserve_random_state():
        options = {"verbose": False, **arguments, "plots": False, "save_json": False, "compile": False}
        if isinstance(model, nn.Module):
            run = (validator or task_of_model(model).validator)(loader, save_dir=Path(folder), args=options)
            run(model=model)
            return run
        yolo, runs = YOLO(str(model), task=task), []
        for event, callback in (callbacks or {}).items():
            yolo.add_callback(event, callback)

        def build(**settings: Any) -> BaseValidator:
            runs.append((validator or yolo.task_map[yolo.task]["validator"])(**settings))
            return runs[0]

        yolo.val(validator=build, **options, project=folder, name="val")
        return runs[0]


def find_device(device: Any) -> torch.device:
    """Return the device that Ultralytics selects for its argument `device`; None is the first GPU, or the CPU.

    Raises:
        UsageError: the device is not available.
    """
    try:
        return select_device("" if device is None else device, verbose=False)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise UsageError(f"device={device} is not available: {one_line(error)}") from error


def round_imgsz(imgsz: int, stride: int | torch.Tensor) -> int:
    """Round an image size up to a multiple of the stride, as Ultralytics' trainer and validator do."""
    return check_imgsz(imgsz, stride=stride, floor=32, max_dim=1)


def largest_stride(model: nn.Module) -> int:
    """Return the number of which the sides of a model's input must be multiples; Ultralytics takes at least 32."""
    return max(int(model.stride.max()), 32)


@contextmanager
def quiet_ultralytics(level: int = logging.WARNING) -> Iterator[None]:
    """Silence Ultralytics' log below a level, for instance for temporary files."""
    logger = logging.getLogger("ultralytics")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
