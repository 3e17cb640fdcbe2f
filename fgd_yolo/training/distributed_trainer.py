"""What Ultralytics' trainer lacks to train over several processes: on CPUs, on several machines, without a shared disk.

Ultralytics trains on the GPUs of one machine, which share its disk. Here rank 0 chooses the run folder, prepares,
writes, draws and measures; every other process has a folder of the same name on its own machine, into which it gets
what it needs. Gradients are averaged and everything that decides about the training is that of rank 0, so that all
parameters stay equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from ultralytics.cfg import get_save_dir
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER
from ultralytics.utils.torch_utils import get_torch_device_backend, parse_device, unset_deterministic

from fgd_yolo.distributed import heartbeat
from fgd_yolo.distributed.exchange import broadcast, send_file
from fgd_yolo.distributed.gradients import average_gradients, broadcast_tensors
from fgd_yolo.distributed.launch import launch
from fgd_yolo.distributed.process_group import join, leave
from fgd_yolo.distributed.world import World, current_world
from fgd_yolo.errors import UsageError
from fgd_yolo.training import checkpoints
from fgd_yolo.ultralytics import find_device


class DistributedTrainer:
    """Mixin before an Ultralytics trainer that trains over the processes of `torchrun`, or starts one for each device.

    Source:
        The places of Ultralytics 8.4.190 that each method replaces are named in it.
    """

    world = World()
    joined = False  # whether this trainer has joined the processes, so that it leaves them

    def __init__(self, *args: Any, **kwargs: Any):
        self.world = current_world()
        with heartbeat.reported():
            super().__init__(*args, **kwargs)
        if self.world.several:
            # Ultralytics counts the devices of this machine, and none on a CPU (trainer.py, __init__).
            self.world_size, self.ddp = self.world.size, False

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Join the other processes, then read the arguments of a resumed run as Ultralytics does.

        Raises:
            FGDError: the others cannot be reached.
            UsageError: the devices or the batch do not fit the number of processes.
        """
        if not self.world.several:
            super().check_resume(overrides)
            self._check_arguments(_device_count(self.args.device))
            return
        self.joined = join("cpu" if _is_cpu(self.args.device) else "cuda")
        run = None if self.world.first else self._receive_run()
        super().check_resume(overrides)
        if run is not None:
            self._choose_folder(run, overrides)
        recorded = self.resume and "device" not in overrides
        self.args.device = own_devices(self.args.device, self.world, recorded)
        self._check_arguments(self.world.size)

    def _check_arguments(self, processes: int) -> None:
        """Check what several processes need of the arguments, and change what Ultralytics changes.

        Raises:
            UsageError: a device is not available, or the batch is too small or to be estimated.
        """
        if processes < 2:
            return
        find_device(self.args.device)
        check_batch(self.args.batch, processes)
        batch = self.args.batch
        if batch % processes:
            each = batch // processes
            LOGGER.warning(f"batch={batch} over {processes} processes: {each} images each, {each * processes} in all")
        if self.args.rect:
            LOGGER.warning("rect=True gives processes different numbers of batches: rect=False is used")
            self.args.rect = False

    def announce_run(self) -> None:
        """Tell the other processes the run folder and send them the checkpoint to resume from; called by rank 0."""
        if self.world.several:
            last = Path(str(self.args.resume)) if self.resume else None
            pair = [] if last is None else [last, last.with_name(checkpoints.SIDE)]
            files = [path.name for path in pair if path.exists()]
            if last is None:  # Ultralytics removes it in every process at once, and one of them would not find it
                (Path(self.args.save_dir) / "results.csv").unlink(missing_ok=True)
            broadcast((Path(self.args.save_dir).name, last, files))
            for name in files:
                send_file(last.with_name(name), [last.with_name(name)])

    def _receive_run(self) -> str:
        """Return the name of rank 0's run folder; write the checkpoint to resume from where this process reads it."""
        name, last, files = broadcast(None)
        if last is not None:
            given = self.args.resume
            own = Path(given) if isinstance(given, (str, Path)) else last
            for file in files:
                send_file(own.with_name(file), [own.with_name(file)])
            self.args.resume = str(own)
        return name

    def _choose_folder(self, name: str, overrides: dict[str, Any]) -> None:
        """Create the run folder of a process that is not rank 0, under rank 0's name unless the user named it."""
        if self.resume:
            folder = Path(overrides.get("save_dir") or Path(self.args.resume).parents[1]).absolute()
        else:
            folder = Path(get_save_dir(self.args)).absolute()
            if not (self.args.exist_ok or getattr(self.args, "save_dir", None)):
                folder = folder.with_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        self.args.save_dir = str(folder)

    def train(self) -> None:
        """Train as Ultralytics does, in this process or in one for each device, which it starts."""
        if self.ddp:
            unset_deterministic()  # which __init__ has set for a training in this process
            launch(partial(_train_again, type(self), vars(self.args), self.model, self.callbacks), self.world_size)
            return
        with heartbeat.reported():
            super().train()
        if self.joined:
            leave()

    def beside(self) -> nn.Module:
        """Return the modules that are trained beside the model, which DistributedDataParallel does not see."""
        return nn.ModuleList()

    def _setup_ddp(self) -> None:
        """Choose the device of this process; the processes have met before, in `check_resume`."""
        if self.device.type == "cuda":
            index = int(self.args.device.split(",")[self.world.local_rank])
            self.device = torch.device("cuda", index)
            self.accelerator = get_torch_device_backend(self.device)
            self.accelerator.set_device(index)

    def _setup_train(self) -> None:
        """Set up as Ultralytics does, also on CPUs; what is beside the model gets rank 0's values."""
        with _parallel_on_cpu(self.device.type):
            super()._setup_train()
        if self.world.several:
            broadcast_tensors(self.beside().state_dict().values())

    def _get_warmup_iterations(self, num_batches: int) -> int:
        """Return the length of the warm-up, after taking the number of epochs from rank 0.

        With `time` each process estimates it by its own clock, and its learning rates depend on it.
        """
        if self.world.several and self.args.time:
            self.epochs = self.args.epochs = broadcast(self.epochs)
        return super()._get_warmup_iterations(num_batches)

    def optimizer_step(self) -> None:
        """Average the gradients beside the model before Ultralytics unscales them, then step as it does."""
        if self.world.several:
            average_gradients(list(self.beside().parameters()))
        super().optimizer_step()

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Recover from rank 0's last checkpoint, which others need not have on their disk."""
        if not self.world.several or epoch == self.start_epoch:
            return super()._handle_nan_recovery(epoch)
        numbers = [value for value in (self.loss, self.fitness) if value is not None]
        lost = not all(torch.as_tensor(value).isfinite().all() for value in numbers)
        if not broadcast(lost and self.last.exists()):
            return super()._handle_nan_recovery(epoch)
        with TemporaryDirectory(prefix="fgd_yolo-recovery-") as folder:
            side = self.wdir / checkpoints.SIDE
            names = broadcast([self.last.name, *([side.name] if side.exists() else [])])
            for name in names:
                send_file(self.wdir / name, [Path(folder) / name])
            with checkpoints.redirected(self, self.wdir if self.world.first else Path(folder)):
                return super()._handle_nan_recovery(epoch)


def process_count(device: Any) -> int:
    """Return how many processes train with the train argument `device`: those of torchrun, or one for each device."""
    world = current_world()
    return world.size if world.several else max(_device_count(device), 1)


def check_batch(batch: float, processes: int) -> None:
    """Check that each of several processes gets an image of each batch.

    Args:
        batch: images of all processes together, as the train argument has it.
        processes: their number.

    Raises:
        UsageError: there are more processes than images, or their number is to be estimated.
    """
    if processes > 1 and batch < 1:
        raise UsageError(
            f"batch={batch} (AutoBatch) is for one process; for {processes} give the number of images of all together, "
            f"such as batch={8 * processes}"
        )
    if batch < processes and processes > 1:
        raise UsageError(
            f"batch={batch} is the number of images of all processes together, and there are {processes}: give at "
            f"least batch={processes}, or train on fewer devices"
        )


def own_devices(device: Any, world: World, recorded: bool = False) -> str:
    """Return the devices of this machine's processes, in the order of their local ranks, as Ultralytics writes them.

    Args:
        device: Ultralytics' train argument.
        world: the processes.
        recorded: whether the device comes from a resumed run, which may have had other devices.

    Raises:
        UsageError: it does not name one device for each process of this machine.
    """
    if _is_cpu(device):
        return "cpu"
    named = parse_device(device)
    if not named or recorded:
        return ",".join(map(str, range(world.local_size)))
    devices = named.split(",")
    if not all(entry.isdigit() for entry in devices):
        raise UsageError(f"device={device}: several processes train on CUDA GPUs, such as device=0,1, or on device=cpu")
    if len(devices) != world.local_size:
        raise UsageError(
            f"device={device} names {len(devices)} of this machine's GPUs, and {world.local_size} processes were "
            "started on it: name one for each, or leave device out"
        )
    return named


def _is_cpu(device: Any) -> bool:
    return parse_device(device) in ({"cpu"} if torch.cuda.is_available() else {"", "cpu"})


def _device_count(device: Any) -> int:
    return len([entry for entry in parse_device(device).split(",") if entry])


@contextmanager
def _parallel_on_cpu(device_type: str) -> Iterator[None]:
    """Let Ultralytics wrap a model on a CPU, for which it names the device None, as DistributedDataParallel refuses."""
    if device_type != "cpu":
        yield
        return
    with patch.object(nn.parallel, "DistributedDataParallel", _CpuParallel):
        yield


class _CpuParallel(nn.parallel.DistributedDataParallel):
    """DistributedDataParallel without device ids."""

    def __init__(self, module: nn.Module, device_ids: Sequence[None] = (), **kwargs: Any):
        super().__init__(module, **kwargs)


def _train_again(trainer_class: type, arguments: dict[str, Any], model: Any, callbacks: dict[str, list]) -> None:
    """Build a trainer as another process has built it, and train; runs in each process that it has started."""
    # Ultralytics accepts a save_dir only if the defaults have one.
    trainer = trainer_class({**DEFAULT_CFG_DICT, "save_dir": ""}, arguments, callbacks)
    trainer.model = model
    trainer.train()
