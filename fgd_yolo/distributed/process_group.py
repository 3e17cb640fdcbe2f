"""Join this process to those that train with it, and leave them again."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import torch.distributed as dist

from fgd_yolo.distributed import heartbeat
from fgd_yolo.distributed.heartbeat import Heartbeat, Member
from fgd_yolo.distributed.world import World, current_world
from fgd_yolo.errors import FGDError, UsageError, one_line

JOIN_TIMEOUT_S = 300.0
_BACKENDS = {"cuda": "cpu:gloo,cuda:nccl"}  # for other devices gloo alone
_LEAVE_TIMEOUT_S = 30.0
_LOOK_AGAIN_S = 0.05
# Rank 0 prepares a teacher and measures while the others wait; the heartbeat notices what goes wrong meanwhile.
_COLLECTIVE_TIMEOUT = timedelta(days=2)
_SIOCGIFADDR = 0x8915  # netdevice(7): the address of an interface

_joined = 0  # how often this process has joined, so that a second group uses keys of its own


def join(device_type: str, timeout_s: float = JOIN_TIMEOUT_S) -> bool:
    """Join this process to the others, and start its heartbeat; does nothing without others, or a second time.

    The processes meet at MASTER_ADDR:MASTER_PORT, which torchrun sets. Tensors on GPUs are exchanged by NCCL, all
    others and objects by gloo.

    Args:
        device_type: `cuda` or `cpu`.
        timeout_s: seconds that the others have to come.

    Returns:
        Whether this call has joined them, so that its caller calls `leave`.

    Raises:
        FGDError: the port is taken, rank 0 cannot be reached, or a process did not come.
        UsageError: the environment is incomplete.
    """
    global _joined
    world = current_world()
    if not world.several or dist.is_initialized():
        return False
    _joined += 1
    address, port = _meeting_point(os.environ)
    store = _open_store(address, port, world, hosted=not _has_agent(os.environ), timeout_s=timeout_s)
    meetings = f"fgd_yolo/{_joined}"
    meeting, members = _meet(dist.PrefixStore(meetings, store), world, f"{address}:{port}", timeout_s)
    prefix = f"{meetings}/{meeting}"
    _choose_interface(address)
    # gloo and NCCL get the first connection, the heartbeat has its own: a blocked call would hold it up.
    beats = dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=timeout_s))
    heartbeat.begin(Heartbeat(dist.PrefixStore(f"{prefix}/beats", beats), members, world.rank))
    dist.init_process_group(
        _BACKENDS.get(device_type, "gloo"),
        store=dist.PrefixStore(f"{prefix}/group", store),
        rank=world.rank,
        world_size=world.size,
        timeout=_COLLECTIVE_TIMEOUT,
    )
    return True


def leave() -> None:
    """Leave the other processes, and stop the heartbeat; does nothing if none were joined."""
    if dist.is_initialized():
        beat, keeps_store = heartbeat.current(), current_world().first and not _has_agent(os.environ)
        heartbeat.finish()
        if beat is not None and keeps_store:
            beat.wait_until_all_left(_LEAVE_TIMEOUT_S)
        dist.destroy_process_group()


def _has_agent(environment: Mapping[str, str]) -> bool:
    """Return whether torchrun keeps the store; otherwise rank 0 does."""
    return environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _meeting_point(environment: Mapping[str, str]) -> tuple[str, int]:
    address, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT", "")
    if not address or not port.isdecimal():
        raise UsageError("the environment has no MASTER_ADDR and MASTER_PORT: start the processes with torchrun")
    return address, int(port)


def _open_store(address: str, port: int, world: World, hosted: bool, timeout_s: float) -> dist.Store:
    """Return a connection to the store in which the processes meet.

    Args:
        hosted: whether rank 0 keeps the store, not torchrun.

    Raises:
        FGDError: its port is taken, or it cannot be reached.
    """
    master = hosted and world.first
    try:
        return dist.TCPStore(
            address, port, is_master=master, wait_for_workers=False, timeout=timedelta(seconds=timeout_s)
        )
    except (RuntimeError, ValueError) as error:
        if master:
            raise FGDError(
                f"rank 0 cannot listen on port {port}: another program uses it; choose another with MASTER_PORT, or "
                "torchrun --master-port"
            ) from error
        raise FGDError(
            f"rank {world.rank} did not reach rank 0 at {address}:{port} within {timeout_s:.0f} s "
            f"({one_line(error, 60)}): start rank 0 there, and let this port through"
        ) from error


def _meet(store: dist.Store, world: World, place: str, timeout_s: float) -> tuple[str, list[Member]]:
    """Wait for all processes, and return the name of the meeting and the processes by rank.

    A torchrun that restarts its processes keeps the store, with all that their predecessors wrote, and counts its
    restarts for itself. So rank 0 names each meeting anew, and publishes who has come to it.

    Raises:
        FGDError: some did not come.
    """
    until, meeting, mine = time.monotonic() + timeout_s, uuid4().hex, Member.this(world).to_json()
    if world.first:
        store.set("meeting", meeting)
    while time.monotonic() < until:
        if not world.first:
            meeting = store.get("meeting").decode() if store.check(["meeting"]) else ""
        store.set(f"{meeting}/{world.rank}", mine)
        names = [f"{meeting}/{rank}" for rank in range(world.size)]
        if world.first and store.check(names):
            store.set(f"{meeting}/all", json.dumps([store.get(name).decode() for name in names]))
        if store.check([f"{meeting}/all"]):
            came = json.loads(store.get(f"{meeting}/all"))
            if came[world.rank] == mine:  # not a meeting of the predecessors
                return meeting, [Member.from_json(text) for text in came]
        time.sleep(_LOOK_AGAIN_S)
    missing = [str(rank) for rank in range(world.size) if meeting and not store.check([f"{meeting}/{rank}"])]
    raise FGDError(
        f"rank {', '.join(missing) or 0} of {world.size} did not come to {place} within {timeout_s:.0f} s: start one "
        "process for each rank, and let them reach that port"
    )


def _choose_interface(address: str) -> None:
    """Let gloo listen on the interface that leads to rank 0, where it would look up the name of the machine.

    That name may stand for the loopback interface (Debian has it so), or for nothing.
    """
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        with suppress(OSError, ImportError):
            if (name := _interface_towards(address)) is not None:
                os.environ["GLOO_SOCKET_IFNAME"] = name


def _interface_towards(address: str) -> str | None:
    """Return the network interface with whose IPv4 address this machine speaks to another, or None."""
    import fcntl  # only on Unix

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing
        own = socket.inet_aton(probe.getsockname()[0])
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an IPv4 address
                reply = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if reply[20:24] == own:
                    return name
    return None
