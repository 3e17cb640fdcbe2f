"""Which classes a training selects and its teachers teach, in words too, and what is left if they know none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ultralytics.utils import LOGGER, colorstr

from fgd_yolo.config import FGDConfig
from fgd_yolo.console import format_classes
from fgd_yolo.errors import FGDError
from fgd_yolo.text import printable


def selected_classes(classes: int | Sequence[int] | None, single_cls: bool, count: int) -> list[int] | None:
    """Return the classes that a training selects from its data, or None for all.

    Ultralytics drops the labels of all other classes but does not make the head narrower. Their objects become
    background, so the scores that a teacher still gives them must not be imitated.

    Args:
        classes: Ultralytics' train argument of this name.
        single_cls: Ultralytics' train argument: all objects get the same class, the only one of the head.
        count: number of classes of the data.

    Raises:
        FGDError: `classes` is empty or names a class that the data does not have.
    """
    if classes is None or single_cls:
        return None
    chosen = list(classes) if isinstance(classes, (list, tuple)) else [classes]
    if not chosen or not set(chosen) <= set(range(count)):
        raise FGDError(
            f"classes={classes} selects no class, or an unknown one: the data has the classes 0 to {count - 1}"
        )
    return sorted({int(number) for number in chosen})


def taught_classes(known: Sequence[int], selected: Sequence[int] | None, count: int) -> list[int] | None:
    """Return the classes whose scores a teacher can teach, or None for all classes of the data.

    Args:
        known: classes of the data that the teacher knows.
        selected: classes that the training selects; None for all.
        count: number of classes of the data.
    """
    taught = [number for number in range(count) if number in known and (selected is None or number in selected)]
    return None if len(taught) == count else taught


def describe_classes(teacher: str, known: Sequence[int], data_names: Mapping[int, str]) -> str:
    """Return a line that lists which classes of the data a teacher knows.

    Args:
        teacher: name of the teacher.
        known: classes of the data that it knows.
        data_names: classes of the data.
    """
    if len(known) == len(data_names):
        return f"teacher {teacher} knows all {format_classes(data_names)} of the data"
    if not known:
        return f"teacher {teacher} knows none of the data's {format_classes(data_names)}, so its head teaches nothing"
    unknown = [number for number in data_names if number not in known]
    return (
        f"teacher {teacher} knows {len(known)} of the {len(data_names)} classes of the data: "
        f"{_listed(data_names, known)}; unknown: {_listed(data_names, unknown)}, whose scores it does not teach"
    )


def without_heads(
    config: FGDConfig, teachers: Sequence[str], own: Mapping[int, str], data_names: Mapping[int, str]
) -> FGDConfig:
    """Return the options without imitation of heads, for teachers that know none of the classes, with a warning.

    Args:
        config: options of the distillation.
        teachers: names of the teachers.
        own: classes of the teachers.
        data_names: classes of the data that the training selects.

    Raises:
        FGDError: nothing else is left to teach.
    """
    check_features(config, teachers, own, data_names)
    LOGGER.warning(
        f"{colorstr('FGD:')} {_nothing_shared(teachers, own, data_names)}: only features teach, no head is imitated "
        f"and no mAP is checked; if classes are equal, name them ({_example_map(own, data_names)})"
    )
    return config.without_heads()


def check_features(
    config: FGDConfig, teachers: Sequence[str], own: Mapping[int, str], data_names: Mapping[int, str]
) -> None:
    """Stop if the features are not distilled either, for teachers that know none of the classes.

    Raises:
        FGDError: only the head would teach; the message has the classes of both sides.
    """
    if not any(config.features.weights.values()):
        raise FGDError(
            f"{_nothing_shared(teachers, own, data_names)}, so {'their heads' if len(teachers) > 1 else 'its head'} "
            f"can teach nothing: name equal classes ({_example_map(own, data_names)}), train the teacher on this data, "
            "or distil features too (method=fgd+heads+dfine)"
        )


def _nothing_shared(teachers: Sequence[str], own: Mapping[int, str], data_names: Mapping[int, str]) -> str:
    subject = f"teachers {', '.join(teachers)} have" if len(teachers) > 1 else f"teacher {teachers[0]} has"
    return f"{subject} {format_classes(own)}, none of the data's {format_classes(data_names)}"


def _example_map(own: Mapping[int, str], data_names: Mapping[int, str]) -> str:
    return f"map={printable(next(iter(own.values()), 'a'))}={printable(next(iter(data_names.values()), 'b'))}"


def _listed(names: Mapping[int, str], numbers: Sequence[int]) -> str:
    return ", ".join(printable(names[number]) for number in numbers)
