"""`Distiller.step` computes one training step, from Ultralytics' loss to the appended distillation terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils import LOGGER, colorstr

from fgd_yolo.config import FGDConfig
from fgd_yolo.distributed.sums import has_ranks, sum_over_ranks
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.methods import HEAD_TERMS, HeadLoss, Predictions, build_level_loss
from fgd_yolo.methods.head_loss import COMPARED_OUTPUT, SPARSE_TERMS
from fgd_yolo.neck import Level
from fgd_yolo.training.heads.assignments import record_assignments
from fgd_yolo.training.heads.head_outputs import HeadOutputs, paired_branches
from fgd_yolo.training.speed.host_labels import labels_of
from fgd_yolo.training.step.crossed_head import CrossedHead
from fgd_yolo.training.step.dropped_batches import DroppedBatches
from fgd_yolo.training.step.finite_gate import FiniteGate
from fgd_yolo.training.step.first_batch import check_first_batch
from fgd_yolo.training.step.frame_loss import loss_with_frames
from fgd_yolo.training.step.gradient_ratio import GradientRatio, gradient_square
from fgd_yolo.training.step.loss_hook import LossHook
from fgd_yolo.training.step.teacher_passes import BoundForeground, Foregrounds, TeacherPass, TeacherPasses
from fgd_yolo.training.step.term_group import TermGroup
from fgd_yolo.training.teachers.teacher import Teacher, shared_strides
from fgd_yolo.training.unlabeled_frames.frame_labels import FrameLabels, frames_of

HEADS_PREFIX = "heads."  # of the names of weights that belong to the heads' terms, in the side file


class Distiller:
    """Computes the distillation terms of each batch and holds all state that a distillation has besides the student.

    Deliberately not a part of the student: modules registered on the student end up in its checkpoints.

    Args:
        teachers: at least one; heads imitate all, and `features.teacher` chooses whose neck maps are imitated.
        config: method, weights, gradient ratios and schedule.
        sparse_terms: terms of the heads that may have no gradient on a level, since they compare few anchors.
        foreground: paints the objects of a batch on the grid (H, W) of a level, (B, H, W); None for their boxes.
        times_batch: whether the terms are multiplied by the number of images, as Ultralytics does with a YOLO's loss.
        frame_labels: labels unlabelled frames; None if the batches have none.
        has_detection_loss: whether any batch has targets; if not, no gradient ratio can be measured.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        config: FGDConfig,
        sparse_terms: Sequence[str] = (),
        foreground: BoundForeground | None = None,
        times_batch: bool = True,
        frame_labels: FrameLabels | None = None,
        has_detection_loss: bool = True,
    ):
        self.teachers = list(teachers)
        self.feature_teacher = self.teachers[config.features.teacher - 1]
        self.head_teachers = self._heads_to_imitate(config)
        strides = shared_strides(self.head_teachers)
        self.head_levels = [teacher.levels_at(strides) for teacher in self.head_teachers]
        sparse = {*sparse_terms, *SPARSE_TERMS}
        self.sparse_items = {f"head_{term}" for term in HEAD_TERMS if {term, COMPARED_OUTPUT.get(term)} & sparse}
        self.times_batch = times_batch
        self.has_detection_loss = has_detection_loss
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
        self.gates = [FiniteGate(loss.parameters()) for loss in self.losses]
        self.shares = [0.0] * len(self.head_teachers)
        self.dropped = DroppedBatches()
        self.first_batch_checked = False
        self.frame_labels = frame_labels
        self.foregrounds = Foregrounds(foreground, features.needs_boxes)
        self.passes = TeacherPasses(
            self.features,
            self.heads,
            self.feature_teacher,
            self.head_teachers,
            self.losses,
            bool(self.head_loss.weights),
            self.crossed_head,
            self.foregrounds,
            frame_labels,
        )

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

    def _recording(self, hook: LossHook) -> AbstractContextManager[dict[str, dict[str, Tensor]]]:
        """Return a context that records what the student's own loss assigns, if a term needs it."""
        needed = self.heads.running and bool(self.head_loss.weights) and self.config.heads.needs_boxes
        return record_assignments(hook.student) if needed else nullcontext({})

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

    def cast_teachers(self, dtype: torch.dtype) -> None:
        """Let the teachers run in another precision; a head that gets the student's maps keeps its own."""
        for teacher in self.teachers:
            crossed = self.crossed_head is not None and teacher is self.feature_teacher
            teacher.frozen.cast(dtype, head=not crossed)

    def start(self, batch: dict[str, Any]) -> None:
        """Let the teachers begin with a batch, beside the student; `step` waits for them."""
        self.passes.start(batch)

    def drain(self) -> None:
        """Finish and forget what the teachers have begun, so that it holds no memory."""
        self.passes.drain()

    def close(self) -> None:
        """End the thread of the teachers, if there is one; a later `start` begins another."""
        self.passes.close()

    def step(
        self,
        hook: LossHook,
        batch: dict[str, Any],
        preds=None,
        amp_scale: Callable[[], float | Tensor] = lambda: 1.0,
        measuring: Callable[[], AbstractContextManager] = nullcontext,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one training step and its items: Ultralytics' own, then the distillation's.

        Convention:
            Loss items are per image and summed over levels; the loss vector is multiplied by the batch size if
            Ultralytics' own is. The terms of a group that has ended are 0 and not computed. The CPU does not wait for
            the device, except in the check of the first batch and for the objects on unlabelled frames.

        Args:
            hook: loss hook on the live student.
            batch: Ultralytics' batch: `img` (B, C, H, W) in [0, 1], `bboxes` (M, 4) centre-size fractions of the padded
                input, (M, 5) with an angle for rotated boxes, `batch_idx` (M,), and the labels of its task.
            preds: outputs of a forward pass already made on this batch (as with `compile`), or None.
            amp_scale: returns the current factor of the gradient scaler.
            measuring: context in which gradients at the neck are computed beside those of the training.

        Raises:
            FGDError: a term cannot train the student, as the first batch shows, or too many terms were not finite.
        """
        # 1. Detection loss, with the student's forward pass; on frames it needs what the teachers find there.
        passed = None
        with self._recording(hook) as assignments:
            if self.frame_labels is None or not frames_of(batch):  # as in every validation
                loss, items = hook.detection_loss(batch, preds)
            else:
                loss, items, passed = loss_with_frames(hook, batch, preds, self.frame_labels, self.passes)
        if not hook.student.training:
            hook.clear()
            return loss, items
        student_maps, student_outputs = hook.pop()

        # 2. Terms per level of the neck and per branch of the heads, unscaled; what is not finite is 0.
        terms = dict.fromkeys(self.names, torch.zeros((), device=student_maps[0].device))
        finite: list[Tensor] = []
        if any(group.running for group in self.groups):
            passed = passed or self.passes.wait(batch)
            if self.features.running:
                terms |= self._sum(self.features, self._compare_levels(student_maps, passed.targets), finite)
            if self.heads.running:
                compared = self._compare_heads(hook.student.model[-1], student_outputs, passed, assignments)
                terms |= self._sum(self.heads, compared + self._compare_crossed(student_maps, passed), finite)
        self.dropped.add(finite, self.groups[0].ratio.batches)

        # 3. Gradients at the neck: the check on the first batch, and the gradient ratios.
        factor = len(batch["img"]) if self.times_batch else 1
        with measuring():
            self._check_and_measure(loss, terms, student_maps, batch, passed, factor, amp_scale)

        # 4. Scale by the gain of each group, and append.
        scaled = self._scaled(terms)
        items = {**items, **dict(zip(terms, scaled.detach(), strict=True))}
        return torch.cat([loss.reshape(-1), scaled * factor]), items

    def _scaled(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the terms times the gain of their group, and count the batch."""
        scaled = torch.stack([group.ratio.scale(terms[name]) for group in self.groups for name in group.names])
        for group in self.groups:
            group.ratio.batches += 1
        return scaled

    def _labelled(self, batch: dict[str, Any], passed: TeacherPass | None) -> dict[str, Any]:
        """Return a batch in which what the teachers have found on frames is labelled."""
        found = None if passed is None else passed.found
        return batch if found is None else self.frame_labels.with_foreground(batch, found)

    def _has_taught_objects(self, labels: dict[str, Tensor]) -> bool:
        """Return whether there are boxes, and if a term covers labelled boxes alone, some that a teacher knows."""
        known = [teacher.known for teacher in self.head_teachers]
        if {f"head_{term}" for term in SPARSE_TERMS}.isdisjoint(self.heads.names) or None in known:
            return len(labels["bboxes"]) > 0
        return bool({*labels["cls"].flatten().long().tolist()} & {number for own in known for number in own})

    def _compare_levels(self, student_maps: list[Tensor], targets: list[Any]) -> list[tuple[Tensor, Tensor]]:
        """Return the terms of each level, and whether they are finite."""
        compared = []
        for level, loss, gate, target in zip(self.levels, self.losses, self.gates, targets, strict=True):
            student_map = gate.guard(student_maps[level.student_index])
            compared.append((gate.close(loss.terms(student_map, target)), gate.finite))
        return compared

    def _compare_heads(self, head, student_outputs, passed: TeacherPass, assignments) -> list[tuple[Tensor, Tensor]]:
        """Compare the heads on the levels that all teachers of the heads share with the student, branch by branch."""
        if not self.head_loss.weights:
            return []
        indices = [level.student_index for level in self.heads.levels]
        student = HeadOutputs(head, student_outputs, indices, assignments=assignments)
        teachers = [
            passed.outputs[teacher]._replace(indices=[level.teacher_index for level in own])
            for teacher, own in zip(self.head_teachers, self.head_levels, strict=True)
        ]
        compared = []
        for branch in paired_branches(student, teachers):
            gate = FiniteGate()
            guarded = Predictions(*map(gate.guard, branch.student))
            terms, shares = self.head_loss(guarded, list(branch.teachers.values()))
            for number, share in zip(branch.teachers, shares, strict=True):
                self.shares[number] += share
            compared.append((gate.close(self._in_order(terms)), gate.finite))
        return compared

    def _compare_crossed(self, student_maps, passed: TeacherPass) -> list[tuple[Tensor, Tensor]]:
        """Compare what the teacher's head makes of the student's maps, branch by branch of that head."""
        if self.crossed_head is None:
            return []
        terms, finite = self.crossed_head.compare(student_maps, passed.maps[self.feature_teacher], passed.crossed)
        return [(torch.stack(self._in_order({"crosshead": term})), finite) for term in terms]

    def _in_order(self, terms: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return terms of the heads in the order of the loss items, 0 for those that are missing."""
        missing = next(iter(terms.values())).new_zeros(())
        return tuple(terms.get(name.removeprefix("head_"), missing) for name in self.heads.weights)

    def _sum(self, group: TermGroup, compared: list[tuple[Tensor, Tensor]], finite: list[Tensor]) -> dict[str, Tensor]:
        """Return the sums of the terms of a group over levels or branches, by name; note which are finite."""
        if not compared:
            return {}
        terms, flags = zip(*compared, strict=True)
        finite += flags
        total = torch.stack(terms).sum(dim=0)
        return {name: term for name, term in zip(group.weights, total, strict=True) if name in group.names}

    def _check_and_measure(self, loss, terms, student_maps, batch, passed, factor: int, amp_scale) -> None:
        """Check the first batch that is representative, and measure the gradient ratios that are due."""
        for group in self.groups:
            group.ratio.read(group.ratio.batches)
        due = [group for group in self.groups if group.running and group.ratio.due] if self.has_detection_loss else []
        if self.first_batch_checked and not due:
            return
        batch = self._labelled(batch, passed)
        taught = self._has_taught_objects(labels_of(batch))
        if taught:
            self._check_first_batch(terms, student_maps, batch, amp_scale)
        if due and (taught or has_ranks()):
            self._measure_ratios(due, loss, terms, student_maps, factor, amp_scale(), taught)

    def _check_first_batch(self, terms, student_maps, batch, amp_scale) -> None:
        if self.first_batch_checked:
            return
        checked = []
        for group in self.groups:
            if group.running:  # False in a run that is resumed after the group has ended
                own = {name: terms[name] for name in group.names}
                objects = self.foregrounds.objects(batch, group.levels)
                scale = float(amp_scale())
                check_first_batch(
                    own, group.levels, group.losses, student_maps, objects, scale, sparse=self.sparse_items
                )
                checked += own
        if checked:
            items = ", ".join(checked)
            LOGGER.info(f"{colorstr('FGD:')} first batch: {items} are finite, and their gradients reach the student")
        self.first_batch_checked = True  # not earlier: after an out-of-memory error Ultralytics retries

    def _measure_ratios(
        self, due: list[TermGroup], loss, terms, student_maps, factor: int, amp_scale, taught: bool
    ) -> None:
        """Measure gradient ratios on the batches of all ranks together.

        Every rank takes part if any measures, with whatever its own batch has; a measurement without a representative
        batch on any rank does not count.
        """
        maps = [neck_map for neck_map in student_maps if neck_map.requires_grad]
        losses = [loss.sum(), *(sum(terms[name] for name in group.names) * factor for group in due)]
        squares = [gradient_square(own, maps, amp_scale) if own.requires_grad else own.new_zeros(()) for own in losses]
        squares = sum_over_ranks(torch.stack([*squares, torch.full_like(squares[0], taught)]))
        norms = torch.where(squares[-1] > 0, squares[:-1].sqrt(), torch.nan)
        for group, norm in zip(due, norms[1:], strict=True):
            group.ratio.update(norm, norms[0])

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
        count = self.dropped.end_epoch()
        dropped = f", {count} batches with dropped terms" if count else ""
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
            "dropped": self.dropped.on_all_ranks,
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
            self.dropped.restore(state["dropped"])
        except (RuntimeError, KeyError, TypeError) as error:
            raise FGDError(
                "the distillation's side file does not fit this teacher, student or method: resume with the same ones"
            ) from error
