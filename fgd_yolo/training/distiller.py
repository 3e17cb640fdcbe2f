"""`Distiller.step` computes one training step, from Ultralytics' loss to the appended distillation terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils import LOGGER, colorstr

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.methods import HEAD_TERMS, HeadLoss, LabelledObjects, build_level_loss
from fgd_yolo.methods.head_loss import COMPARED_OUTPUT, SPARSE_TERMS
from fgd_yolo.neck import Level
from fgd_yolo.training.assignments import record_assignments
from fgd_yolo.training.crossed_head import CrossedHead
from fgd_yolo.training.first_batch import check_first_batch
from fgd_yolo.training.gradient_ratio import GradientRatio, gradient_norm
from fgd_yolo.training.head_outputs import HeadOutputs, cell_scores, paired_branches
from fgd_yolo.training.image_sizes import TEACHER_IMAGES
from fgd_yolo.training.loss_hook import LossHook
from fgd_yolo.training.teacher import Teacher, compared_maps, shared_strides

MAX_DROPPED = 0.01  # of the batches so far
HEADS_PREFIX = "heads."  # of the names of weights that belong to the heads' terms, in the side file
MIN_DROPPED = 10  # batches; fewer never stop a run


@dataclass(frozen=True)
class TermGroup:
    """Terms whose sum is scaled to one gradient ratio.

    Args:
        weights: weight of each term by the name of its loss item, in the order in which the loss module returns them.
        ratio: gradient ratio and gain of the group.
        losses: the group's trainable loss modules, one per level; empty if it has none.
        levels: neck maps on which its terms are compared, finest first.
    """

    weights: dict[str, float]
    ratio: GradientRatio
    losses: nn.ModuleList
    levels: list[Level]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the loss items; a term of weight 0 has none."""
        return tuple(name for name, weight in self.weights.items() if weight)

    @property
    def running(self) -> bool:
        """Whether the group still has terms to compute in this run."""
        return bool(self.names) and not self.ratio.ended


class Distiller:
    """Computes the distillation terms of each batch and holds all state that a distillation has besides the student.

    Deliberately not a part of the student: modules registered on the student end up in its checkpoints.

    Args:
        teachers: at least one; heads imitate all, and `features.teacher` chooses whose neck maps are imitated.
        config: method, weights, gradient ratios and schedule.
        sparse_terms: terms of the heads that may have no gradient on a level, since they compare few anchors.
        foreground: paints the objects of a batch on the grid (H, W) of a level, (B, H, W); None for their boxes.
        times_batch: whether the terms are multiplied by the number of images, as Ultralytics does with a YOLO's loss.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        config: FGDConfig,
        sparse_terms: Sequence[str] = (),
        foreground: Callable[[dict[str, Tensor], tuple[int, int]], Tensor] | None = None,
        times_batch: bool = True,
    ):
        self.teachers = list(teachers)
        self.feature_teacher = self.teachers[config.features.teacher - 1]
        self.head_teachers = self._heads_to_imitate(config)
        strides = shared_strides(self.head_teachers)
        self.head_levels = [teacher.levels_at(strides) for teacher in self.head_teachers]
        sparse = {*sparse_terms, *SPARSE_TERMS}
        self.sparse_items = {f"head_{term}" for term in HEAD_TERMS if {term, COMPARED_OUTPUT.get(term)} & sparse}
        self.foreground = foreground
        self.times_batch = times_batch
        self.config = config
        features, heads, schedule = config.features, config.heads, config.schedule
        measurement = {"every": schedule.measure_every, "maximum": config.checks.max_ratio}
        decay = {"decay_start": schedule.decay_start, "decay_end": schedule.decay_end}
        feature_ratio = GradientRatio(features.group, features.ratio, **measurement, **decay)
        head_ratio = GradientRatio(heads.group, heads.ratio, **measurement)
        taught = {f"head_{term}" for teacher in self.head_teachers for term in self._terms_of(teacher)}
        head_weights = {name: weight for name, weight in heads.weights.items() if name in taught}
        self.losses = nn.ModuleList()
        terms = {name.removeprefix("head_"): weight for name, weight in head_weights.items()}
        crosshead_weight = terms.pop("crosshead", 0)
        crossing = self.feature_teacher, self.feature_teacher.levels_at(strides)
        self.crossed_head = CrossedHead(*crossing, crosshead_weight) if crosshead_weight else None
        self.head_loss = HeadLoss(terms, {name: value for name, value in heads.temperatures.items() if name in terms})
        self.features = TermGroup(features.weights, feature_ratio, self.losses, self.levels)
        crossed = nn.ModuleList() if self.crossed_head is None else self.crossed_head.losses
        self.heads = TermGroup(head_weights, head_ratio, crossed, next(iter(self.head_levels), []))
        if self.features.names:  # heads alone need no alignments
            self.losses.extend(
                build_level_loss(level.student_channels, level.teacher_channels, config.feature_methods, features)
                for level in self.levels
            )
        if not self.names:
            raise UsageError(f"nothing can be distilled: {self._why_nothing(taught)}")
        self.shares = [0.0] * len(self.head_teachers)
        self.dropped = 0
        self.first_batch_checked = False

    def _why_nothing(self, taught: Set[str]) -> str:
        """Return why no term is left, and what to do, if these are the loss items that can be taught."""
        weights = self.config.heads.weights
        if any(weights.values()) and not taught & weights.keys():
            return (
                f"no teacher can teach {'+'.join(self.config.weighted_methods)} to this student: add a method that "
                f"compares features (method=fgd+{self.config.method}), or give another teacher"
            )
        possible = [name.replace("head_", "heads.") + "_weight" for name in weights if name in taught]
        return (
            f"all that can be taught to this student has the weight 0 ({', '.join([*possible, 'features'])}): give one "
            "of them a weight, add a method, or give a teacher that teaches more"
        )

    def _heads_to_imitate(self, config: FGDConfig) -> list[Teacher]:
        """Return the teachers whose heads teach a term of the methods."""
        asked = {name.removeprefix("head_") for name in config.heads.weights}
        if not any(config.heads.weights.values()):
            return []
        return [teacher for teacher in self.teachers if teacher.known != [] and asked & {*self._terms_of(teacher)}]

    def _terms_of(self, teacher: Teacher) -> list[str]:
        """Return the terms that a teacher's head teaches; maps cross over into the head of the features' teacher."""
        return [term for term in teacher.terms if term != "crosshead" or teacher is self.feature_teacher]

    @property
    def _needs_assignments(self) -> bool:
        return self.heads.running and bool(self.head_loss.weights) and self.config.heads.needs_boxes

    @property
    def trained(self) -> nn.ModuleList:
        """All modules that the distillation trains beside the student."""
        return nn.ModuleList([self.losses, self.heads.losses])

    @property
    def levels(self) -> list[Level]:
        """Pairs of neck maps that the features compare."""
        return self.feature_teacher.levels

    @property
    def groups(self) -> list[TermGroup]:
        """The groups that have a term."""
        return [group for group in (self.features, self.heads) if group.names]

    @property
    def names(self) -> list[str]:
        """Names of the loss items, in the order of the loss vector."""
        return [name for group in self.groups for name in group.names]

    def step(
        self, hook: LossHook, batch: dict[str, Tensor], preds=None, amp_scale: Callable[[], float] = lambda: 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one training step and its items: Ultralytics' own, then the distillation's.

        Convention:
            Loss items are per image and summed over levels; the loss vector is multiplied by the batch size if
            Ultralytics' own is. The terms of a group that has ended are 0 and not computed.

        Args:
            hook: loss hook on the live student.
            batch: Ultralytics' batch: `img` (B, C, H, W) in [0, 1], `bboxes` (M, 4) centre-size fractions of the padded
                input, (M, 5) with an angle for rotated boxes, `batch_idx` (M,), and the labels of its task.
            preds: outputs of a forward pass already made on this batch (as with `compile`), or None.
            amp_scale: returns the current factor of the gradient scaler.

        Raises:
            FGDError: a term cannot train the student, as the first batch shows, or terms of too many batches were not
                finite.
        """
        # 1. Detection loss, with the student's forward pass.
        with record_assignments(hook.student) if self._needs_assignments else nullcontext({}) as assignments:
            loss, items = hook.detection_loss(batch, preds)
        if not hook.student.training:
            hook.clear()
            return loss, items
        student_maps, student_outputs = hook.pop()

        # 2. Terms per level of the neck and per branch of the heads, unscaled.
        level_terms, branch_terms = [], []
        if any(group.running for group in self.groups):
            images = batch.get(TEACHER_IMAGES, batch["img"])
            teacher_maps = {teacher: teacher.frozen(images) for teacher in self._running_teachers()}
            outputs = self._teacher_outputs(teacher_maps)
            if self.features.running:
                scored = outputs[self.feature_teacher] if self.losses[0].needs_scores else None
                objects = self._objects(batch, student_maps, self.levels, scored)
                level_terms = self._compare_levels(student_maps, teacher_maps[self.feature_teacher], objects)
            if self.heads.running:
                branch_terms = self._compare_heads(hook.student.model[-1], student_outputs, outputs, assignments)
                branch_terms += self._compare_crossed(student_maps, teacher_maps)

        # 3. Sum by name; levels and branches that are not finite are dropped.
        terms = dict.fromkeys(self.names, torch.zeros((), device=student_maps[0].device))
        terms |= self._sum_by_name(level_terms, branch_terms)

        # 4. Gradients at the neck: the check on the first batch, and the gradient ratios.
        factor = len(batch["img"]) if self.times_batch else 1
        if self._is_representative(batch):
            self._check_first_batch(terms, student_maps, batch, amp_scale)
            self._measure_ratios(loss, terms, student_maps, factor, amp_scale)

        # 5. Scale by the gain of each group, and append.
        scaled = torch.stack([terms[name] * group.ratio.gain for group in self.groups for name in group.names])
        for group in self.groups:
            group.ratio.batches += 1
        items = {**items, **dict(zip(terms, scaled.detach(), strict=True))}
        return torch.cat([loss.reshape(-1), scaled * factor]), items

    def _is_representative(self, batch: dict[str, Tensor]) -> bool:
        """Return whether a batch has boxes, and if a term covers labelled boxes alone, some that a teacher knows."""
        known = [teacher.known for teacher in self.head_teachers]
        if {f"head_{term}" for term in SPARSE_TERMS}.isdisjoint(self.heads.names) or None in known:
            return len(batch["bboxes"]) > 0
        return bool({*batch["cls"].flatten().long().tolist()} & {number for own in known for number in own})

    def _compare_levels(self, student_maps, teacher_maps, objects) -> list[tuple[Tensor, ...]]:
        return [
            loss(*compared_maps(level, student_maps, teacher_maps), *own)
            for level, loss, own in zip(self.levels, self.losses, objects, strict=True)
        ]

    def _objects(
        self, batch, student_maps, levels: Sequence[Level], outputs: HeadOutputs | None = None
    ) -> list[LabelledObjects]:
        """Return the labelled objects on each of some levels, with the scores of a teacher if its outputs are given."""
        boxes = batch["bboxes"][:, :4].to(batch["img"].device)  # a rotated box has its angle as fifth value
        image_index = batch["batch_idx"].to(batch["img"].device).long()
        grids = [student_maps[level.student_index].shape[2:] for level in levels]
        painted = [None if self.foreground is None else self.foreground(batch, tuple(grid)) for grid in grids]
        scores = [None] * len(levels) if outputs is None else cell_scores(outputs, grids)
        return [LabelledObjects(boxes, image_index, *own) for own in zip(painted, scores, strict=True)]

    def _running_teachers(self) -> list[Teacher]:
        """Return the teachers that the groups which still run need, each once."""
        chosen = [self.feature_teacher] if self.features.running else []
        return list(dict.fromkeys(chosen + (self.head_teachers if self.heads.running else [])))

    def _teacher_outputs(self, teacher_maps: dict[Teacher, list[Tensor]]) -> dict[Teacher, HeadOutputs]:
        """Return the outputs of the heads of those teachers whose outputs are compared, or weight the features."""
        asked = self.head_teachers if self.heads.running and self.head_loss.weights else []
        if self.features.running and self.losses[0].needs_scores:
            asked = [self.feature_teacher, *asked]
        return {teacher: teacher.outputs(teacher_maps[teacher]) for teacher in dict.fromkeys(asked)}

    def _compare_heads(
        self, head, student_outputs, outputs: dict[Teacher, HeadOutputs], assignments
    ) -> list[tuple[Tensor, ...]]:
        """Compare the heads on the levels that all teachers of the heads share with the student."""
        if not self.head_loss.weights:
            return []
        indices = [level.student_index for level in self.heads.levels]
        student = HeadOutputs(head, student_outputs, indices, assignments=assignments)
        teachers = [
            outputs[teacher]._replace(indices=[level.teacher_index for level in own])
            for teacher, own in zip(self.head_teachers, self.head_levels, strict=True)
        ]
        branch_terms = []
        for branch in paired_branches(student, teachers):
            terms, shares = self.head_loss(branch.student, list(branch.teachers.values()))
            for number, share in zip(branch.teachers, shares, strict=True):
                self.shares[number] += share
            branch_terms.append(self._in_order(terms))
        return branch_terms

    def _compare_crossed(self, student_maps, teacher_maps) -> list[tuple[Tensor, ...]]:
        """Compare what the teacher's head makes of the student's maps, branch by branch of that head."""
        if self.crossed_head is None:
            return []
        terms = self.crossed_head.compare(student_maps, teacher_maps[self.feature_teacher])
        return [self._in_order({"crosshead": term}) for term in terms]

    def _in_order(self, terms: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return terms of the heads in the order of the loss items, 0 for those that are missing."""
        missing = next(iter(terms.values())).new_zeros(())
        return tuple(terms.get(name.removeprefix("head_"), missing) for name in self.heads.weights)

    def _sum_by_name(self, level_terms: list[tuple[Tensor, ...]], branch_terms: list[tuple[Tensor, ...]]):
        """Return the sums of all enabled terms that were computed, by name.

        A level or branch with any term that is not finite is dropped entirely, since a backward pass through it could
        also make the gradients of its finite terms NaN.

        Raises:
            FGDError: more than 1 % of the batches so far, and at least 10, had a dropped level or branch.
        """
        sums, all_finite = {}, True
        for group, terms in ((self.features, level_terms), (self.heads, branch_terms)):
            if terms:
                total, finite = sum_finite(terms)
                sums |= {name: term for name, term in zip(group.weights, total, strict=True) if name in group.names}
                all_finite = all_finite and finite
        if not all_finite:
            self._count_dropped()
        return sums

    def _count_dropped(self) -> None:
        self.dropped += 1
        batches = self.groups[0].ratio.batches + 1
        if self.dropped >= MIN_DROPPED and self.dropped > MAX_DROPPED * batches:
            raise FGDError(
                f"distillation terms were not finite in {self.dropped} of {batches} batches: the neck maps of teacher "
                "or student hold NaN or infinity. Check the teacher on this data, lower lr0, or train with amp=False"
            )

    def _check_first_batch(self, terms, student_maps, batch, amp_scale) -> None:
        if self.first_batch_checked:
            return
        checked = []
        for group in self.groups:
            if group.running:  # False in a run that is resumed after the group has ended
                own = {name: terms[name] for name in group.names}
                objects = self._objects(batch, student_maps, group.levels)
                check_first_batch(
                    own, group.levels, group.losses, student_maps, objects, amp_scale(), sparse=self.sparse_items
                )
                checked += own
        if checked:
            items = ", ".join(checked)
            LOGGER.info(f"{colorstr('FGD:')} first batch: {items} are finite, and their gradients reach the student")
        self.first_batch_checked = True  # not earlier: after an out-of-memory error Ultralytics retries

    def _measure_ratios(self, loss, terms, student_maps, factor: int, amp_scale) -> None:
        maps = [neck_map for neck_map in student_maps if neck_map.requires_grad]
        detection_norm = None
        for group in self.groups:
            total = sum(terms[name] for name in group.names) * factor
            if group.ratio.due and total.requires_grad:  # False if all levels or branches were dropped
                if detection_norm is None:  # once for all groups: it is a backward pass
                    detection_norm = gradient_norm(loss.sum(), maps, amp_scale())
                group.ratio.update(gradient_norm(total, maps, amp_scale()), detection_norm)

    def start_epoch(self, epochs: int, batches: int) -> None:
        """Set the length of the run in the schedules.

        Args:
            epochs: number of epochs of the run.
            batches: number of batches of an epoch.
        """
        for group in self.groups:
            group.ratio.warmup_batches = self.config.schedule.warmup_epochs * batches
            group.ratio.run_batches = epochs * batches

    def end_epoch(self) -> None:
        """Log gradient ratios, gains and dropped batches.

        Raises:
            FGDError: a gradient ratio stayed above its maximum for the whole epoch.
        """
        dropped = f", {self.dropped} batches with dropped terms" if self.dropped else ""
        ratios = ", ".join(group.ratio.summary() for group in self.groups)
        LOGGER.info(f"{colorstr('FGD:')} gradient ratios at the neck: {ratios}{dropped}")
        if len(self.head_teachers) > 1:
            self._log_shares()
        for group in self.groups:
            group.ratio.end_epoch()

    def _log_shares(self) -> None:
        """Log each teacher's share in the terms of the heads, its part of the confidences of the epoch."""
        total = float(sum(self.shares)) or 1.0
        parts = zip(self.head_teachers, self.shares, strict=True)
        shares = ", ".join(f"{teacher.name} {float(share) / total:.0%}" for teacher, share in parts)
        LOGGER.info(f"{colorstr('FGD:')} shares of the teachers in the heads: {shares}")
        self.shares = [0.0] * len(self.head_teachers)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs: tensors and plain numbers, without the teacher."""
        return {
            "losses": {**self.losses.state_dict(), **self.heads.losses.state_dict(prefix=HEADS_PREFIX)},
            "features": self.features.ratio.state_dict(),
            "heads": self.heads.ratio.state_dict(),
            "dropped": self.dropped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned.

        Raises:
            FGDError: the state belongs to other levels, channels or another method.
        """
        try:
            heads = {name: value for name, value in state["losses"].items() if name.startswith(HEADS_PREFIX)}
            self.losses.load_state_dict({name: state["losses"][name] for name in state["losses"].keys() - heads})
            self.heads.losses.load_state_dict({name.removeprefix(HEADS_PREFIX): heads[name] for name in heads})
            self.features.ratio.load_state_dict(state["features"])
            self.heads.ratio.load_state_dict(state["heads"])
            self.dropped = state["dropped"]
        except (RuntimeError, KeyError, TypeError) as error:
            raise FGDError(
                "the distillation's side file does not fit this teacher, student or method: resume with the same ones"
            ) from error


def sum_finite(terms: list[tuple[Tensor, ...]]) -> tuple[Tensor, bool]:
    """Sum tuples of terms elementwise, leaving out every tuple in which a term is not finite.

    Returns:
        The sums, and whether every term was finite.
    """
    stacked = [torch.stack(entry) for entry in terms]
    finite = torch.stack(stacked).isfinite().all(dim=1).tolist()
    usable = [entry for entry, is_finite in zip(stacked, finite, strict=True) if is_finite]
    total = torch.stack(usable).sum(dim=0) if usable else torch.zeros_like(stacked[0].detach())
    return total, all(finite)
