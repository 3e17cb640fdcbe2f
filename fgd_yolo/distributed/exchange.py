"""What the ranks tell each other outside a training: values, facts that must be the same on all, errors, and files.

Convention:
    Every function is collective: all ranks call it, in the same order. In a single process each returns at once. If
    another rank is gone meanwhile, this process ends as `heartbeat` describes.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import distributed as dist

from fgd_yolo.distributed import heartbeat
from fgd_yolo.distributed.world import current_world
from fgd_yolo.errors import FGDError, error_message
from fgd_yolo.files import atomic_path, sha256_of_file
from fgd_yolo.text import shortened

Value = TypeVar("Value")
_CHUNK_BYTES = 16 * 2**20
_DESCRIPTION_CHARACTERS = 90  # of each of the two in a message


class Fact(NamedTuple):
    """Something that must be the same on all ranks.

    Args:
        digest: text to compare, such as a SHA-256.
        description: what a message shows, such as a path.
    """

    digest: str
    description: str


class _Report(NamedTuple):
    host: str
    value: Any


def broadcast(value: Value) -> Value:
    """Return rank 0's value on every rank; those of other ranks are not used."""
    if not dist.is_initialized():
        return value
    values = [value if dist.get_rank() == 0 else None]
    with heartbeat.reported():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def gather(value: Value) -> list[Value]:
    """Return the values of all ranks, by rank, on every rank."""
    if not dist.is_initialized():
        return [value]
    values = [None] * dist.get_world_size()
    with heartbeat.reported():
        dist.all_gather_object(values, value)
    return values


@contextmanager
def together() -> Iterator[None]:
    """Run a block on every rank; an error of one rank becomes an error of all, which names that rank and its host.

    The block must not be collective itself: a rank that fails would leave the others waiting in it.

    Raises:
        FGDError: the block failed on another rank. An error of the own rank is raised as it is.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    raise_together(error)


def raise_together(error: Exception | None) -> None:
    """Raise this rank's error, or that of the first rank that has one; returns if no rank has any.

    Raises:
        FGDError: another rank failed; the message names it and its host.
    """
    reports = gather(_Report(platform.node(), None if error is None else error_message(error)))
    failed = [(rank, report) for rank, report in enumerate(reports) if report.value is not None]
    if not failed:
        return
    heartbeat.finish()  # all ranks end with this error, each in its own time
    if error is not None:
        raise error
    rank, report = failed[0]
    raise FGDError(f"rank {rank} on {report.host}: {report.value}")


def leaders_first(action: Callable[[], Value]) -> Value:
    """Return the result of an action, which the first rank of each host runs before the others of that host.

    So the others find in the caches what it has written. As for `together`, an error of one rank is an error of all.
    """
    for leaders in (True, False):
        with together():
            if (current_world().local_rank == 0) is leaders:
                value = action()
    return value


def compare_digests(facts: Mapping[str, Fact]) -> None:
    """Check that facts are the same on all ranks.

    Args:
        facts: what to compare, by its name in a message, such as "data"; a rank may lack some, which are not compared
            then.

    Raises:
        FGDError: one differs from rank 0's; the message names both ranks, their hosts and both descriptions.
    """
    first, *others = gather(_Report(platform.node(), dict(facts)))
    for rank, other in enumerate(others, start=1):
        for name, ours in first.value.items():
            theirs = other.value.get(name, ours)
            if ours.digest != theirs.digest:
                heartbeat.finish()
                raise FGDError(_difference(name, ours, first.host, theirs, f"rank {rank} on {other.host}"))


def _difference(name: str, ours: Fact, host: str, theirs: Fact, place: str) -> str:
    shown = [shortened(fact.description, _DESCRIPTION_CHARACTERS) for fact in (ours, theirs)]
    contents = " of other content" if shown[0] == shown[1] else ""
    return (
        f"{name}: rank 0 on {host} has {shown[0]}, {place} has {shown[1]}{contents}: all ranks need the same; "
        "change one of them and start again"
    )


def send_file(source: Path, candidates: Sequence[Path]) -> Path:
    """Return a path on this host with the content of a file of rank 0, which is sent to the ranks that lack it.

    Args:
        source: the file on rank 0; not used on other ranks.
        candidates: paths on this host that may have the same content already, by SHA-256. If none has, the last one is
            written, atomically.

    Raises:
        FGDError: the file cannot be read on rank 0, or not be written on a rank; the message names it.
    """
    digest, size = _announced(source)
    found = next((path for path in candidates if path.is_file() and sha256_of_file(path) == digest), None)
    if all(gather(found is not None)):
        return found
    chunks, error = _chunks(source, size), None
    try:
        if found is None:
            _write(candidates[-1], chunks, digest)
    except Exception as caught:
        error = caught
    for _ in chunks:  # a rank that has the file, or cannot write it, takes part to the end
        pass
    raise_together(error)
    return found or candidates[-1]


def _announced(source: Path) -> tuple[str, int]:
    """Return digest and size of rank 0's file on all ranks."""
    value = None
    with together():
        if not dist.is_initialized() or dist.get_rank() == 0:
            try:
                value = sha256_of_file(source), source.stat().st_size
            except OSError as error:
                raise FGDError(f"{source} cannot be read ({error.strerror}): put it back") from error
    return broadcast(value)


def _chunks(source: Path, size: int) -> Generator[bytes, None, None]:
    """Yield the content of rank 0's file on every rank, in pieces that are broadcast one after the other."""
    content = source.read_bytes() if dist.get_rank() == 0 else b""
    for start in range(0, size, _CHUNK_BYTES):
        length = min(_CHUNK_BYTES, size - start)
        piece = bytearray(content[start : start + length].ljust(length, b"\0"))
        with heartbeat.reported():
            dist.broadcast(torch.frombuffer(piece, dtype=torch.uint8), src=0)
        yield bytes(piece)


def _write(target: Path, chunks: Iterator[bytes], digest: str) -> None:
    with atomic_path(target) as partial:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        if sha256_of_file(partial) != digest:
            raise FGDError(f"{target} was changed on rank 0 while it was sent: start again")
