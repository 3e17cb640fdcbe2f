"""The inheriting strategy: a student starts from the neck and head of its teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.class_columns import choose_columns
from fgd_yolo.task_table import RECORDS

_CLASS_PARTS = {part for task in RECORDS for part in task.class_branches} | {"denoising_class_embed"}
"""Parts of a head whose last layer has a row for each class; the last one is RT-DETR's, used in training alone."""
LITTLE = 0.5
"""Fraction of the weights of neck and head below which inheriting them means little."""


class Inherited(NamedTuple):
    """What a student took over.

    Args:
        layers: number of layers of its neck and head that it took over.
        all_layers: number of those that have weights.
        weights: number of weights in the former.
        all_weights: number of weights in the latter.
    """

    layers: int
    all_layers: int
    weights: int
    all_weights: int

    @property
    def is_little(self) -> bool:
        """Whether most of neck and head is still as it was."""
        return self.weights < LITTLE * self.all_weights

    def __str__(self) -> str:
        return (
            f"{self.layers} of {self.all_layers} layers of neck and head "
            f"({self.weights / 1e6:.2f} of {self.all_weights / 1e6:.2f} M weights)"
        )


@torch.no_grad()
def inherit_neck_and_head(
    student: nn.Module, teacher: nn.Module, names: Mapping[int, str], class_map: Mapping[str, str] | None = None
) -> Inherited:
    """Copy the weights of a teacher's neck and head into a student, wherever the layers are alike.

    Convention:
        Neck and head are all modules after the backbone of the model's YAML, counted from the head, so that families
        and sizes of different depth meet at the same place. A layer is a convolution with its normalisation, or
        another module without modules inside. It is copied whole, and only if the teacher has one of the same kind at
        the same place with the same shapes. Of the layers that predict class scores, the rows of those classes are
        copied for which exactly one class of the teacher stands.

    Args:
        student: live model, before its training; changed in place.
        teacher: complete model with its own classes; not changed.
        names: classes of the data by number, which are the student's.
        class_map: class of the data by class of the teacher.

    Returns:
        What was copied.

    Source:
        FGD, arXiv:2111.11837, section 4, "inheriting strategy", there between heads of the same structure.
    """
    columns = choose_columns(teacher.names, names, class_map)
    rows = {number: chosen[0] for number, chosen in enumerate(columns) if len(chosen) == 1}
    theirs = dict(_layers(teacher))
    layers = all_layers = weights = all_weights = 0
    for place, own in _layers(student):
        all_layers += 1
        all_weights += sum(weight.numel() for weight in own.parameters())
        other = theirs.get(place)
        if other is None or type(other) is not type(own):
            continue
        if _predicts_classes(place, own, len(names)) and _predicts_classes(place, other, len(teacher.names)):
            copied = _copy_rows(own, other, rows)
        else:
            copied = _copy_all(own, other)
        layers += copied > 0
        weights += copied
    return Inherited(layers, all_layers, weights, all_weights)


def _layers(model: nn.Module) -> Iterator[tuple[tuple[int, str], nn.Module]]:
    """Yield the layers with weights after the backbone, by the module's place from the head and their name in it."""
    after = model.model[len(model.yaml["backbone"]) :]
    for place, module in enumerate(reversed(after)):
        for name, layer in _parts(module):
            if layer.state_dict():
                yield (place, name), layer


def _parts(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield a module's innermost parts: those in which no module has modules of its own."""
    children = dict(module.named_children())
    has_own_weights = any(True for _ in module.parameters(recurse=False))
    if has_own_weights or not any(True for child in children.values() for _ in child.children()):
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            yield from ((f"{name}.{key}", child) for key, child in children.items())
        else:
            yield name, module
        return
    for key, child in children.items():
        yield from _parts(child, f"{name}.{key}")


def _predicts_classes(place: tuple[int, str], layer: nn.Module, classes: int) -> bool:
    """Return whether a layer is one of the head's that have a row for each class."""
    weight = getattr(layer, "weight", None)
    part = place[1].split(".")[1:2]
    return place[0] == 0 and part != [] and part[0] in _CLASS_PARTS and weight is not None and len(weight) == classes


def _copy_all(own: nn.Module, other: nn.Module) -> int:
    """Copy all weights and statistics of a layer if all shapes agree; return the number of weights copied."""
    state, theirs = own.state_dict(), other.state_dict()
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in theirs.items()}:
        return 0
    own.load_state_dict(theirs)
    return sum(weight.numel() for weight in own.parameters())


def _copy_rows(own: nn.Module, other: nn.Module, rows: Mapping[int, int]) -> int:
    """Copy the rows of some classes, by class of the student; return the number of weights copied."""
    state: dict[str, Any] = own.state_dict()
    theirs: dict[str, Tensor] = other.state_dict()
    if not rows or any(theirs[name].shape[1:] != value.shape[1:] for name, value in state.items()):
        return 0
    for name, value in state.items():
        value[list(rows)] = theirs[name][list(rows.values())].to(value)
    return sum(weight[0].numel() * len(rows) for weight in own.parameters())
