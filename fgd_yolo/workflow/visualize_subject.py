"""What is looked at: models and images named one by one, or those of a distillation's run folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.attention.views import Lens
from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.console import display_path, distill_command, print_status
from fgd_yolo.datasets import kept_dataset
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.ultralytics import load_detector
from fgd_yolo.workflow.dataset_check import check_dataset
from fgd_yolo.workflow.demo_run import demo_yaml
from fgd_yolo.workflow.digests import CHECKPOINT, DATA, KEYS, STUDENT, Key, data_key, differing, file_key, read_keys
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.run_folder import RECIPE, read_recipe, read_result


@dataclass(frozen=True)
class Subject:
    """Two states of a student beside a teacher, and the images to look at.

    Args:
        teacher: checkpoint.
        before: checkpoint; None is the start of the run that `recipe` describes.
        after: checkpoint of the same student.
        sources: pictures, folders, patterns, or one dataset YAML.
        imgsz: side of the network's input in pixels; None is what `after` was trained with.
        temperature: T of both attentions.
        scale: of the loss whose attention is looked at.
        recipe: of the run, if there is one.
    """

    teacher: Path | None = None
    before: Path | None = None
    after: Path | None = None
    sources: tuple[str, ...] = ()
    imgsz: int | None = None
    temperature: float | None = None
    scale: str = FGDConfig.scale
    recipe: Recipe | None = None

    @property
    def lens(self) -> Lens:
        """How attention is taken, of a complete subject."""
        return Lens(self.temperature, self.scale)

    def complete(self) -> Subject:
        """Return it with the default temperature, or say what is missing.

        Raises:
            UsageError: a model or the images were not named.
        """
        needed = {"--teacher": self.teacher, "--after": self.after, "--source": self.sources}
        needed |= {} if self.recipe else {"--before": self.before}
        missing = [flag for flag, value in needed.items() if not value]
        if missing:
            raise UsageError(f"{', '.join(missing)} is missing: name it, or give a run folder with --run")
        temperature = FGDConfig().temperature if self.temperature is None else self.temperature
        return replace(self, temperature=temperature)


def of_run(run_dir: Path, said: Subject) -> Subject:
    """Return what there is to see in a finished run of distill; what the user said wins.

    Raises:
        UsageError: the folder holds no run, or the user named another student.
        FGDError: the run is not finished, or had no teacher and none is named.
    """
    if not (run_dir / RECIPE).is_file():
        raise UsageError(f"{run_dir} holds no {RECIPE}: --run takes the folder of a run, such as runs/distill/yolov8n")
    if said.after is not None:
        raise UsageError("--run names the student after its training: leave out --after, or --run")
    result = read_result(run_dir)
    if result is None or not (run_dir / "student.pt").is_file():
        raise FGDError(f"{run_dir} is not finished: go on with it, {distill_command(resume=display_path(run_dir))}")
    recipe = read_recipe(run_dir)
    teacher = said.teacher or result["files"].get("teacher")
    if teacher is None:
        raise FGDError(f"{run_dir} was trained without a teacher: name one with --teacher")
    _check_keys(run_dir, said, recipe, Path(teacher))
    return Subject(
        teacher=Path(teacher),
        before=said.before,
        after=run_dir / "student.pt",
        sources=said.sources or (str(kept_dataset(run_dir) or recipe.data or demo_yaml()),),
        imgsz=said.imgsz or result["imgsz"],
        temperature=recipe.fgd.temperature if said.temperature is None else said.temperature,
        scale=recipe.fgd.scale,
        recipe=recipe,
    )


def _check_keys(run_dir: Path, said: Subject, recipe: Recipe, teacher: Path) -> None:
    """Stop where what is taken from a run is not what the run began with.

    Raises:
        FGDError: names what differs, and the options that leave it out.
    """
    recorded = read_keys(run_dir)
    if recorded is None:
        print_status(
            f"!! {display_path(run_dir / KEYS)} is missing or damaged: whether models and data are the same is unknown"
        )
        return
    found = {} if said.teacher else {CHECKPOINT: file_key(teacher)}
    if said.before is None:
        found[STUDENT] = Key(resolve(recipe.student, "student").key, str(recipe.student))
    if not said.sources:
        data = str(kept_dataset(run_dir) or recipe.data or demo_yaml())
        found[DATA] = data_key(check_dataset(data, recipe.train, recorded=True))
    changed = differing(recorded, found)
    if changed:
        way = "put back what it began with, or name other ones with --teacher, --before and --source"
        raise FGDError(f"{display_path(run_dir)} began with {changed}: {way}")


@safe_loading()
def student_start(recipe: Recipe, after: Path) -> nn.Module:
    """Return the student as the first step of its training found it.

    Args:
        recipe: of the run: names where the student started, and the seed.
        after: its checkpoint, which knows the architecture with the classes of the data.

    Raises:
        UsageError: it began from weights that `pretrained=` names, which the host mixes in by rules of its own.
    """
    pretrained = recipe.train.get("pretrained", True)
    if isinstance(pretrained, (str, Path)):
        raise UsageError(f"this run began with pretrained={pretrained}: name the student's start with --before")
    trained, _ = load_detector(after)
    # Seeded like the host's trainer, which builds the model first of all.
    with preserve_random_state(seed=recipe.train.get("seed", 0)):
        model = DetectionModel(trained.yaml, verbose=False)
    if pretrained and Path(str(recipe.student)).suffix == ".pt":
        model.load(load_detector(recipe.student)[0], verbose=False)
    model.names = trained.names
    return model.float().eval()
