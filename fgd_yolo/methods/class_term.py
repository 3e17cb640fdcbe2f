"""The class term of the heads, with one teacher or several that know different classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fgd_yolo.methods.placement import column_index, columns_of
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, cross_entropy_excess


def class_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums:
    """Compare the scores of all classes that a teacher knows.

    Convention:
        Binary cross-entropy of every class less the target's own entropy, so 0 where both agree, weighted by the
        difference of the two probabilities. The target of a class is the mean probability of the teachers that know it;
        classes that none knows are left out. The confidence is the target's largest probability in each anchor.

    Source:
        BCKD, arXiv:2308.14286, with the weight held constant and another divisor.
    """
    columns, logits, probability, confidence = joined_target(targets)
    scores = columns_of(student.scores, columns)
    gap = (scores.detach().sigmoid() - probability).abs()
    cost = (cross_entropy_excess(scores, logits, probability) * gap).sum()
    return Sums(cost, confidence.sum())


def joined_target(targets: Sequence[HeadTarget]) -> tuple[list[int] | None, Tensor, Tensor, Tensor]:
    """Return the classes that any teacher knows (None for all), and the target's logits, probability and confidence."""
    if len(targets) == 1:
        return targets[0][1:]
    scores = targets[0].outputs.scores
    every = range(scores.shape[1])
    # The log-odds of a mean of probabilities: log of the sum of p, less log of the sum of 1 - p.
    on, off = torch.full_like(scores, -torch.inf), torch.full_like(scores, -torch.inf)
    for target in targets:
        known = None if target.columns is None else tuple(target.columns)
        columns = slice(None) if known is None else column_index(known, scores.device)
        on[:, columns] = torch.logaddexp(on[:, columns], F.logsigmoid(target.logits))
        off[:, columns] = torch.logaddexp(off[:, columns], F.logsigmoid(-target.logits))
    known = sorted({column for target in targets for column in (every if target.columns is None else target.columns)})
    logits = columns_of(on, known) - columns_of(off, known)
    probability = logits.sigmoid()
    return known, logits, probability, probability.amax(dim=1)
