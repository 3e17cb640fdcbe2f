"""`FGDTrainer`: Ultralytics' trainer of any of the tasks, with a teacher.

What it overrides, in the order of a training: the arguments and the run folder, the data, the model (teacher and
distiller are built with it), the optimizer, the start of the training (preflight, loss hook), the epochs, and the
checkpoints. A training step itself is `Distiller.step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from math import lcm
from operator import methodcaller
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.utils import DEFAULT_CFG, LOGGER, colorstr
from ultralytics.utils.patches import override_configs
from ultralytics.utils.torch_utils import unwrap_model

from fgd_yolo.config import METHOD_OPTIONS, FGDConfig
from fgd_yolo.datasets import DATA_FOLDER, LABELLED_BY, TRAIN_LABELS, read_dataset
from fgd_yolo.datasets.unlabeled_images import without_labels
from fgd_yolo.distributed.alone import alone
from fgd_yolo.errors import UsageError
from fgd_yolo.files import sha256_of_file
from fgd_yolo.neck import SAME_SIZE
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import TASKS, YoloTask, task_of_trainer
from fgd_yolo.text import clean_record
from fgd_yolo.train_arguments import count_steps, refuse_unsupported
from fgd_yolo.training import checkpoints
from fgd_yolo.training.attention_plots import plot_if_due
from fgd_yolo.training.distributed_trainer import DistributedTrainer
from fgd_yolo.training.expected_gain import expected_gain, is_compared
from fgd_yolo.training.preflight import check_boxes, check_teachers, starts_from_weights, warn_of_seen_images
from fgd_yolo.training.run_lock import LockedTrainer
from fgd_yolo.training.speed.cpu_autocast import BF16, Bfloat16Forward, check_bfloat16, on_cpu
from fgd_yolo.training.speed.host_labels import HOST_LABELS, HostLabels
from fgd_yolo.training.speed.pointwise import prefer_onednn_in_alignments
from fgd_yolo.training.speed.spare_core import has_spare_core
from fgd_yolo.training.speed.weight_gradients import WeightGradients
from fgd_yolo.training.step.distiller import Distiller
from fgd_yolo.training.step.loss_hook import LossHook
from fgd_yolo.training.student_record import check_task, student_record
from fgd_yolo.training.teachers.image_sizes import TEACHER_IMAGES, ImageSizes
from fgd_yolo.training.teachers.inherit import inherit_neck_and_head
from fgd_yolo.training.teachers.load_teachers import load_teachers
from fgd_yolo.training.teachers.teacher import SideBySide
from fgd_yolo.training.teachers.teacher_precision import teacher_dtype
from fgd_yolo.training.unlabeled_frames.frame_labels import FrameLabels
from fgd_yolo.training.unlabeled_frames.mixed_dataset import MixedDataset, log_mixture
from fgd_yolo.training.val_loaders import teachers_loader, whole_loader
from fgd_yolo.ultralytics import (
    check_architecture,
    clean_names,
    find_device,
    largest_stride,
    load_model,
    read_architecture,
    round_imgsz,
)

_ON_EVENT = {  # what a trainer does on Ultralytics' events, besides its callbacks
    "on_train_epoch_start": methodcaller("_start_epoch"),
    "on_train_epoch_end": methodcaller("_end_epoch"),
    "on_model_save": lambda trainer: plot_if_due(trainer, trainer.config.pictures_every),
}
MAX_GRADIENT_NORM = 10.0  # Ultralytics' own bound for the student


class FGDTrainer(LockedTrainer, DistributedTrainer):
    """Trains a student as Ultralytics does, with distillation terms added to its loss.

    A mixin before Ultralytics' trainers: constructing it makes an instance of a class that also derives from the
    trainer of the student: that of its task, which Ultralytics names in `overrides` (without a name it is `detect`),
    or of RT-DETR if the model ends in its decoder.

    Ultralytics' arguments, callbacks and loggers work, but for `distill_model`, `quantize=8` and lists of data sets;
    every checkpoint is a plain YOLO. `with_teacher` sets the options as class attributes, so that they survive wherever
    Ultralytics builds a trainer. One process at a time trains in a run folder.

    Examples:
        >>> trainer = FGDTrainer.with_teacher("teacher.pt", FGDConfig())
        >>> YOLO("yolov8n.pt").train(trainer=trainer, data="data.yaml")  # doctest: +SKIP
    """

    teachers: tuple[Path, ...] = ()
    config: FGDConfig = FGDConfig()
    allow_download: bool = False
    unlabeled: Path | None = None

    teacher_digest: str | None = None
    distiller: Distiller | None = None
    loss_hook: LossHook | None = None
    image_sizes: ImageSizes | None = None
    bfloat16_forward: Bfloat16Forward | None = None
    weight_gradients: WeightGradients | None = None

    @classmethod
    def with_teacher(
        cls,
        teacher: str | Path | Sequence[str | Path] | None,
        config: FGDConfig | None = None,
        *,
        allow_download: bool = False,
        unlabeled: str | Path | None = None,
    ) -> type[FGDTrainer]:
        """Return a trainer class with a teacher and options.

        Args:
            teacher: checkpoint of a YOLO, or several. Their classes are matched to those of the data by name; what a
                teacher does not know it does not teach. May be None if every weight is 0.
            config: options of the distillation; None for the default.
            allow_download: if the data is missing, run the download script of its YAML or download it from a URL; both
                are printed first.
            unlabeled: list file of unlabelled frames, one absolute path per line, which the teachers label in the
                training. They are the only train images if the data YAML has `train_labels: false`.

        Raises:
            UsageError: a teacher is needed and none is given, or `features.teacher` is not one of them.
        """
        config = config or FGDConfig()
        given = [teacher] if isinstance(teacher, (str, Path)) else teacher or []
        teachers = tuple(Path(file) for file in given)
        if config.active and not teachers:
            raise UsageError("a teacher checkpoint is needed: FGDTrainer.with_teacher('teacher.pt')")
        check_feature_teacher(config, teachers)
        if unlabeled is not None and not config.active:
            raise UsageError("unlabelled frames are taught by a teacher, and nothing is distilled: leave them out")
        options = {"teachers": teachers, "config": config, "allow_download": allow_download}
        options["unlabeled"] = None if unlabeled is None else Path(unlabeled)
        return type(cls.__name__, (cls,), options)

    def __new__(cls, cfg=DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: dict | None = None):
        """Return an instance of the class for the student in `overrides`."""
        trainer = student_record(overrides or {}).trainer
        return super().__new__(cls if issubclass(cls, trainer) else type(cls.__name__, (cls, trainer), {}))

    @safe_loading()
    def __init__(self, cfg=DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: dict | None = None):
        LOGGER.addFilter(clean_record)  # adding it again has no effect
        if self.config.active:
            if not self.teachers:
                raise UsageError("FGDTrainer has no teacher: use FGDTrainer.with_teacher('teacher.pt')")
            for teacher in self.teachers:
                load_model(teacher)  # so that a wrong file stops the run before the run folder is created
        super().__init__(cfg, overrides, _callbacks)
        refuse_unsupported(vars(self.args))

    @property
    def task(self) -> YoloTask:
        """The record of the student."""
        return task_of_trainer(type(self))

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Read the arguments of a resumed run and lock its folder; replace a damaged checkpoint by the previous.

        Raises:
            FGDError: another process trains in the folder, or no pair of checkpoints is intact.
            UsageError: the device is not available, or `amp=bf16` is not for this CPU.
        """
        super().check_resume(overrides)
        check_bfloat16(self.args.amp, find_device(self.args.device).type, recorded=bool(self.resume))
        if self.world.first:
            if self.resume:
                checkpoints.restore(Path(self.args.save_dir) / "weights")
            self.announce_run()

    def run_callbacks(self, event: str) -> None:
        """Run the callbacks of an event, then what the distillation does then.

        Not callbacks themselves: Ultralytics hands these to trainers in other processes, which would have them twice.
        """
        super().run_callbacks(event)
        if self.distiller is not None and event in _ON_EVENT:
            _ON_EVENT[event](self)

    @safe_loading()
    def train(self):
        """Train as Ultralytics does."""
        try:
            return super().train()
        finally:
            if self.distiller is not None:
                self.distiller.close()
            if self.weight_gradients is not None:
                self.weight_gradients.detach()

    def get_dataset(self) -> dict[str, Any]:
        """Read the data as Ultralytics does, from a YAML without a download script, since it is read again later."""
        rules = {"allow_download": self.allow_download, "recorded": bool(self.args.resume)}
        dataset = read_dataset(self.args.data, split=self.args.split, **rules)
        self.args.data = str(dataset.copy_if_needed(self.save_dir / DATA_FOLDER).file)
        return super().get_dataset()

    @safe_loading()
    def get_model(self, cfg=None, weights=None, verbose=True):
        """Build the model as Ultralytics does, from a YAML that has been checked.

        Ultralytics matches the class rows of pretrained weights by name, so the names are cleaned on both sides.

        Raises:
            UsageError: the model is for another task than the trainer.
        """
        if isinstance(cfg, (str, Path)):
            cfg = read_architecture(cfg)
        elif cfg is not None:
            check_architecture(cfg, "the student's model")
        if cfg is not None:
            check_task(cfg, self.task)
        if weights is not None:
            clean_names(weights)
        return super().get_model(cfg=cfg, weights=weights, verbose=verbose)

    def setup_model(self) -> dict | None:
        """Load the student as Ultralytics does, then build the distiller without affecting a random stream."""
        checkpoint = super().setup_model()
        if self.config.active:
            with preserve_random_state(seed=self.args.seed):
                student = unwrap_model(self.model)
                self.distiller = self._build_distiller(student)
                if self.config.inherit and not self.resume:
                    self._inherit(student)
        else:
            LOGGER.info(f"{colorstr('FGD:')} plain training, nothing is distilled")
        return checkpoint

    def _build_distiller(self, student: nn.Module) -> Distiller:
        # Taken now, since the files may change during the training.
        self.teacher_digest = ",".join(sha256_of_file(file) for file in self.teachers)
        if self.config.teacher_imgsz:
            own = round_imgsz(self.args.imgsz, largest_stride(student))  # Ultralytics rounds it later
            self.image_sizes = ImageSizes(own, self.config.teacher_imgsz)
        subject = student, self.data, self.config, self.args, self.device, self.image_sizes
        frames = self.unlabeled is not None
        teachers, self.config = load_teachers(self.teachers, *subject, frames=frames)
        frame_labels = FrameLabels(teachers, student, self.config, self.args) if frames else None
        if not self._has_labels:
            self.config.check_fixed_weights()
        paint = None if self.task.foreground is None else partial(self.task.foreground, arguments=self.args)
        task = self.task
        rules = {"times_batch": task.loss_times_batch, "frame_labels": frame_labels}
        rules["has_detection_loss"] = self._has_labels or self.config.pseudo
        distiller = Distiller(teachers, self.config, task.sparse_terms, paint, **rules)
        distiller.trained.to(self.device)
        if self.device.type == "cpu":
            prefer_onednn_in_alignments(distiller.trained)
        for method in self.config.weighted_methods:
            if set(distiller.names) & set(METHOD_OPTIONS[method]().weights):
                LOGGER.info(f"{colorstr('FGD:')} method {method}: {METHOD_OPTIONS[method].description}")
        return distiller

    def _inherit(self, student: nn.Module) -> None:
        """Copy neck and head of the teacher of the features into the student, and log what was copied."""
        file = self.teachers[self.config.features.teacher - 1]
        inherited = inherit_neck_and_head(student, load_model(file)[0], self.data["names"], self.config.map)
        LOGGER.info(f"{colorstr('FGD:')} the student inherits {inherited} from {file.name}")
        if inherited.is_little:
            LOGGER.warning(
                f"{colorstr('FGD:')} inherit copies little here: most of the teacher's neck and head has other "
                "shapes; it is for models of one width, such as yolo11l and yolo11m"
            )

    def build_dataset(self, img_path, mode="train", batch=None):
        """Build the data set as Ultralytics does; train images have the size of the teachers' images."""
        sizes = self.image_sizes
        if mode != "train":
            return super().build_dataset(img_path, mode, batch)
        with override_configs(self.args, {} if sizes is None else {"imgsz": sizes.teacher}):
            dataset = self._train_dataset(img_path, batch)
        if sizes is not None and getattr(dataset, "rect", False):  # each batch has a shape of its own
            strides = (largest_stride(unwrap_model(self.model)), *(t.frozen.stride for t in self.distiller.teachers))
            side = sizes.batch_stride(strides[0], lcm(*strides))
            dataset.batch_shapes = -(-dataset.batch_shapes // side) * side
        return dataset

    def _train_dataset(self, img_path, batch):
        """Build the train images as Ultralytics does, joined with the unlabelled frames if there are any."""
        if self.unlabeled is None:
            return super().build_dataset(img_path, "train", batch)
        rect, ratio = bool(self.args.rect) and not self.task.stretched, self.config.unlabeled_ratio
        with override_configs(self.args, {"rect": False}):
            labelled = super().build_dataset(img_path, "train", batch) if self._has_labels else None
            with without_labels(), override_configs(self.args, {"fraction": 1.0}):
                frames = super().build_dataset(str(self.unlabeled), "train", batch)
        log_mixture(labelled, frames, ratio, rect)
        return MixedDataset(labelled, frames, ratio=ratio, rect=rect, hyp=self.args)

    def plot_training_labels(self) -> None:
        """Plot the labels as Ultralytics does, if there are any."""
        if self._has_labels:
            super().plot_training_labels()

    @property
    def _has_labels(self) -> bool:
        """Whether train images of the data have labels."""
        return self.data.get(TRAIN_LABELS, True)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch as Ultralytics does, and let the teachers begin with it.

        One of larger images is shrunk for the student first.
        """
        if self.distiller is None:
            return super().preprocess_batch(batch)
        images, sizes = batch["img"], self.image_sizes
        if sizes is not None:
            images = images.to(self.device, non_blocking=self.device.type == "cuda")
            batch = sizes.shrink({**batch, "img": images})
        labels = HostLabels(batch)
        batch = super().preprocess_batch(batch)
        batch[HOST_LABELS] = labels
        if sizes is not None:
            batch[TEACHER_IMAGES] = sizes.enlarged(images.float() / 255, batch["img"])
        if self.loss_hook is not None:
            self.distiller.start(batch)
        return batch

    def build_optimizer(self, model, *args, **kwargs):
        """Build Ultralytics' optimizer and add a separately clipped group for alignments and context blocks."""
        optimizer = super().build_optimizer(model, *args, **kwargs)
        if on_cpu(self.args.amp, self.device.type) and isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
            for group in optimizer.param_groups:  # a third of the time of a step
                group["fused"] = True
        own_weights = [] if self.distiller is None else list(self.distiller.trained.parameters())
        if own_weights:
            weights = [group for group in optimizer.param_groups if group.get("param_group") == "weight"][-1]
            settings = {key: value for key, value in weights.items() if key != "params"}
            optimizer.add_param_group({**settings, "weight_decay": 0.0, "param_group": "fgd", "params": own_weights})
            # A step hook runs after Ultralytics has unscaled the gradients; a second unscale would raise.
            optimizer.register_step_pre_hook(self._clip_own)
        return optimizer

    def beside(self) -> nn.Module:
        """Return the modules that are trained beside the student."""
        return super().beside() if self.distiller is None else self.distiller.trained

    def _clip_own(self, *_) -> None:
        torch.nn.utils.clip_grad_norm_(self.distiller.trained.parameters(), MAX_GRADIENT_NORM)

    def auto_batch(self):
        """Estimate the batch size as Ultralytics does, with the teacher's forward pass beside the student's."""
        if on_cpu(self.args.amp, self.device.type):
            return int(DEFAULT_CFG.batch)  # as Ultralytics on any CPU, where there is nothing to measure
        if self.distiller is None:
            return super().auto_batch()
        self._cast_teachers()
        student = self.model
        scale = SAME_SIZE if self.image_sizes is None else self.image_sizes.scale
        self.model = SideBySide(student, [teacher.frozen for teacher in self.distiller.teachers], scale)
        try:
            return super().auto_batch()
        finally:
            self.model = student

    def _cast_teachers(self) -> None:
        """Let the teachers run in the precision of the options, once it is known whether AMP is on."""
        half = torch.bfloat16 if self.args.amp == "bf16" else torch.float16
        precision = self.config.teacher_precision
        self.distiller.cast_teachers(teacher_dtype(precision, self.device, half if self.amp else None))

    def _clear_memory(self, threshold: float | None = None) -> None:
        """Free memory as Ultralytics does, after what the teachers have begun: its batch may have been too large."""
        if self.distiller is not None:
            self.distiller.drain()
        if self.weight_gradients is not None:
            self.weight_gradients.drain()
        super()._clear_memory(threshold)

    def _setup_train(self) -> None:
        """Set up as Ultralytics does, check the teacher, then attach the distillation to the live model.

        Ultralytics has copied the model for its EMA and restored a checkpoint by then, so neither sees the loss hook.
        """
        super()._setup_train()
        if self.resume and self.world.first:
            checkpoints.drop_later_rows(self.csv, self.start_epoch)
        student = unwrap_model(self.model)
        if self.distiller is not None:
            self._cast_teachers()
        if on_cpu(self.args.amp, self.device.type):
            # Ultralytics' loop would raise; `save_model` and `final_eval` write the value of the user.
            self.args.amp = self.amp = False
            self.bfloat16_forward = Bfloat16Forward(student)
            self.bfloat16_forward.attach()
        if self.distiller is not None and not self.resume:
            self._preflight(student)
            self._clear_memory()  # Ultralytics' validators hold their models in circles
        if self.device.type == "cpu" and not (self.args.compile or self.world.several) and has_spare_core():
            self.weight_gradients = WeightGradients(student)
            self.weight_gradients.attach()
        if self.distiller is None:
            return
        if self.args.compile:
            # The gradient ratio needs a backward pass before Ultralytics' own, which donated buffers forbid.
            torch._functorch.config.donated_buffer = False
        # Unlike get_scale, this does not wait for the device.
        amp_scale = partial(self.scaler.scale, torch.ones((), device=self.device))
        measuring = nullcontext if self.weight_gradients is None else self.weight_gradients.paused
        step = partial(self.distiller.step, amp_scale=amp_scale, measuring=measuring)
        self.loss_hook = LossHook(student, step, head=any(self.config.heads.weights.values()))
        self.loss_hook.attach()

    def _preflight(self, student: nn.Module) -> None:
        """Check data and teachers before the first epoch."""
        if self.unlabeled is None:
            check_boxes(self.config, self.train_loader.dataset.labels, self.data["yaml_file"])
        if not self.world.first:
            return
        if LABELLED_BY in self.data:
            LOGGER.info(f"{colorstr('FGD:')} the val labels are the teacher's, so it is not measured on them")
            return
        labels = [teacher.name for teacher in self.distiller.teachers]
        strides, sizes = [teacher.frozen.stride for teacher in self.distiller.teachers], self.image_sizes
        with whole_loader(self) as loader, teachers_loader(self, lcm(*strides), sizes) as teachers_images:
            subject = student, loader, self.args, self.data["names"], self.config
            teacher_map = check_teachers(self.teachers, labels, *subject, teachers_images)
            warn_of_seen_images(self.args, loader.dataset.im_files)
        if teacher_map is not None:
            self._log_expected_gain(student, teacher_map)

    @property
    def _distils_all(self) -> bool:
        """Whether the teacher teaches every term of the methods that the student's task has."""
        asked = {name for method in self.config.weighted_methods for name in METHOD_OPTIONS[method]().weights}
        others = {
            f"head_{term}" for task in TASKS.values() for term in task.head_terms if term not in self.task.head_terms
        }
        return asked - others <= {*self.distiller.names}

    def _log_expected_gain(self, student: nn.Module, teacher_map: float) -> None:
        """Log what was measured for such runs, if there are any: detectors, on labels and in a known time, with one
        teacher that teaches all that the method compares."""
        if not is_compared(self.config) or self.unlabeled is not None or self.args.task != "detect" or self.args.time:
            return
        if len(self.teachers) > 1 or self.distiller.teachers[0].known is not None or not self._distils_all:
            return
        name = Path(str(student.yaml.get("yaml_file", ""))).stem
        rules = {"method": self.config.method, "student": name, "pretrained": starts_from_weights(self.args)}
        _, steps = count_steps(vars(self.args), len(self.train_loader.dataset))
        LOGGER.info(f"{colorstr('FGD:')} {expected_gain(teacher_map, steps, self.args.imgsz, **rules)}")

    def _start_epoch(self) -> None:
        self.distiller.start_epoch(self.epochs, len(self.train_loader))

    def _end_epoch(self) -> None:
        self.distiller.end_epoch()

    def label_loss_items(self, loss_items=None, prefix="train"):
        """Name the loss items as Ultralytics does; the distillation's are left out in validation, which has none."""
        own = {f"{prefix}/{name}" for name in self.config.weights} if prefix == "val" else set()
        labelled = super().label_loss_items(loss_items, prefix)
        if isinstance(labelled, dict):
            return {name: value for name, value in labelled.items() if name not in own}
        return [name for name in labelled if name not in own]

    def progress_string(self) -> str:
        """Return Ultralytics' header of the progress bar, with names short enough for its columns of 11 characters."""
        names = self.loss_names
        self.loss_names = tuple(
            name if len(name) < 11 else name.removeprefix("head_").removesuffix("_loss")[:10] for name in names
        )
        try:
            return super().progress_string()
        finally:
            self.loss_names = names

    def save_metrics(self, metrics) -> None:
        """Write the epoch's row of results.csv, with the current gradient ratios and gains."""
        if self.distiller is not None:
            for group in self.distiller.groups:
                metrics = {**metrics, **group.ratio.columns()}
        super().save_metrics(metrics)

    def save_model(self) -> bool:
        """Write Ultralytics' checkpoints and the side file to a staging folder, then move them into place together."""
        with checkpoints.staging(self.wdir) as folder:
            with checkpoints.redirected(self, folder), override_configs(self.args, self._recorded_precision):
                saved = super().save_model()
            if saved and self.distiller is not None:
                side = {"epoch": self.epoch, **self._origin(), **self.distiller.state_dict()}
                checkpoints.write_side_file(folder, side)
            checkpoints.commit(folder, self.wdir)
        return saved

    @property
    def _recorded_precision(self) -> dict[str, Any]:
        return {} if self.bfloat16_forward is None else {"amp": BF16}

    def final_eval(self) -> None:
        """Strip and validate the final checkpoints as Ultralytics does, on copies that then replace them.

        Rank 0 validates alone: Ultralytics lets it wait for those that have no `best.pt` on their disk.
        """
        if not self.world.first:
            return
        vars(self.args).update(self._recorded_precision)
        with alone(), whole_loader(self) as loader, checkpoints.staging(self.wdir) as folder:
            self.validator.dataloader = loader
            checkpoints.copy_checkpoints(self.wdir, folder)
            with checkpoints.redirected(self, folder):
                super().final_eval()
            checkpoints.commit(folder, self.wdir, final=True)

    def _origin(self) -> dict[str, Any]:
        """Return the teacher's digest and the options, which must be the same when the run is resumed."""
        options = self.config.flat()
        for name in ("pictures_every", "inherit"):  # they do not change what is learnt from here on
            del options[name]
        return {"teacher": self.teacher_digest, "options": options}

    def _load_checkpoint_state(self, ckpt) -> None:
        """Restore the distiller, then Ultralytics' state with all hooks detached: the student is deep-copied."""
        if self.distiller is not None:
            side = checkpoints.load_side_file(self.wdir, ckpt["epoch"])
            checkpoints.check_origin(side, self._origin())
            self.distiller.load_state_dict(side)  # first, since its error for a side file that does not fit is clearer
        with ExitStack() as detached:
            for hook in filter(None, (self.loss_hook, self.bfloat16_forward, self.weight_gradients)):
                detached.enter_context(hook.detached())
            super()._load_checkpoint_state(ckpt)


def check_feature_teacher(config: FGDConfig, teachers: Sequence[str | Path]) -> None:
    """Check that `features.teacher` is the place of one of the teachers.

    Raises:
        UsageError: it is not.
    """
    place = config.features.teacher
    if config.active and place > len(teachers):
        names = ", ".join(map(str, teachers))
        raise UsageError(
            f"features.teacher={place} is not the place of a teacher: --teacher names {len(teachers)}, {names}"
        )
