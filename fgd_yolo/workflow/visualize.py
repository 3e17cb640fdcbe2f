"""Draw the attention of a teacher and of its student before and after distillation: figures, a table, files.

The models and images come from options, or from the run folder of a distillation (`run_options`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from fgd_yolo.attention.differences import (
    CSV_NAME,
    JSON_NAME,
    format_table,
    image_differences,
    mean_differences,
    write_differences,
)
from fgd_yolo.attention.figure import draw_figure, explain_symbols, render, write_png
from fgd_yolo.attention.image_objects import ImageObjects, detected_objects, read_labels
from fgd_yolo.attention.labelled_images import (
    DETECTIONS,
    LABELS,
    LabelledImage,
    find_images,
    load_letterboxed,
)
from fgd_yolo.attention.level_attention import LevelAttention, compare_levels
from fgd_yolo.attention.models import AFTER, BEFORE, AttentionModels, build_alignments, load_models, neck_maps
from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.config.method_options import Scale
from fgd_yolo.console import display_path, print_status, progress, resume_command
from fgd_yolo.datasets import demo_data, run_dataset, scan_dataset
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.files import numbered_folder
from fgd_yolo.methods.attention_maps import AttentionSettings
from fgd_yolo.neck import Level
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import image_channels, task_of_model
from fgd_yolo.text import printable
from fgd_yolo.train_arguments import ultralytics_defaults
from fgd_yolo.training.checkpoints import SIDE, read_side_file
from fgd_yolo.ultralytics import find_device, load_model
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.run_folder import (
    DATA,
    INPUTS,
    RECIPE,
    STUDENT,
    STUDENT_PT,
    Input,
    checkpoint_input,
    data_input,
    file_input,
    input_differences,
    read_inputs,
    read_recipe,
    read_result,
)


@dataclass(frozen=True)
class VisualizeOptions:
    """A teacher, two states of a student, and the images to draw.

    Args:
        teacher: checkpoint of the teacher.
        before: checkpoint of the student before; None is the initial student of the run that `recipe` describes.
        after: checkpoint of the student after.
        sources: images, folders, patterns, or one dataset YAML.
        imgsz: input size in pixels; None is that of the training.
        temperature: temperature T of the spatial and the channel attention.
        scale: scale of the loss whose attention is drawn.
        recipe: recipe of the run, if the options come from one.
    """

    teacher: Path | None = None
    before: Path | None = None
    after: Path | None = None
    sources: tuple[str, ...] = ()
    imgsz: int | None = None
    temperature: float | None = None
    scale: Scale = AttentionSettings().scale
    recipe: Recipe | None = None

    @property
    def attention_settings(self) -> AttentionSettings:
        """Settings of the attention, once the options are validated."""
        return AttentionSettings(self.temperature, self.scale)

    def validated(self) -> VisualizeOptions:
        """Return a copy with the default temperature filled in.

        Raises:
            UsageError: a model or the images are missing.
        """
        required = {"--teacher": self.teacher, "--after": self.after, "--source": self.sources}
        required |= {} if self.recipe else {"--before": self.before}
        missing = [flag for flag, value in required.items() if not value]
        if missing:
            raise UsageError(f"missing {', '.join(missing)}: give it, or a run folder with --run")
        temperature = AttentionSettings().temperature if self.temperature is None else self.temperature
        return replace(self, temperature=temperature)


def visualize(
    options: VisualizeOptions,
    *,
    count: int = 8,
    project: Path = Path("runs/visualize"),
    name: str | None = None,
    device: str | None = None,
) -> Path:
    """Draw the attention of teacher and student, print the mean differences, and return the folder of the figures.

    An image that cannot be used is reported and skipped.

    Args:
        options: validated options.
        count: number of images to draw, from the first.
        project: parent of the folder of the figures.
        name: name of that folder, numbered if it exists; None is the name of the folder of the student.
        device: cpu, 0, ...; None is the first GPU, or the CPU.

    Raises:
        UsageError: the device is not available, or the sources have no image.
        FGDError: a model, or every image, cannot be used.
    """
    images = find_images(list(options.sources))
    before = options.before or initial_student(options.recipe, options.after)
    models = load_models(options.teacher, before, options.after, find_device(device))
    aligns, alignment_note = find_alignments(models.levels, options.teacher, options.after)
    for align in filter(None, aligns):
        align.to(next(models.teacher.parameters()).device)
    side_px = _input_side(options, models)
    print(f"{min(count, len(images))} of {len(images)} images at {side_px} px. {alignment_note}", flush=True)
    start_note = " 'before' is the initial student." if options.before is None else ""
    note = f"{explain_symbols(options.attention_settings)} {alignment_note}{start_note}"
    place = project / (name or options.after.absolute().parent.name)
    differences, drawn = [], 0
    folder: Path | None = None
    failure: FGDError | None = None
    try:
        for number, path in enumerate(progress(images[:count], "drawing"), start=1):
            try:
                image, levels = compare_image(path, models, aligns, side_px, options.attention_settings)
            except FGDError as error:
                print(f"skipped: {one_line(error)}", flush=True)
                failure = error
                continue
            drawn += 1
            differences += image_differences(image.name, levels, BEFORE, AFTER)
            figure = draw_figure(image, levels, f"{image.name}: attention of teacher and student", note)
            # Not earlier, so that a command which fails at once leaves no folder.
            folder = folder or numbered_folder(place)
            write_png(folder / f"{number:02}-{path.stem}.png", render(figure))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; finished figures are in {display_path(folder)}" if folder else "") from None
    if not drawn:
        raise failure
    facts = {"images": drawn, "imgsz": side_px, **options.attention_settings._asdict(), "alignment": alignment_note}
    write_differences(folder, differences, facts)
    shown = printable(display_path(folder))
    print(f"\n{format_table(mean_differences(differences), drawn)}\n\nfigures, {CSV_NAME} and {JSON_NAME} in {shown}")
    return folder


def compare_image(
    path: Path,
    models: AttentionModels,
    aligns: Sequence[nn.Module | None],
    side_px: int,
    settings: AttentionSettings,
) -> tuple[LabelledImage, list[LevelAttention]]:
    """Run all models on an image and return it with the attention at each level.

    Args:
        path: image file. Objects come from its label file, or from the teacher if there is none.
        models: teacher and students, on one device.
        aligns: alignment of each level on the same device, or None for unaligned maps of the student.
        side_px: side of the network's input in pixels.
        settings: settings of the attention.
    """
    task, teacher = (task_of_model(model) for model in (models.students[AFTER], models.teacher))
    labels = read_labels(path, task)
    objects = ImageObjects(torch.zeros(0, 4)) if labels is None else labels
    image = load_letterboxed(path, objects, LABELS, side_px, models.channels, task)
    tensor = image.tensor.to(next(models.teacher.parameters()).device)
    teacher_maps, outputs = neck_maps(models.teacher, tensor)
    if labels is None:
        end2end = bool(getattr(models.teacher, "end2end", False))
        found = detected_objects(outputs, teacher, len(models.teacher.names), side_px, end2end)
        image = image._replace(objects=found, source=DETECTIONS, task=teacher)
    student_maps = {name: neck_maps(model, tensor)[0] for name, model in models.students.items()}
    return image, compare_levels(models.levels, teacher_maps, student_maps, image.foreground, settings, aligns)


def find_alignments(levels: list[Level], teacher: Path, after: Path) -> tuple[list[nn.Module | None], str]:
    """Return the trained alignment of each level, and a sentence for the figures that describes it.

    Args:
        levels: pairs of neck maps.
        teacher: checkpoint of the teacher, of several the one whose features were distilled.
        after: checkpoint of the student; the side file is beside it, or in `student/weights` beside it.
    """
    unaligned: list[nn.Module | None] = [None] * len(levels)
    if all(level.student_channels == level.teacher_channels for level in levels):
        return unaligned, "Student maps are not aligned: they are as wide as the teacher's."
    without = "Student maps are not aligned and channels, which cannot be paired, are left out: "
    files = [folder / SIDE for folder in (after.parent, after.parent / "student/weights")]
    side_file = next((file for file in files if file.is_file()), None)
    if side_file is None:
        return unaligned, f"{without}there is no {SIDE} beside {after.name}."
    try:
        side = read_side_file(side_file)
    except FGDError:
        return unaligned, f"{without}{SIDE} is damaged."
    config = FGDConfig.from_dict(side["options"])
    if side["teacher"].split(",")[config.features.teacher - 1] != file_input(teacher).digest:
        return unaligned, f"{without}{SIDE} belongs to a distillation by another teacher."
    if not any(config.features.weights.values()):
        return unaligned, f"{without}the distillation of {SIDE} compared no maps."
    aligns = build_alignments(side["losses"], levels, config.feature_methods)
    if aligns is None:
        return unaligned, f"{without}{SIDE} belongs to a student of another width."
    ended = f" until {config.schedule.decay_end:.0%} of the run" if config.schedule.decay_end < 1 else ""
    return (
        aligns,
        f"Student maps are shown after the alignment of epoch {side['epoch'] + 1}, trained with 'after'{ended}.",
    )


def run_options(run_dir: Path, options: VisualizeOptions) -> VisualizeOptions:
    """Complete the options from a finished run of distill.

    Raises:
        UsageError: the folder is not a run, or the options name another student.
        FGDError: the run is not finished, or had no teacher and the options name none.
    """
    if not (run_dir / RECIPE).is_file():
        raise UsageError(f"{run_dir} has no {RECIPE}: --run needs a run folder, such as runs/distill/yolov8n")
    if options.after is not None:
        raise UsageError("--after cannot be used with --run, which names the student after training: leave out one")
    result = read_result(run_dir)
    if result is None or not (run_dir / STUDENT_PT).is_file():
        raise FGDError(f"{run_dir} is not finished: resume it with {resume_command(run_dir)}")
    recipe = read_recipe(run_dir)
    teachers = result["files"]["teachers"]
    if not (options.teacher or teachers):
        raise FGDError(f"{run_dir} was trained without a teacher: name one with --teacher")
    teacher = options.teacher or teachers[recipe.features.teacher - 1]
    _check_inputs(run_dir, options, recipe, Path(teacher))
    settings = AttentionSettings.of(recipe.features)
    return VisualizeOptions(
        teacher=Path(teacher),
        before=options.before,
        after=run_dir / STUDENT_PT,
        sources=options.sources or (_run_data(run_dir, recipe),),
        imgsz=options.imgsz or result["imgsz"],
        temperature=settings.temperature if options.temperature is None else options.temperature,
        scale=settings.scale,
        recipe=recipe,
    )


@safe_loading()
def initial_student(recipe: Recipe, after: Path) -> nn.Module:
    """Rebuild the student as it was before the first training step.

    Args:
        recipe: recipe of the run, with the initial model and the seed.
        after: checkpoint of the trained student, with the architecture for the classes of the data.

    Raises:
        UsageError: the run started from weights given with `pretrained=`, which Ultralytics merges by its own rules.
    """
    train = {**ultralytics_defaults(), **recipe.train}
    pretrained = train["pretrained"]
    if isinstance(pretrained, (str, Path)):
        raise UsageError(f"this run started from pretrained={pretrained}: name the initial student with --before")
    trained, _ = load_model(after)
    # Seeded as in Ultralytics' trainer, which builds the model before it draws any other random number.
    with preserve_random_state(seed=train["seed"]):
        model = task_of_model(trained).model(trained.yaml, ch=image_channels(trained.yaml), verbose=False)
    if pretrained and Path(str(recipe.student)).suffix == ".pt":
        model.load(load_model(recipe.student)[0], verbose=False)
    model.names = trained.names
    return model.float().eval()


def _run_data(run_dir: Path, recipe: Recipe) -> str:
    return str(run_dataset(run_dir) or recipe.data or demo_data(recipe.train.get("task", "detect")))


def _check_inputs(run_dir: Path, options: VisualizeOptions, recipe: Recipe, teacher: Path) -> None:
    """Check that the inputs which the options do not replace have not changed since the run was started.

    Raises:
        FGDError: an input has changed.
    """
    recorded = read_inputs(run_dir)
    if recorded is None:
        file = display_path(run_dir / INPUTS)
        print_status(f"!! {file} is missing or damaged: cannot check that models and data are unchanged")
        return
    current = {} if options.teacher else {checkpoint_input(recipe.features.teacher): file_input(teacher)}
    if options.before is None:
        current[STUDENT] = Input(resolve(recipe.student, "student").digest, str(recipe.student))
    if not options.sources:
        current[DATA] = data_input(scan_dataset(_run_data(run_dir, recipe), recipe.train, recorded=True))
    changed = input_differences(recorded, current)
    if changed:
        advice = "put back the originals, or name others with --teacher, --before and --source"
        raise FGDError(f"{display_path(run_dir)} was started with {changed}: {advice}")


def _input_side(options: VisualizeOptions, models: AttentionModels) -> int:
    imgsz = int(options.imgsz or models.students[AFTER].args["imgsz"])
    side_px = -(-imgsz // models.stride) * models.stride
    if side_px != imgsz:
        print(f"imgsz {imgsz} is not a multiple of the largest stride, {models.stride}: using {side_px}", flush=True)
    return side_px
