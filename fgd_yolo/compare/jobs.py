"""The runs to make, planned from the options and written as files for the worker processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from fgd_yolo.compare.comparability import common_arguments, known_optimizer
from fgd_yolo.compare.holdout import make_holdout
from fgd_yolo.compare.labelled_part import LabelledPart, make_labelled_part
from fgd_yolo.compare.options import DEMO, PSEUDO_LABELS, ComparisonOptions, Method, data_name, method_of, work_folder
from fgd_yolo.compare.pseudo_labels import make_pseudo_labels
from fgd_yolo.compare.results import Run
from fgd_yolo.config import PLAIN, FGDConfig, Recipe, part_of_default
from fgd_yolo.console import print_status
from fgd_yolo.datasets import Dataset, count_seen, demo_data, scan_dataset
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.files import atomic_path, sha256_of_file
from fgd_yolo.strict_json import to_json
from fgd_yolo.train_arguments import ultralytics_defaults
from fgd_yolo.training.preflight import starting_checkpoint
from fgd_yolo.training.speed.cpu_autocast import on_cpu
from fgd_yolo.ultralytics import find_device
from fgd_yolo.workflow.method_choice import choose_method
from fgd_yolo.workflow.plan import Plan, check_teacher_size, demo_arguments, make_plan
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.training_stages import prepare_teacher

JOB = "job.json"
RESULT = "run.json"
LOG = "log.txt"
TrainArguments = tuple[dict[str, Any], dict[str, Any] | None]
"""Train arguments of the student, and of the teacher if they are known before the plan."""
SHARED_DEFAULTS = {"patience": 0, "plots": False}
"""Train arguments of all methods unless the user sets them: no early stopping, no plots."""


@dataclass(frozen=True)
class Job:
    """A run to make.

    Args:
        folder: folder of the files of this job.
        run_folder: Ultralytics' run folder, the same unless the run was trained elsewhere. A stopped training in it
            is resumed.
        data: dataset YAML.
        student: initial model; None measures a finished training.
        teachers: checkpoints of the teachers; empty without distillation.
        method: distillation method.
        train: train arguments of all methods, and the seed.
        unlabeled: list file of frames without labels; None without.
        planned: row of the run, with the values that are known before it.
    """

    folder: Path
    run_folder: Path
    data: str
    student: str | None
    teachers: Sequence[str]
    method: Method
    train: dict[str, Any]
    planned: Run
    unlabeled: str | None = None


@dataclass(frozen=True)
class PreparedData:
    """A data set with its teachers, ready for every method.

    Args:
        name: name of the data set.
        seeds: seeds of the runs on it; one if the seed chooses the images that keep their labels.
        plan: validated plan, as for a distillation.
        methods: methods to train; the default is what of it the teachers can teach.
        teachers: checkpoints that are trained for the data; empty if no method needs one.
        part: the images that keep their labels; None if all do.
        datasets: data by the label of a method, of methods that do not train on the plan's.
    """

    name: str
    seeds: Sequence[int]
    plan: Plan
    methods: Sequence[Method]
    teachers: Sequence[Path]
    part: LabelledPart | None = None
    datasets: Mapping[str, Dataset] = field(default_factory=dict)

    @property
    def train(self) -> dict[str, Any]:
        """Train arguments of every method, without the seed."""
        return {**SHARED_DEFAULTS, **self.plan.recipe.train}

    def dataset_of(self, method: Method) -> Dataset:
        """Return the data that a method trains on."""
        return self.datasets.get(method.label, self.plan.dataset)

    def labels_of(self, method: Method) -> dict[str, Any]:
        """Return the columns of a run about the labels that a method is given."""
        images = self.plan.dataset.scan.train_images  # as many as the whole train split has, in every case
        given = images if self.part is None or method.labels else len(self.part.labelled)
        digest = self.part and self.part.digest
        return {"train_images": images, "labelled_images": given, "labelled_digest": digest}


def prepare_data(options: ComparisonOptions) -> list[PreparedData]:
    """Plan the training on each data set, and fine-tune teachers that are not trained for their data.

    Raises:
        UsageError: an option is missing, unknown, contradictory or not supported.
        FGDError: models or data cannot be used.
    """
    if not options.methods:
        return []
    by_seed = [[seed] for seed in options.seeds] if options.label_fraction < 1 else [options.seeds]
    sources = [(data, *_source(options, data)) for data in options.data]
    planned = []
    for seeds in by_seed:
        for data, source, arguments in sources:
            part = _labelled_part(options, data, source, seeds[0])
            plan = plan_data(options, data, part or source, seeds[0], arguments)
            planned.append((data, seeds, plan, part))
    return [_prepare(options, *parts) for parts in planned]


def _check_method(method: Method, plan: Plan) -> None:
    """Check that a method can be trained with the arguments and teachers of a plan.

    Raises:
        UsageError: it cannot.
    """
    train = plan.recipe.train
    if method.config is not None:
        check_teacher_size(method.config, train, plan.teachers)
    elif on_cpu(train.get("amp"), plan.device_type):
        raise UsageError(
            f"{method.label}: Ultralytics' own distillation cannot be trained with amp=bf16 on a CPU: leave out one"
        )


def _taught_method(method: Method, plan: Plan) -> Method:
    """Return a method, or what of it the teachers can teach if it is the default that nobody named, as in a run."""
    if not method.distils or "method" in method.config.given:
        return method
    recipe = Recipe.of(method.config, train=plan.recipe.train)
    config = choose_method(recipe, plan.student, plan.teachers, plan.classes_taught).config
    is_preset = method.label == method_of(method.config).label  # otherwise the label is the user's own word
    return replace(method, config=config, label=method_of(config).label if is_preset else method.label)


def _prepare(
    options: ComparisonOptions, data: str, seeds: Sequence[int], plan: Plan, part: LabelledPart | None
) -> PreparedData:
    """Fine-tune the teachers of a plan that are not trained for its data."""
    folder = _data_folder(options, data, seeds[0])
    methods = [_taught_method(method, plan) for method in options.methods]
    for method in methods:
        _check_method(method, plan)
    plan = plan.with_data_copy(folder)
    teachers = [
        prepare_teacher(
            teacher,
            plan.dataset,
            plan.recipe.teacher_train,
            folder,
            place=place,
            fine_tuned=fine_tuned,
            class_map=plan.recipe.map,
        )
        for place, (teacher, fine_tuned) in enumerate(zip(plan.teachers, plan.fine_tuned, strict=True), start=1)
    ]
    files = {}
    if part is not None:
        makers = {method.label: _own_data(method, part, folder, plan, teachers) for method in methods}
        files = {label: file for label, file in makers.items() if file is not None}
    datasets = {label: scan_dataset(file, plan.recipe.train, recorded=True) for label, file in files.items()}
    return PreparedData(data_name(data), seeds, plan, methods, teachers, part, datasets)


def _own_data(method: Method, part: LabelledPart, folder: Path, plan: Plan, teachers: Sequence[Path]) -> Path | None:
    """Return the YAML of a method that does not train on the labelled images, repeated; None for one that does."""
    if method.labels:
        return part.whole
    if method.frames:
        return part.once
    if method.score is None:
        return None
    place = folder / PSEUDO_LABELS
    return make_pseudo_labels(part, teachers[0], method.score, place, plan.recipe.train, plan.recipe.map)


def _data_folder(options: ComparisonOptions, data: str, seed: int) -> Path:
    """Return the folder of a data set and its teacher."""
    folder = work_folder(options.output.absolute(), data_name(data))
    return folder if options.label_fraction == 1 else folder / f"labels-{options.label_fraction:g}-seed-{seed}"


def _labelled_part(options: ComparisonOptions, data: str, source: str | None, seed: int) -> LabelledPart | None:
    """Choose the images of a data set that keep their labels; None if all do."""
    if options.label_fraction == 1:
        return None
    folder = _data_folder(options, data, seed) / "part"
    part = make_labelled_part(source, options.label_fraction, seed, folder, allow_download=options.allow_download)
    count = len(part.labelled) + len(part.unlabelled)
    print_status(f"data {data_name(data)}, seed {seed}: {len(part.labelled)} of {count} train images keep their labels")
    if part.absent:
        print_status(f"!! none of these has an object of {', '.join(part.absent)}: nothing can be learnt about it here")
    return part


def plan_jobs(options: ComparisonOptions, prepared: Sequence[PreparedData]) -> list[Job]:
    """Return the jobs of all runs; all runs of a seed come before the next seed."""
    return [
        _job(options, data, method, seed)
        for seed in options.seeds
        for data in prepared
        if seed in data.seeds
        for method in data.methods
    ]


def _source(options: ComparisonOptions, data: str) -> tuple[str | None, TrainArguments]:
    """Return the YAML of a data set, or of its held-out part, and the train arguments of student and teacher.

    The YAML is None, and the arguments are those of the user, if the plan makes the demo scenes itself.
    """
    train, teacher_train = dict(options.train), None
    yaml: str | None = None if data == DEMO else data
    if yaml is None and (options.val_fraction or options.label_fraction < 1):
        task = resolve(options.student, "student", demo=True).task
        train, teacher_train = demo_arguments(train, find_device(train.get("device")).type, task)
        yaml = demo_data(task.name)
    if options.val_fraction:
        folder = work_folder(options.output.absolute(), data_name(data), "held-out")
        yaml = str(make_holdout(yaml, options.val_fraction, folder, allow_download=options.allow_download))
    return yaml, (train, teacher_train)


def plan_data(
    options: ComparisonOptions, data: str, source: LabelledPart | str | None, seed: int, arguments: TrainArguments
) -> Plan:
    """Make the plan for a data set, as a distillation does.

    Args:
        options: options of the comparison.
        data: data set, as in the options.
        source: the images that keep their labels, or the YAML of all; None for the demo scenes.
        seed: seed of the teacher.
        arguments: train arguments of student and teacher; those of the teacher may be None.

    Raises:
        FGDError: the val labels are a teacher's, or the student has seen val images.
    """
    teacher, (train, teacher_train) = options.teacher_of(data, seed), arguments
    yaml = str(source.repeated) if isinstance(source, LabelledPart) else source
    # Each method has options of its own; the plan needs one that no teacher is refused for.
    method = part_of_default(heads=False) if teacher else PLAIN
    config = FGDConfig(method=method, map=options.class_map if teacher else {})
    recipe = Recipe.of(config, teacher=teacher, student=options.student, data=yaml, train=train)
    plan = make_plan(recipe.override(teacher_train=teacher_train), allow_download=options.allow_download)
    plan.dataset.check_true_labels()
    check_unseen(plan.student.file, plan.recipe.train, plan.dataset)
    return plan


def check_unseen(student: str | None, train: Mapping[str, Any], dataset: Dataset) -> None:
    """Stop if a student starts from weights that were trained on the images that it is measured on.

    Args:
        student: model that is trained; None if it is not known.
        train: its train arguments.
        dataset: its data.

    Raises:
        FGDError: it does; the message has the numbers.
    """
    arguments = {**ultralytics_defaults(), **train}
    start = starting_checkpoint(student, arguments["pretrained"])
    if start is None:
        return
    split = arguments["split"]
    images = dataset.images(split)
    seen = count_seen(start.file, start.recorded, images)
    if seen:
        raise FGDError(
            f"student {Path(start.file).name} was trained on {seen} of the {len(images)} {split} images, so its mAP on "
            "them says nothing: give one that has not seen them, or other images to measure on"
        )


def _job(options: ComparisonOptions, data: PreparedData, method: Method, seed: int) -> Job:
    plan, train, dataset = data.plan, data.train, data.dataset_of(method)
    arguments = {**ultralytics_defaults(), **train}
    teachers = data.teachers if method.needs_teacher else []
    planned = Run(
        data=data.name,
        method=method.label,
        seed=seed,
        measured=plan.student.task.measured,
        **{key: arguments[key] for key in ("epochs", "batch", "imgsz")},
        **known_optimizer(arguments),
        arguments=common_arguments(train),
        student=plan.student.name,
        student_digest=plan.student.digest[:16],
        data_digest=dataset.scan.digest[:16],
        val_images=dataset.scan.val_images,
        val_fraction=options.val_fraction,
        val_digest=dataset.scan.val_digest[:16],
        label_fraction=options.label_fraction,
        **data.labels_of(method),
        **teacher_columns(teachers),
        options=method.options,
        device_type=plan.device_type,
    )
    folder = work_folder(options.output.absolute(), data.name, method.label, str(seed))
    return Job(
        folder=folder,
        run_folder=folder,
        data=str(dataset.file),
        student=plan.student.file,
        teachers=[str(teacher) for teacher in teachers],
        method=method,
        train={**train, "seed": seed},
        planned=planned,
        unlabeled=str(data.part.unlabelled_list) if method.frames else None,
    )


def teacher_columns(teachers: Sequence[str | Path]) -> dict[str, str | None]:
    """Return `teacher` and `teacher_digest` of a run: file names, and digests of the contents, with commas."""
    names = ",".join(Path(teacher).name for teacher in teachers)
    digests = shortened_digests(sha256_of_file(Path(teacher)) for teacher in teachers)
    return {"teacher": names or None, "teacher_digest": digests or None}


def shortened_digests(digests: Iterable[str]) -> str:
    """Return digests as in the columns of a run: 16 characters of each, with commas."""
    return ",".join(digest[:16] for digest in digests)


def write_job(job: Job) -> None:
    """Write a job to its folder, for the worker process."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(job.folder / JOB) as path:
        path.write_text(to_json(asdict(job), default=_to_plain), encoding="utf-8")


def _to_plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, FGDConfig) else str(value)


def read_job(folder: Path) -> Job:
    """Read a job that `write_job` wrote.

    Raises:
        FGDError: the file is damaged.
    """
    try:
        values = json.loads((folder / JOB).read_text(encoding="utf-8"))
        config = values["method"].pop("config")
        method = Method(**values.pop("method"), config=config and FGDConfig.from_dict(config))
        return Job(
            **{key: values[key] for key in ("data", "student", "teachers", "train")},
            unlabeled=values.get("unlabeled"),
            folder=Path(values["folder"]),
            run_folder=Path(values["run_folder"]),
            method=method,
            planned=Run(**values["planned"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
        raise FGDError(f"{folder / JOB} is damaged: remove {folder} to make this run again") from error


def write_result(job: Job, run: Run) -> None:
    """Write a finished run to the job's folder, atomically."""
    with atomic_path(job.folder / RESULT) as path:
        path.write_text(to_json(asdict(run)), encoding="utf-8")


def read_result(job: Job) -> Run | None:
    """Return the finished run; None if it is not finished, or if its file is damaged and it must be measured again."""
    path = job.folder / RESULT
    if not path.is_file():
        return None
    try:
        run = Run(**json.loads(path.read_text(encoding="utf-8")))
        valid = all(isinstance(value, float) and isfinite(value) for value in (run.map50_95, run.map50))
    except (OSError, ValueError, TypeError):
        valid = False
    if not valid:
        print_status(f"!! {path} is damaged: the run is measured again")
    return run if valid else None
