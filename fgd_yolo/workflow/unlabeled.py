"""The unlabelled frames of a run: what is trained on, and what is known without labels.

With labelled data the frames are trained on beside it. Alone they are divided: on the held-out ones the teachers' own
objects are the labels that the student is compared with, which measures agreement with the teacher, not accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from fgd_yolo.cache import cache_root, make_folder
from fgd_yolo.class_columns import choose_columns, known_classes, own_entries, plain_name
from fgd_yolo.config import Recipe
from fgd_yolo.console import format_classes, print_status
from fgd_yolo.datasets import (
    AGREEMENT_YAML,
    DATA_FOLDER,
    FRAMES_LIST,
    LABELLED_BY,
    TRAIN_LABELS,
    Dataset,
    link_images,
    read_dataset,
)
from fgd_yolo.errors import FGDError, UsageError, close_match
from fgd_yolo.files import atomic_path, sha256_of_json
from fgd_yolo.frames import Frames, gather_frames, hold_out, parse_interval, refuse_leak
from fgd_yolo.labelling import ImageLabels, LabelledObject, label_images, label_numbers, write_yolo
from fgd_yolo.task_table import RTDETR, TASKS, YoloTask, task_of_model
from fgd_yolo.train_arguments import ultralytics_defaults
from fgd_yolo.training.teachers.other_tasks import Labels, shared_task
from fgd_yolo.training.unlabeled_frames.frame_labels import NO_TEACHER_LABELS, QUERIES_NEED_LABELS
from fgd_yolo.ultralytics import load_model
from fgd_yolo.workflow.resolve import Model
from fgd_yolo.workflow.run_folder import Input

FEWEST_WITH_OBJECTS = 1 / 50
"""Share of the frames on which a teacher must find an object; below it a run would learn that there is nothing."""
_SAMPLE = 100  # frames on which that is checked


@dataclass(frozen=True)
class UnlabeledFrames:
    """The frames of a run.

    Args:
        train: frames that are trained on.
        data: data YAML of a run without labelled data; None beside labelled data.
    """

    train: Frames
    data: Path | None = None

    @property
    def input(self) -> Input:
        """The frames as an input of the run."""
        return Input(self.train.digest, f"{len(self.train.files)} frames")

    def write_list(self, run_dir: Path) -> Path:
        """Write the list of the frames to a run folder, as Ultralytics reads it, and return its path."""
        file = run_dir / DATA_FOLDER / FRAMES_LIST
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as path:
            path.write_text("".join(f"{frame}\n" for frame in self.train.files), encoding="utf-8")
        return file


def check_frame_options(recipe: Recipe, student: YoloTask) -> None:
    """Check the options about frames of a recipe.

    Raises:
        UsageError: one needs another, they contradict each other, or the student needs targets on every image.
    """
    if not recipe.unlabeled:
        for name in ("every", "teacher_classes", "pseudo"):
            if getattr(recipe, name) != Recipe.model_fields[name].default:
                given = "pseudo=false" if name == "pseudo" else name
                raise UsageError(f"{given} is about unlabelled frames: give them (--unlabeled PATH), or leave it out")
        return
    if not recipe.active:
        raise UsageError("--unlabeled needs a distillation, since a teacher labels the frames: leave out method=plain")
    if is_imitation(recipe):
        recipe.check_fixed_weights()
    if not recipe.pseudo and student is RTDETR:
        raise UsageError(QUERIES_NEED_LABELS)
    if recipe.data is None and recipe.train.get("fraction", 1) != 1:
        raise UsageError("fraction is about labelled images: leave it out, or give fewer frames, such as --every 5s")
    if recipe.train.get("single_cls"):
        raise UsageError(
            "single_cls is not available with --unlabeled, since classes are matched by name: leave it out"
        )
    if recipe.data is not None and recipe.teacher_classes:
        raise UsageError("--teacher-classes chooses the classes where no data does: leave it out, or leave out --data")
    parse_interval(recipe.every)


def is_imitation(recipe: Recipe) -> bool:
    """Return whether nothing but the imitation teaches a student: it has frames alone, and no targets on them."""
    return bool(recipe.unlabeled) and recipe.data is None and not recipe.pseudo


def frames_beside(recipe: Recipe, dataset: Dataset, split: str) -> UnlabeledFrames:
    """Gather the frames of a run with labelled data.

    Raises:
        FGDError: no frame can be used, or some are also in the reported split.
    """
    frames = gather_frames(recipe.unlabeled, every=parse_interval(recipe.every))
    refuse_leak(frames, dataset.images(split))
    return UnlabeledFrames(frames)


def frames_alone(recipe: Recipe, teachers: Sequence[Model], train: Mapping[str, Any], device: Any) -> UnlabeledFrames:
    """Gather the frames of a run without labelled data, and label the held-out ones by the teachers.

    Args:
        recipe: recipe of the run.
        teachers: its teachers, in their order; a class is labelled by the first that knows it.
        train: train arguments of the student, with `task`.
        device: device to run on; None for Ultralytics' choice.

    Raises:
        UsageError: a teacher has no weights, or does not know a class that is asked for.
        FGDError: no frame can be used, or the teachers find next to nothing that the student could be trained on.
    """
    untrained = next((teacher for teacher in teachers if teacher.names is None), None)
    if untrained is not None:
        raise UsageError(
            f"teacher {untrained.file} has no weights, and there are no labels to train it on: give trained weights "
            "(--teacher path.pt), or labelled data (--data)"
        )
    able = [file for file, _ in labelling_teachers([Path(teacher.file) for teacher in teachers], train["task"])]
    teachers = [teacher for teacher in teachers if Path(teacher.file) in able]
    if not teachers:
        raise UsageError(NO_TEACHER_LABELS)
    names = chosen_names(teachers, recipe.teacher_classes, recipe.map)
    trained, held_out = hold_out(gather_frames(recipe.unlabeled, every=parse_interval(recipe.every)))
    imgsz = recipe.teacher_imgsz or {**ultralytics_defaults(), **train}["imgsz"]
    score = recipe.pseudo_high
    facts = {"names": names, "map": recipe.map, "score": score, "imgsz": imgsz, "task": train["task"]}
    facts["pseudo"] = recipe.pseudo  # without it the teachers may find nothing
    # With the folders, since the data set has links into them.
    places = [str(part.folder) for part in (trained, held_out)]
    digests = [*(teacher.digest for teacher in teachers), trained.digest, held_out.digest, *places]
    folder = cache_root() / "agreement" / sha256_of_json([digests, facts])[:20]
    file = folder / AGREEMENT_YAML
    if not file.is_file():
        settings = {"min_score": recipe.pseudo_low, "imgsz": imgsz, "device": device}
        labels = label_by_teachers(able, held_out.files, names, recipe.map, train["task"], **settings)
        if recipe.pseudo:
            check_found(labels, names, score)
        labels = [_only(image, lambda entry: entry.score >= score) for image in labels]
        labelled_by = {"teacher": ", ".join(teacher.name for teacher in teachers), "score": score}
        make_folder(
            folder, lambda partial: _write_dataset(partial, folder, trained, labels, names, teachers[0], labelled_by)
        )
    print_status(
        f"no labelled data: {len(trained.files)} frames to train on, {len(held_out.files)} held out, on which the "
        f"teacher's objects above {score:g} are the labels ({format_classes(names)})"
    )
    return UnlabeledFrames(trained, file)


def chosen_names(
    teachers: Sequence[Model], chosen: Sequence[str] | None, class_map: Mapping[str, str]
) -> dict[int, str]:
    """Return the classes of a run without labelled data: those of the teachers, or the chosen ones of them.

    A class that the map renames has its new name.

    Raises:
        UsageError: no teacher knows a class; the message names the closest one.
    """
    renamed = {plain_name(source): target for source, target in class_map.items()}
    own = (name for teacher in teachers for name in (teacher.names or {}).values())
    known: dict[str, str] = {}
    for name in own:
        label = renamed.get(plain_name(name), name)
        known.setdefault(plain_name(label), label)
    if not chosen:
        return dict(enumerate(known.values()))
    for name in chosen:
        if plain_name(name) not in known:
            raise UsageError(
                f"teacher class '{name}' is not known{close_match(name, list(known.values()))} "
                f"(teacher: {format_classes(dict(enumerate(known.values())))})"
            )
    return dict(enumerate(known[plain_name(name)] for name in dict.fromkeys(map(plain_name, chosen))))


def check_sample(
    recipe: Recipe,
    frames: Frames,
    checkpoints: Sequence[Path],
    names: Mapping[int, str],
    train: Mapping[str, Any],
    device: Any = None,
) -> None:
    """Stop if the teachers find next to nothing on a sample of the frames, evenly spread over them.

    Args:
        recipe: recipe of the run.
        frames: frames that are trained on.
        checkpoints: the teachers, after a fine-tuning.
        names: classes of the data.
        train: train arguments of the student.
        device: device to run on; None for Ultralytics' choice.

    Raises:
        FGDError: they do; the message has the numbers.
    """
    sample = frames.files[:: -(-len(frames.files) // _SAMPLE)]
    imgsz = recipe.teacher_imgsz or {**ultralytics_defaults(), **train}["imgsz"]
    settings = {"min_score": recipe.pseudo_low, "imgsz": imgsz, "device": device}
    labels = label_by_teachers(checkpoints, sample, names, recipe.map, train["task"], **settings)
    if labels:  # otherwise the training says that no teacher knows a class
        check_found(labels, names, recipe.pseudo_high if recipe.pseudo else recipe.pseudo_low)


def check_found(labels: Sequence[ImageLabels], names: Mapping[int, str], score: float) -> None:
    """Stop if too few images have an object, and print what was found otherwise.

    Raises:
        FGDError: too few have; the message has the numbers.
    """
    numbers = label_numbers(labels, above=score)
    classes = ", ".join(f"{names[number]} {count}" for number, count in numbers.objects.items()) or "none"
    found = f"objects with a score above {score:g} on {numbers.with_objects} of {numbers.images} frames ({classes})"
    if numbers.with_objects < FEWEST_WITH_OBJECTS * numbers.images or not numbers.with_objects:
        every = label_numbers(labels)
        best = f"its best score is {every.scores[-1]:.2f}" if every.scores else "it finds nothing at all"
        raise FGDError(
            f"the teacher finds next to nothing on the frames: {found}, {best}. Check that it was trained on such "
            "images and classes and at this imgsz, or lower pseudo_high and pseudo_low"
        )
    print_status(f"the teacher finds {found}")


def labelling_teachers(checkpoints: Sequence[Path], task: str) -> list[tuple[Path, nn.Module]]:
    """Return the teachers that predict all that labels of a task hold, each with its model, in their order.

    Keypoints are those of the first teacher that has any.

    Args:
        checkpoints: the teachers.
        task: task of the student.
    """
    labels = None if task == "pose" else Labels(TASKS[task])
    able = []
    for file in checkpoints:
        model, _ = load_model(file)
        if labels is None and task_of_model(model).name == task:
            labels = Labels.of_model(model)
        if labels is not None and shared_task(labels, model) is labels.task:
            able.append((file, model))
    return able


def label_by_teachers(
    checkpoints: Sequence[Path],
    images: Sequence[Path],
    names: Mapping[int, str],
    class_map: Mapping[str, str],
    task: str,
    **settings: Any,
) -> list[ImageLabels]:
    """Return the labels of images by several teachers; a class is labelled by the first that knows it.

    Args:
        checkpoints: the teachers; those that cannot label the task, or know no further class, label nothing.
        images: the images.
        names: classes of the data.
        class_map: class of the data by class of a teacher.
        task: task of the student.
        settings: further arguments of `label_images`.

    Returns:
        One entry for each image that can be read; empty if no teacher knows a class.
    """
    labels: list[ImageLabels] = []
    taken: set[int] = set()
    for file, model in labelling_teachers(checkpoints, task):
        entries = own_entries(model.names, class_map)
        new = {*known_classes(choose_columns(model.names, names, entries))} - taken
        if new:
            found = label_images(file, images, names=names, class_map=entries, **settings)
            found = [_only(image, lambda entry, new=new: entry.class_id in new) for image in found]
            labels = [_joined(*pair) for pair in zip(labels, found, strict=True)] if labels else found
            taken |= new
    return labels


def _only(image: ImageLabels, kept: Callable[[LabelledObject], bool]) -> ImageLabels:
    return replace(image, objects=tuple(entry for entry in image.objects if kept(entry)))


def _joined(image: ImageLabels, other: ImageLabels) -> ImageLabels:
    return replace(image, objects=image.objects + other.objects)


def _flipped_keypoints(checkpoint: Mapping[str, Any]) -> list[int] | None:
    """Return the numbers of the keypoints in a mirrored image, from the data of a teacher if it is still there.

    Without them Ultralytics does not mirror images, since left would become right.
    """
    try:
        return read_dataset((checkpoint.get("train_args") or {}).get("data"), recorded=True).info.get("flip_idx")
    except FGDError:
        return None


def _write_dataset(
    folder: Path,
    final: Path,
    trained: Frames,
    labels: Sequence[ImageLabels],
    names: Mapping[int, str],
    teacher: Model,
    labelled_by: Mapping[str, Any],
) -> None:
    """Write the data set of a run without labelled data: held-out frames with labels, and the list of the others.

    Args:
        folder: folder to write to.
        final: where the folder will be.
        trained: frames that are trained on.
        labels: labels of the held-out frames.
        names: classes.
        teacher: the model whose keypoints and channels the data has.
        labelled_by: entry of this name in the data YAML.
    """
    written = write_yolo(labels, folder, names)
    description = yaml.safe_load(written.read_text(encoding="utf-8"))
    link_images([image.image for image in labels], [folder / "images" / image.image.name for image in labels])
    (folder / "train.txt").write_text("".join(f"{frame}\n" for frame in trained.files), encoding="utf-8")
    description |= {"path": str(final), "train": "train.txt", "val": "images"}
    model, checkpoint = load_model(teacher.file)
    if hasattr(model.model[-1], "kpt_shape"):
        description["kpt_shape"] = list(model.model[-1].kpt_shape)
        flipped = _flipped_keypoints(checkpoint)
        if flipped is not None:
            description["flip_idx"] = flipped
    if teacher.channels != 3:
        description["channels"] = teacher.channels
    description |= {TRAIN_LABELS: False, LABELLED_BY: dict(labelled_by)}
    written.unlink()
    (folder / AGREEMENT_YAML).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
