"""What several processes need of the arguments of a training; one line says what is wrong."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fgd_yolo.distributed.world import World
from fgd_yolo.errors import UsageError
from fgd_yolo.training.distributed_trainer import DistributedTrainer, _parallel_on_cpu, own_devices

GPUS = World(size=4, rank=2, local_rank=0, local_size=2)


@pytest.fixture
def gpus(monkeypatch):
    """A machine whose Ultralytics finds CUDA."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def check(processes: int = 2, **arguments) -> SimpleNamespace:
    trainer = DistributedTrainer.__new__(DistributedTrainer)
    trainer.args = SimpleNamespace(**{"device": "cpu", "batch": 4, "rect": False, **arguments})
    trainer._check_arguments(processes)
    return trainer.args


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 1}, "batch=1 is the number of images of all processes together, and there are 2"),
        ({"batch": -1}, r"batch=-1 \(AutoBatch\) is for one process"),
        ({"batch": 0.7}, r"batch=0.7 \(AutoBatch\) is for one process"),
        ({"device": "0,1"}, "device=0,1 is not available"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(arguments, message):
    with pytest.raises(UsageError, match=message) as error:
        check(**arguments)
    assert "\n" not in str(error.value)


def test_one_process_may_estimate_its_batch():
    assert check(processes=1, batch=-1).batch == -1


def test_batches_of_one_shape_each_are_not_used(caplog):
    assert check(rect=True).rect is False


@pytest.mark.parametrize(
    ("device", "expected"), [(None, "0,1"), ("", "0,1"), ("2,3", "2,3"), ([1, 0], "1,0"), ("cpu", "cpu")]
)
def test_each_process_of_a_machine_has_a_device(gpus, device, expected):
    assert own_devices(device, GPUS) == expected


def test_without_a_gpu_the_processes_train_on_the_cpu():
    assert own_devices(None, GPUS) == "cpu"


def test_the_devices_of_another_start_are_forgotten(gpus):
    assert own_devices("0,1,2,3", GPUS, recorded=True) == "0,1"
    assert own_devices("cpu", GPUS, recorded=True) == "cpu"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("0", "device=0 names 1 of this machine's GPUs, and 2 processes were started on it"),
        ("mps", "device=mps: several processes train on CUDA GPUs"),
    ],
)
def test_devices_that_do_not_fit_the_processes_are_refused(gpus, device, message):
    with pytest.raises(UsageError, match=message):
        own_devices(device, GPUS)


def test_ultralytics_wraps_a_model_on_a_cpu_without_device_ids():
    plain = nn.parallel.DistributedDataParallel
    with _parallel_on_cpu("cpu"):
        wrapper = nn.parallel.DistributedDataParallel
        assert issubclass(wrapper, plain)
        with pytest.raises(ValueError, match="process group"):  # and not one about its device ids
            wrapper(nn.Linear(2, 2), device_ids=[None], find_unused_parameters=True)
    assert nn.parallel.DistributedDataParallel is plain
    with _parallel_on_cpu("cuda"):
        assert nn.parallel.DistributedDataParallel is plain
