"""The options of a comparison, checked before torch is loaded, and the methods to compare.

A method is given as one word: `ultralytics`, `plain`, `pseudo-labels`, methods joined with `+`, a recipe or a recipe
file, with options after a colon, such as `heads+dfine:heads.ratio=1` or `ultralytics:dis=3`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fgd_yolo.cfg import recipe_names
from fgd_yolo.checked_options import unknown_choice
from fgd_yolo.config import METHOD_OPTIONS, PLAIN, FGDConfig, Recipe, load_recipe, model_names
from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.text import printable
from fgd_yolo.train_arguments import check_train_args, parse_assignments, ultralytics_defaults

DEMO = "demo"
ULTRALYTICS = "ultralytics"
"""Ultralytics' own distillation, `distill_model=`."""
GAINS = ("box", "cls", "dfl")
"""Ultralytics' loss gains, which each method may set, since they do not change the budget."""
ULTRALYTICS_OPTIONS = ("dis", *GAINS)
PRESETS = {"pays-off": "plain training and the distillation, to see whether it pays off"}
"""Purpose by the name of a choice of methods."""
PSEUDO_LABELS = "pseudo-labels"
"""Plain training on the images that keep their labels, and on the others with those of the teacher."""
PSEUDO_SCORE = 0.35
"""Score above which an object of the teacher is a label, unless `pseudo-labels:score=` says another: that of
autodistill's first base model, Grounding DINO (`box_threshold`)."""
IMAGES = {"labels": "all", "frames": True}
"""Options of a method about the images of a comparison with a part of the labels, and their only values."""
_FRAME_OPTIONS = ("unlabeled_ratio", "pseudo", "pseudo_high", "pseudo_low")
_NOT_ACCEPTED = {
    "seed": "set the seeds with --seeds",
    "project": "set the folder with --project and --name",
    "name": "set the folder with --project and --name",
    "time": "methods of different speed would train for different numbers of epochs",
    "dis": "it belongs to one method: ultralytics:dis=3",
    "distill_model": "name the method ultralytics, which sets it to the teacher",
    "cfg": "give train arguments one by one, and recipes as methods",
    "resume": "run the same command again, which resumes its comparison",
    "fraction": "keep the labels of a part of the images with --label-fraction, or make a smaller data set",
}


@dataclass(frozen=True)
class Method:
    """One way to train the student.

    Args:
        label: name on the command line and in tables.
        config: configuration of FGDTrainer; None is Ultralytics' own `distill_model=`.
        gains: Ultralytics' loss gains of this method.
        labels: which train images have labels: empty for those of `--label-fraction`, "all" for all of them.
        frames: whether the images without labels are unlabelled frames of the distillation.
        score: with `pseudo-labels`, score above which an object of the teacher is a label; None for other methods.
    """

    label: str
    config: FGDConfig | None
    gains: dict[str, Any] = field(default_factory=dict)
    labels: str = ""
    frames: bool = False
    score: float | None = None

    @property
    def distils(self) -> bool:
        """Whether FGDTrainer distils from a teacher."""
        return self.config is not None and self.config.active

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher takes part: by distillation, or by labels."""
        return self.config is None or self.distils or self.score is not None

    @property
    def needs_label_fraction(self) -> bool:
        """Whether the method is about images with and without labels."""
        return bool(self.labels) or self.frames or self.score is not None

    @property
    def options(self) -> dict[str, Any]:
        """All options that define the method, as plain values."""
        own: dict[str, Any] = {"labels": self.labels} if self.labels else {}
        if self.score is not None:
            own |= {"trainer": PSEUDO_LABELS, "score": self.score}
        if self.config is None:
            return {"trainer": ULTRALYTICS, **self.gains, **own}
        options = self.config.flat() if self.config.active else {}
        if self.frames:
            own["frames"] = True
        else:
            options = {name: value for name, value in options.items() if name not in _FRAME_OPTIONS}
        return {**options, **self.gains, **own}


@dataclass(frozen=True)
class ComparisonOptions:
    """The options of a comparison.

    Args:
        output: folder of all results.
        data: dataset YAMLs, or "demo".
        teachers: one teacher for all data sets, or one for each, each of which may be several with commas; empty if no
            method needs one. With part of the labels, `{seed}` and `{data}` in it are the seed of a run and the name of
            its data set.
        student: model name or file.
        methods: methods to compare.
        seeds: seeds of each method on each data set.
        train: Ultralytics train arguments of all methods.
        jobs: number of runs in parallel.
        val_fraction: fraction of the train images to measure on instead of the val split; 0 uses the val split.
        label_fraction: fraction of the train images that keep their labels, chosen by the seed; 1 is all, 0 none.
        runs: folders of finished runs to include.
        allow_download: allow the download scripts of data YAMLs, and downloads of data from URLs.

    Raises:
        UsageError: an option is missing, or options contradict each other.
    """

    output: Path
    data: Sequence[str] = (DEMO,)
    teachers: Sequence[str] = ()
    student: str | None = None
    methods: Sequence[Method] = ()
    seeds: Sequence[int] = ()
    train: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 1
    val_fraction: float = 0.0
    label_fraction: float = 1.0
    runs: Sequence[Path] = ()
    allow_download: bool = False

    def __post_init__(self):
        for key, reason in _NOT_ACCEPTED.items():
            if key in self.train:
                raise UsageError(f"{key}={self.train[key]} is not accepted here: {reason}")
        check_train_args(self.train)
        batch = self.train.get("batch", ultralytics_defaults()["batch"])
        if not isinstance(batch, int) or batch < 1:
            raise UsageError(
                f"batch={batch} is not accepted here: give a fixed batch size, since the batch that fits into memory "
                "differs between methods"
            )
        if not 0 <= self.val_fraction < 1:
            raise UsageError(
                f"--val-fraction must be a fraction of the train images in [0, 1), got {self.val_fraction:g}"
            )
        self._check_labels()
        if self.methods and self.student is None:
            raise UsageError("missing --student: give a model, such as --student yolov8n")
        if not self.methods and not self.runs:
            raise UsageError(
                "missing --methods: give them, such as --methods plain ultralytics heads+dfine, or --preset pays-off"
            )
        if any(method.needs_teacher for method in self.methods) and len(self.teachers) not in {1, len(self.data)}:
            raise UsageError(
                f"got {len(self.data)} data sets and {len(self.teachers)} teachers: give one --teacher for all data "
                "sets, or one for each --data"
            )
        _check_teachers(self.teachers, self.methods)
        if self.runs and self.val_fraction:
            raise UsageError("--val-fraction cannot be used with --runs, which were measured on their val split")
        names = [folder_name(data_name(data)) for data in self.data]
        if len(set(names)) < len(names):
            raise UsageError(f"two data sets are named {max(names, key=names.count)}: rename one of the files")

    def _check_labels(self) -> None:
        """Raise if the fraction of labels is not possible, or something needs one that is not given."""
        for method in self.methods:
            if method.config is not None and not method.config.pseudo:
                if not method.frames:
                    raise UsageError(f"{method.label} has pseudo=false, which is about frames: add frames=true")
                if self.label_fraction == 0:
                    method.config.check_fixed_weights()
        if not 0 <= self.label_fraction <= 1:
            raise UsageError(
                f"--label-fraction must be a fraction of the train images in [0, 1], got {self.label_fraction:g}"
            )
        if self.label_fraction < 1:
            if self.runs:
                raise UsageError("--label-fraction cannot be used with --runs, which had all labels of their data")
            needy = [method.label for method in self.methods if not method.needs_label_fraction]
            if needy and self.label_fraction == 0:
                raise UsageError(
                    f"{needy[0]} needs labels, and --label-fraction 0 leaves none: compare methods with frames=true, "
                    "pseudo-labels or labels=all"
                )
            return
        for method in self.methods:
            if method.needs_label_fraction:
                raise UsageError(f"{method.label} needs --label-fraction: without it every method has all labels")
        for teacher in self.teachers:
            if "{seed}" in teacher:
                raise UsageError(
                    f"--teacher {teacher} needs --label-fraction: without it every seed has the same labels"
                )

    @property
    def class_map(self) -> dict[str, str]:
        """Class of the data by class of a teacher: what the methods map, which belongs to teachers and data."""
        return {
            source: target
            for method in self.methods
            for source, target in (method.config.map if method.config else {}).items()
        }

    def teacher_of(self, data: str, seed: int) -> str | None:
        """Return the teacher of a data set and a seed, or None if no method needs one."""
        if not any(method.needs_teacher for method in self.methods):
            return None
        teacher = self.teachers[list(self.data).index(data) if len(self.teachers) > 1 else 0]
        return teacher.replace("{seed}", str(seed)).replace("{data}", data_name(data))


def _check_teachers(teachers: Sequence[str], methods: Sequence[Method]) -> None:
    """Raise if a method needs one teacher and there are several, or takes its features from one that is not there."""
    taught = [method for method in methods if method.needs_teacher]
    for words in teachers:
        count = len(model_names(words))
        single = next((method for method in taught if method.config is None or method.score is not None), None)
        if count > 1 and single is not None:
            raise UsageError(f"{single.label} has one teacher, not {words}: leave out the method")
        for method in taught:
            place = method.config.features.teacher if method.config else 1
            if place > count:
                raise UsageError(f"{method.label} needs teacher {place}, but --teacher {words} names {count}")


def data_name(data: str) -> str:
    """Return the name of a data set in tables."""
    return printable(Path(data).stem)


def folder_name(label: str) -> str:
    """Return a label as a folder name."""
    return re.sub(r"[^\w.+-]+", "-", label)


def work_folder(output: Path, *labels: str) -> Path:
    """Return the folder in `output` for the training with these labels."""
    return output.joinpath("work", *map(folder_name, labels))


def parse_methods(words: Sequence[str]) -> list[Method]:
    """Parse the methods of a command line.

    Raises:
        UsageError: a method is unknown, invalid or given more than once.
    """
    methods = [parse_method(word) for word in words]
    folders = [folder_name(method.label) for method in methods]
    for index, folder in enumerate(folders):
        if folder in folders[:index]:
            raise UsageError(f"method {methods[index].label} given more than once")
    return methods


def preset_methods(preset: str, config: FGDConfig) -> list[Method]:
    """Return the methods of a preset: plain training and a distillation.

    Args:
        preset: a name in `PRESETS`.
        config: the distillation.

    Raises:
        UsageError: the preset is unknown, or nothing is distilled.
    """
    if preset not in PRESETS:
        raise UsageError(unknown_choice("preset", preset, PRESETS))
    if not config.active:
        raise UsageError(
            f"--preset {preset} compares a distillation with plain training, and the recipe distils nothing"
        )
    return [parse_method(PLAIN), replace(method_of(config), config=config)]  # the label leaves out the class map


def parse_method(word: str) -> Method:
    """Parse a method.

    Args:
        word: a name and its options, such as `fgd+heads+dfine:heads.ratio=1,features.rel_weight=0`.

    Raises:
        UsageError: an unknown name or option, an invalid value, or a recipe that sets more than the distillation.
    """
    name, _, text = word.partition(":")
    changes = parse_assignments(_split_options(text)) if text else {}
    images = _pop_images(word, changes)
    if name == PSEUDO_LABELS:
        return _pseudo_labels(word, changes, images)
    if name == ULTRALYTICS:
        for key in changes:
            if key not in ULTRALYTICS_OPTIONS:
                raise UsageError(f"{word}: {ULTRALYTICS} accepts {', '.join(ULTRALYTICS_OPTIONS)}, not {key}")
        if "frames" in images:
            raise UsageError(f"{word}: {ULTRALYTICS} knows no frames without labels: leave out frames=")
        return Method(word, None, changes, **images)
    gains = {key: changes.pop(key) for key in GAINS if key in changes}
    config = _distillation(name)
    base = Path(name).name if Path(name).suffix or name in recipe_names() else config.method
    config = config.replace(**changes)
    if "frames" in images and not config.active:
        raise UsageError(f"{word}: nothing is distilled on frames without labels: leave out frames=")
    return Method(f"{base}:{text}" if text else base, config, gains, **images)


def _pop_images(word: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Remove the options about images and their labels from those of a method, and return them."""
    images = {name: changes.pop(name) for name in IMAGES if name in changes}
    for name, value in images.items():
        if value != IMAGES[name]:
            raise UsageError(f"{word}: {name} must be {str(IMAGES[name]).lower()}, got {value}")
    if len(images) > 1:
        raise UsageError(f"{word}: with labels=all no image is without labels: leave out labels= or frames=")
    return images


def _pseudo_labels(word: str, changes: dict[str, Any], images: Mapping[str, Any]) -> Method:
    """Return the method that trains on labels of the teacher."""
    known = ("score", *GAINS)
    for key in (*images, *changes):
        if key not in known:
            raise UsageError(f"{word}: {PSEUDO_LABELS} accepts {', '.join(known)}, not {key}")
    score = changes.pop("score", PSEUDO_SCORE)
    if not isinstance(score, (int, float)) or not 0 < score < 1:
        raise UsageError(f"{word}: score must be a number between 0 and 1, got {score}")
    return Method(word, FGDConfig(method=PLAIN), changes, score=float(score))


def _split_options(text: str) -> list[str]:
    """Split `name=value` options at commas, but not a class map such as `map=truck=car,bus=car`."""
    known, words = {*FGDConfig.option_names(), *GAINS, *IMAGES}, []
    for word in text.split(","):
        name = word.partition("=")[0]
        if words and words[-1].startswith("map=") and name not in known and "." not in name:
            words[-1] += f",{word}"
        else:
            words.append(word)
    return words


def method_of(config: FGDConfig) -> Method:
    """Return the method of a configuration, with a short label from which `parse_method` returns the same method."""
    if not config.active:
        return parse_method(PLAIN)
    known = {name: parse_method(name).config.flat() for name in (config.method, *recipe_names())}
    options = config.replace(map=None).flat()  # the map belongs to teacher and data
    base = next((name for name, values in known.items() if values == options), config.method)
    changes = ",".join(f"{key}={_short(value)}" for key, value in options.items() if value != known[base][key])
    return parse_method(f"{base}:{changes}" if changes else base)


def _short(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _distillation(name: str) -> FGDConfig:
    """Return the distillation of methods, or of a recipe, which may set nothing else, since all share the rest."""
    known = [ULTRALYTICS, PSEUDO_LABELS, *METHOD_OPTIONS, *recipe_names()]
    if "+" in name or name in METHOD_OPTIONS:
        return FGDConfig(method=name)
    if name not in known and Path(name).suffix not in {".yaml", ".yml"}:
        raise UsageError(f"unknown method '{name}'{close_match(name, known)} (known: {', '.join(known)}, YAML files)")
    recipe = load_recipe(name)
    others = [name for name in Recipe.model_fields if name not in FGDConfig.model_fields]
    set_parts = [name for name in others if getattr(recipe, name) != getattr(Recipe(), name)]
    if set_parts:
        raise UsageError(f"recipe {name} sets {', '.join(set_parts)}: set that on the command line, for all methods")
    return recipe.config
