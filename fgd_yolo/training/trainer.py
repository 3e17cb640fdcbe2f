"""The host's detection trainer, with a teacher."""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG, LOGGER, colorstr
from ultralytics.utils.torch_utils import unwrap_model

from fgd_yolo.config import FGDConfig
from fgd_yolo.datasets import DATA_FOLDER, read_dataset
from fgd_yolo.errors import UsageError
from fgd_yolo.files import sha256_of_file
from fgd_yolo.neck import pair_levels, unpaired_levels
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.text import clean_record
from fgd_yolo.training import checkpoints as state
from fgd_yolo.training import teacher_checks as doubts
from fgd_yolo.training.distiller import Distiller
from fgd_yolo.training.head_outputs import kept_classes
from fgd_yolo.training.limits import refuse_unsupported
from fgd_yolo.training.loss_hook import LossHook
from fgd_yolo.training.preflight import check_channels, check_classes, check_first_batch, teacher_map
from fgd_yolo.training.run_lock import LockedTrainer
from fgd_yolo.training.snapshots import draw_if_due
from fgd_yolo.training.teacher import FrozenTeacher, SideBySide
from fgd_yolo.ultralytics import check_architecture, clean_names, load_detector, read_architecture, validate

MAX_GRADIENT_NORM = 10.0  # the host's own bound for the student


class FGDTrainer(LockedTrainer, DetectionTrainer):
    """Trains a student as the host does, with FGD's terms added to its loss.

    Every argument, callback and logger of the host works; every checkpoint is a plain YOLO. The class is given its
    options by `configured`, as class attributes, so that they survive wherever Ultralytics builds a trainer. One
    process at a time trains in a run folder.

    Example:
        >>> trainer = FGDTrainer.configured(teacher="teacher.pt", config=FGDConfig())
        >>> YOLO("yolov8n.pt").train(trainer=trainer, data="data.yaml")  # doctest: +SKIP
    """

    teacher: Path | None = None
    config: FGDConfig = FGDConfig()
    allow_download: bool = False

    teacher_digest: str | None = None
    distiller: Distiller | None = None
    loss_hook: LossHook | None = None

    @classmethod
    def configured(
        cls, teacher: str | Path | None, config: FGDConfig | None = None, *, allow_download: bool = False
    ) -> type[FGDTrainer]:
        """Return a trainer class with a teacher and options.

        Args:
            teacher: checkpoint of a detector that knows the classes of the data. May be None when every weight is 0.
            config: the distillation; None is the default.
            allow_download: run the download script of the data YAML, or fetch data from an address, where that is
                needed; either is printed first.

        Raises:
            UsageError: a teacher is needed and none is given.
        """
        config = config or FGDConfig()
        if config.active and teacher is None:
            raise UsageError("a teacher checkpoint is needed: FGDTrainer.configured(teacher='teacher.pt')")
        options = {"teacher": Path(teacher) if teacher else None, "config": config, "allow_download": allow_download}
        return type(cls.__name__, (cls,), options)

    @safe_loading()
    def __init__(self, cfg=DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: dict | None = None):
        LOGGER.addFilter(clean_record)  # once for the logger, however often it is added
        refuse_unsupported(overrides or {})
        if self.config.active:
            if self.teacher is None:
                raise UsageError("FGDTrainer has no teacher: use FGDTrainer.configured(teacher='teacher.pt')")
            load_detector(self.teacher)  # a wrong file stops the run before a folder is made
        super().__init__(cfg, overrides, _callbacks)
        refuse_unsupported(vars(self.args))
        if self.config.active:
            self.add_callback("on_train_epoch_start", methodcaller("_open_epoch"))
            self.add_callback("on_train_epoch_end", methodcaller("_close_epoch"))
            self.add_callback("on_model_save", partial(draw_if_due, every=self.config.plot_every))

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Read the arguments of a resumed run and lock its folder; a damaged newest checkpoint gives way to the last.

        Raises:
            FGDError: another process trains in it, or no pair of checkpoints is whole.
        """
        super().check_resume(overrides)
        if self.resume:
            state.restore(Path(self.args.save_dir) / "weights")

    @safe_loading()
    def train(self):
        """Train as Ultralytics does."""
        return super().train()

    def get_dataset(self) -> dict[str, Any]:
        """Read the data as Ultralytics does, from a YAML in which nothing is left to run: it is read again later."""
        rules = {"allow_download": self.allow_download, "recorded": bool(self.args.resume)}
        found = read_dataset(self.args.data, split=self.args.split, **rules)
        self.args.data = str(found.copy_if_needed(self.save_dir / DATA_FOLDER).file)
        return super().get_dataset()

    @safe_loading()
    def get_model(self, cfg=None, weights=None, verbose=True):
        """Build the model as Ultralytics does, from a YAML that has been checked.

        Ultralytics finds the rows of classes in pretrained weights by name: both sides are made printable.
        """
        if isinstance(cfg, (str, Path)):
            cfg = read_architecture(cfg)
        elif cfg is not None:
            check_architecture(cfg, "the student's model")
        if weights is not None:
            clean_names(weights)
        return super().get_model(cfg=cfg, weights=weights, verbose=verbose)

    def setup_model(self) -> dict | None:
        """Load the student as the host does, then build what distils it, without touching a random stream."""
        checkpoint = super().setup_model()
        if self.config.active:
            with preserve_random_state(seed=self.args.seed):
                self.distiller = self._build_distiller(unwrap_model(self.model))
        else:
            LOGGER.info(f"{colorstr('FGD:')} every weight is 0: this is plain training")
        return checkpoint

    def _build_distiller(self, student: nn.Module) -> Distiller:
        self.teacher_digest = sha256_of_file(self.teacher)  # of what is loaded: the file may change
        teacher, _ = load_detector(self.teacher)
        check_classes(teacher.names, self.data["names"])
        check_channels(teacher, self.data["channels"])
        classes = kept_classes(self.args.classes, self.args.single_cls, len(self.data["names"]))
        levels = pair_levels(student, teacher)
        for level in levels:
            LOGGER.info(
                f"{colorstr('FGD:')} stride {level.stride}: student {level.student_channels} channels, "
                f"teacher {level.teacher_channels}"
            )
        for line in unpaired_levels(student, teacher):
            LOGGER.info(f"{colorstr('FGD:')} {line}")
        memory_format = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        frozen = FrozenTeacher(teacher, self.device, memory_format, heads=self.config.heads)
        distiller = Distiller(frozen, levels, self.config, classes)
        distiller.losses.to(self.device)
        return distiller

    def build_optimizer(self, model, *args, **kwargs):
        """Build the host's optimizer and give alignments and context blocks a group and a clip of their own."""
        optimizer = super().build_optimizer(model, *args, **kwargs)
        own_weights = [] if self.distiller is None else list(self.distiller.losses.parameters())
        if own_weights:
            weights = [group for group in optimizer.param_groups if group.get("param_group") == "weight"][-1]
            settings = {key: value for key, value in weights.items() if key != "params"}
            own = {
                "weight_decay": 0.0,
                "param_group": "fgd",
                "params": own_weights,
            }
            optimizer.add_param_group({**settings, **own})
            # A hook, because the host has unscaled the gradients by then and refuses to do so twice.
            optimizer.register_step_pre_hook(self._clip_own)
        return optimizer

    def _clip_own(self, *_) -> None:
        torch.nn.utils.clip_grad_norm_(self.distiller.losses.parameters(), MAX_GRADIENT_NORM)

    def auto_batch(self):
        """Estimate the batch size as the host does, with the teacher's forward pass beside the student's."""
        if self.distiller is None:
            return super().auto_batch()
        student = self.model
        self.model = SideBySide(student, self.distiller.teacher.model)
        try:
            return super().auto_batch()
        finally:
            self.model = student

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.resume:
            state.drop_later_rows(self.csv, self.start_epoch)
        if self.distiller is None:
            return
        if not self.resume:
            self._check_teacher()
        if self.args.compile:
            # The share is measured by a backward pass of its own before the host's, which donated buffers forbid.
            torch._functorch.config.donated_buffer = False
        self.loss_hook = LossHook(
            unwrap_model(self.model), self.distiller, self._check_first_batch, self.scaler.get_scale
        )
        self.loss_hook.attach()

    def _check_teacher(self) -> None:
        teacher, checkpoint = load_detector(self.teacher)
        trained, student = checkpoint.get("train_args") or {}, unwrap_model(self.model)
        with preserve_random_state():
            found = doubts.about_models(teacher, student, self.args.imgsz)
        found += doubts.about_image_size(trained.get("imgsz"), self.args.imgsz)
        found += doubts.about_val_images(trained.get("data"), self.test_loader.dataset.im_files)
        map50_95, map50 = teacher_map(teacher, self.test_loader, self.args, self.config.min_teacher_map)
        reached = f"mAP50-95 {map50_95:.3f}, mAP50 {map50:.3f} on this val set"
        LOGGER.info(f"{colorstr('FGD:')} teacher {self.teacher.name}: {reached}")
        if doubts.starts_with_classes(self.args.model, self.args.pretrained, self.data["names"]):
            start = validate(deepcopy(student).eval(), vars(self.args), loader=self.test_loader)
            found += doubts.about_start(map50_95, float(start.metrics.box.map))
        for line in found:
            LOGGER.warning(f"{colorstr('FGD:')} {line}")

    def _check_first_batch(self, terms, student_maps, batch) -> None:
        check_first_batch(self.distiller, terms, student_maps, batch, self.scaler.get_scale())
        LOGGER.info(f"{colorstr('FGD:')} {', '.join(terms)} are finite and reach the neck and their own modules")

    def _open_epoch(self) -> None:
        for part in self.distiller.parts:
            part.share.warmup_batches = self.config.warmup_epochs * len(self.train_loader)
            part.share.run_batches = self.epochs * len(self.train_loader)

    def _close_epoch(self) -> None:
        dropped = self.distiller.dropped
        LOGGER.info(
            f"{colorstr('FGD:')} "
            + ", ".join(part.share.described(part.prefix) for part in self.distiller.parts)
            + (f", {dropped} batches with dropped terms" if dropped else "")
        )
        for part in self.distiller.parts:
            part.share.close_epoch(part.prefix)

    def label_loss_items(self, loss_items=None, prefix="train"):
        """Name the loss items as the host does; the distillation's have no value in validation and are left out."""
        own = {f"{prefix}/{name}" for name in self.config.weights} if prefix == "val" else set()
        labelled = super().label_loss_items(loss_items, prefix)
        if isinstance(labelled, dict):
            return {name: value for name, value in labelled.items() if name not in own}
        return [name for name in labelled if name not in own]

    def save_metrics(self, metrics) -> None:
        """Write the epoch's row of results.csv, with the share and the scale in force."""
        if self.distiller is not None:
            for part in self.distiller.parts:
                share, columns = part.share, f"fgd/{part.prefix}"
                metrics = {**metrics, f"{columns}gradient_ratio": share.now, f"{columns}gain": share.strength}
        super().save_metrics(metrics)

    def save_model(self) -> bool:
        """Write the host's checkpoints and the side file beside their place, then move them there together."""
        with state.staging(self.wdir) as folder:
            with state.pointed_at(self, folder):
                saved = super().save_model()
            if saved and self.distiller is not None:
                state.write_side_file(folder, {"epoch": self.epoch, **self._origin(), **self.distiller.state_dict()})
            state.commit(folder, self.wdir)
        return saved

    def final_eval(self) -> None:
        """Strip and validate the final checkpoints as the host does, on copies that replace them when all is done."""
        with state.staging(self.wdir) as folder:
            state.copy_checkpoints(self.wdir, folder)
            with state.pointed_at(self, folder):
                super().final_eval()
            state.commit(folder, self.wdir, final=True)

    def _origin(self) -> dict[str, Any]:
        """What a resumed run must have in common with its beginning."""
        options = asdict(self.config)
        del options["plot_every"]  # it changes nothing that is learnt
        return {"teacher": self.teacher_digest, "options": options}

    def _load_checkpoint_state(self, ckpt) -> None:
        """Restore the host's state with the student bare, since the host deep-copies it, then the distillation's."""
        if self.distiller is None:
            return super()._load_checkpoint_state(ckpt)
        side = state.load_side_file(self.wdir, ckpt["epoch"])
        state.check_origin(side, self._origin())
        self.distiller.load_state_dict(side)  # first, since a side file that does not fit has the clearer error
        with self.loss_hook.detached() if self.loss_hook else nullcontext():
            super()._load_checkpoint_state(ckpt)
        return None
