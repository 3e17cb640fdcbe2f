"""The table of tasks: the accuracy over some classes, against a plain mean."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from ultralytics.utils.metrics import Metric

from fgd_yolo.task_table import TASKS, accuracy


def metric(seed):
    """Return Ultralytics' metric with AP of the classes 0, 2 and 5 at ten IoU thresholds."""
    result = Metric()
    result.all_ap = np.random.default_rng(seed).random((3, 10))
    result.ap_class_index = [0, 2, 5]
    return result


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("classes", [[0], [2, 5], [1, 2], [0, 1, 2, 3, 4, 5]])
def test_accuracy_over_some_classes_is_the_mean_over_those_with_labels(task, classes):
    metrics = SimpleNamespace(box=metric(0), seg=metric(1), pose=metric(2))
    measured = accuracy(metrics, TASKS[task], classes)
    for part, own in (("", getattr(metrics, TASKS[task].metric)), ("box_", metrics.box)):
        aps = [own.all_ap[row] for row, number in enumerate(own.ap_class_index) if number in classes]
        assert getattr(measured, f"{part}map50_95") == pytest.approx(sum(ap.mean() for ap in aps) / len(aps))
        assert getattr(measured, f"{part}map50") == pytest.approx(sum(ap[0] for ap in aps) / len(aps))
    assert accuracy(metrics, TASKS[task], [0, 2, 5]) == pytest.approx(accuracy(metrics, TASKS[task]))


def test_accuracy_over_classes_without_labels_is_0():
    metrics = SimpleNamespace(box=metric(0))
    assert accuracy(metrics, TASKS["detect"], [1]) == (0, 0, 0, 0)
