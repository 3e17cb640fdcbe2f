"""After the first batch, the host never waits for the device in the distillation's part of a step."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from device_waits import DeviceWaits
from fgd_yolo.training.speed import later_value
from fgd_yolo.training.speed.host_labels import HOST_LABELS, HostLabels
from fgd_yolo.training.step import teacher_passes as passes_module
from training import batch
from unit.training.conftest import join

METHODS = ["fgd+heads", "mgd+cwd", "pkd+fitnet", "score_l2+ld", "bckd_cls+bckd_box", "dfine", "crosshead"]


@pytest.fixture
def of_a_gpu(monkeypatch):
    """What runs on the host, or reads what has reached it, is not recorded: labels are painted, old values read."""

    def on_the_host(function):
        def call(*args):
            with _disable_current_modes():
                return function(*args)

        return call

    monkeypatch.setattr(passes_module, "foreground_weights", on_the_host(passes_module.foreground_weights))
    monkeypatch.setattr(later_value.LaterValue, "read", on_the_host(later_value.LaterValue.read))


@pytest.mark.parametrize("method", METHODS)
def test_neither_terms_nor_a_measurement_of_the_ratios_wait(teacher_pt, student_yaml, of_a_gpu, method):
    joined = join(teacher_pt, student_yaml, **{"method": method, "schedule.measure_every": 1})
    labelled = batch()
    labelled[HOST_LABELS] = HostLabels({name: value.clone() for name, value in labelled.items()})
    joined.student(labelled)
    hook, distiller = joined.loss_hook, joined.distiller
    recorder = DeviceWaits()
    own_loss = hook.detection_loss

    def detection_loss(*args):
        with _disable_current_modes():  # Ultralytics' own loss does wait
            return own_loss(*args)

    hook.detection_loss = detection_loss
    measured = len(distiller.groups[0].ratio.epoch_ratios)
    with recorder:
        loss, _ = distiller.step(hook, labelled)
    assert recorder.waits == []
    assert len(distiller.groups[0].ratio.epoch_ratios) == measured + 1
    loss.sum().backward()


def test_reading_a_value_at_once_is_recorded():
    with DeviceWaits() as recorder:
        values = torch.ones(2)
        float(values.sum())
        values[values > 0]
        torch.repeat_interleave(torch.tensor([1, 2]))
    assert recorder.waits == ["_local_scalar_dense", "index", "repeat_interleave"]
