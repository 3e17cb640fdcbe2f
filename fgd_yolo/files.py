"""How folders of results get their names, and how files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from fgd_yolo.errors import FGDError


def numbered_folder(wanted: Path) -> Path:
    """Make a new folder, numbered like the host's (`NAME-2`, ...) where it exists, and return it.

    Raises:
        FGDError: it cannot be made.
    """
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise FGDError(f"cannot make the folder {folder}: {error.strerror or error}; name another") from error
        return folder


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; it takes the target's place when the block ends well.

    Raises:
        FGDError: it cannot be written; the target is untouched.
    """
    if target.exists() and not target.is_file():
        raise FGDError(f"cannot write {target}: it exists and is no file")
    partial = target.with_name(f".{os.getpid()}-partial-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise FGDError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # where nothing can be written nothing can be removed either
            partial.unlink(missing_ok=True)
