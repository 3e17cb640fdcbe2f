"""Classes by name: which outputs of a teacher belong to the classes of the data, and a head that predicts those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgd_yolo.console import format_classes
from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.task_table import TASK_OF_HEAD

Columns = tuple[tuple[int, ...], ...]
"""For each class of the data the numbers of the teacher's classes that stand for it; none for a class that it does not
know."""

ABSENT = -1e4
"""Logit of a class that a teacher does not know: its probability is 0, and float16 holds it."""

_SHOWN = 10  # names of a list in messages


def same_classes(one: Mapping[int, str], other: Mapping[int, str]) -> bool:
    """Return whether two class maps name the same classes by the same numbers, ignoring case and spacing."""
    return _plain_names(one) == _plain_names(other)


def choose_columns(
    teacher_names: Mapping[int, str], data_names: Mapping[int, str], class_map: Mapping[str, str] | None = None
) -> Columns:
    """Choose the teacher's classes that stand for each class of the data, by name.

    Convention:
        Names are compared without case and spacing. A class that the map names stands for the class that it is mapped
        to, and no longer for that of its own name. A teacher with exactly the classes of the data needs no map, so it
        keeps its classes.

    Args:
        teacher_names: the teacher's classes by number.
        data_names: classes of the data, numbered from 0.
        class_map: class of the data by class of the teacher; entries that do not concern this teacher have no effect.
    """
    if same_classes(teacher_names, data_names):
        return tuple((number,) for number in range(len(data_names)))
    mapped = {plain_name(source): plain_name(target) for source, target in (class_map or {}).items()}
    stands_for = {number: mapped.get(name, name) for number, name in _plain_names(teacher_names).items()}
    wanted = _plain_names(data_names)
    return tuple(
        tuple(number for number, name in sorted(stands_for.items()) if name == wanted[index])
        for index in range(len(wanted))
    )


def own_entries(teacher_names: Mapping[int, str], class_map: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a class map that name a class of a teacher."""
    own = {*_plain_names(teacher_names).values()}
    return {source: target for source, target in class_map.items() if plain_name(source) in own}


def known_classes(columns: Columns) -> list[int]:
    """Return the numbers of the classes of the data that a teacher knows."""
    return [index for index, chosen in enumerate(columns) if chosen]


def check_class_map(
    class_map: Mapping[str, str], teachers: Sequence[Mapping[int, str]], data_names: Mapping[int, str]
) -> None:
    """Check that a map names classes of at least one teacher, and classes of the data.

    Args:
        class_map: class of the data by class of a teacher.
        teachers: classes by number of each teacher.
        data_names: classes of the data.

    Raises:
        UsageError: a class does not exist; the message names it, the closest one, and the classes of both sides.
    """
    for source, target in class_map.items():
        sides = {
            "data has": (target, [data_names]),
            "teacher has" if len(teachers) == 1 else "teachers have": (source, teachers),
        }
        for side, (name, owners) in sides.items():
            known = [str(entry) for names in owners for entry in names.values()]
            if plain_name(name) not in map(plain_name, known):
                theirs = " and ".join(format_classes(names, _SHOWN) for names in teachers)
                raise UsageError(
                    f"map {source}={target}: the {side} no class '{name}'{close_match(name, known)} "
                    f"(teacher: {theirs}; data: {format_classes(data_names, _SHOWN)})"
                )


def predict_classes(
    model: nn.Module, data_names: Mapping[int, str], class_map: Mapping[str, str] | None = None
) -> list[int]:
    """Change a teacher so that it predicts the classes of the data, in their order, and return those that it knows.

    A class that it does not know gets the probability 0 everywhere. A teacher with exactly the classes of the data is
    not changed.

    Args:
        model: a YOLO of any task; its head is changed in place, also if it is fused.
        data_names: classes of the data, numbered from 0.
        class_map: class of the data by class of the teacher.
    """
    columns = choose_columns(model.names, data_names, class_map)
    if same_classes(model.names, data_names):
        return known_classes(columns)
    head = model.model[-1]
    for name in TASK_OF_HEAD[type(head).__name__].class_branches:
        branch = getattr(head, name, None)  # fusion removes one of a YOLO's two
        if isinstance(branch, nn.Linear):
            setattr(head, name, _with_columns(branch, columns))
        for number, layers in enumerate(branch if isinstance(branch, nn.ModuleList) else ()):
            branch[number] = _with_columns(layers, columns)
    if hasattr(head, "no"):  # outputs per cell of a YOLO's head
        head.no += len(columns) - head.nc
    head.nc = model.nc = len(columns)
    model.names = dict(data_names)
    return known_classes(columns)


def _with_columns(layers: nn.Sequential | nn.Linear, columns: Columns) -> nn.Sequential:
    """Return the layers that give class scores, convolutions or one linear layer, with `ClassColumns` after them."""
    layers = layers if isinstance(layers, nn.Sequential) else nn.Sequential(layers)
    last = layers[-1]
    linear = isinstance(last, nn.Linear)
    added = ClassColumns(columns, last.out_features if linear else last.out_channels, axis=-1 if linear else 1)
    return layers.append(added.to(last.weight.device))


class ClassColumns(nn.Module):
    """Turns the class logits of one model into those of other classes.

    Convention:
        A class for which one class of the model stands has its logit, to the last bit. If several stand for it, its
        probability is 1 - prod(1 - p), that of at least one of them if they were independent; computed in float32 from
        log(1 - p) = -softplus(logit). If none does, the logit is `ABSENT`.

    Args:
        columns: numbers of the model's classes that stand for each class.
        count: number of classes of the model.
        axis: axis of the classes.
    """

    def __init__(self, columns: Columns, count: int, axis: int = 1):
        super().__init__()
        self.axis = axis
        most = max(map(len, columns), default=0) or 1
        # Column `count` is a further one that holds ABSENT: adding it changes no joint probability.
        index = [[*chosen, *[count] * (most - len(chosen))] for chosen in columns]
        # Not persistent: a state dict holds weights alone.
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.register_buffer("joined", torch.tensor([len(chosen) > 1 for chosen in columns]), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the logits (B, classes, H, W) for the model's logits (B, count, H, W), or with another axis."""
        return self._of_data(logits.movedim(self.axis, 1)).movedim(1, self.axis)

    def _of_data(self, logits: Tensor) -> Tensor:
        absent = logits.new_full((logits.shape[0], 1, *logits.shape[2:]), ABSENT)
        chosen = torch.cat([logits, absent], dim=1)[:, self.index]  # (B, classes, most, H, W)
        first = chosen[:, :, 0]
        if chosen.shape[2] == 1:
            return first
        joint = joint_logit(chosen, dim=2)
        return torch.where(self.joined.view(-1, *[1] * (logits.dim() - 2)), joint, first)


def joint_logit(logits: Tensor, dim: int) -> Tensor:
    """Return the logit of 1 - prod(1 - p) over a dimension, for the logits of the probabilities p."""
    with torch.autocast(logits.device.type, enabled=False):
        none = F.softplus(logits.float()).sum(dim)  # -log(prod(1 - p))
        none = none.clamp(min=torch.finfo(none.dtype).tiny)
        # log(p / (1 - p)) = log(exp(none) - 1), without the overflow of exp
        return (none + torch.log(-torch.expm1(-none))).to(logits.dtype)


def plain_name(name: object) -> str:
    """Return the name of a class as names are compared: without case, and with single spaces."""
    return " ".join(str(name).lower().split())


def _plain_names(names: Mapping[int, str]) -> dict[int, str]:
    return {int(number): plain_name(name) for number, name in names.items()}
