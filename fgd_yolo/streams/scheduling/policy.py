"""Which of a stream's frames are worth their turn when there are more than can be done."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.streams.address import redact

_KNOWN = ("latest", "every", "max-age")


@dataclass(frozen=True)
class Policy:
    """How a stream's frames wait for their turn.

    Args:
        name: `latest` keeps the newest frame alone; `every` keeps all, and the reader waits for room; `max-age` is
            `latest` that also drops what is too old when its turn comes.
        max_age_s: of `max-age`, in seconds since the frame arrived.
    """

    name: str
    max_age_s: float | None = None

    def __str__(self) -> str:
        return self.name if self.max_age_s is None else f"{self.name}={self.max_age_s * 1000:g}"


def parse_policy(text: str) -> Policy:
    """Read `latest`, `every` or `max-age=MS`.

    Raises:
        UsageError: it is none of them.
    """
    name, equals, value = str(text).strip().lower().partition("=")
    if name not in _KNOWN or (equals and name != "max-age"):
        guess = close_match(name, _KNOWN)
        raise UsageError(f"policy '{redact(text)}' is unknown{guess}; known are latest, every, max-age=MS")
    if name != "max-age":
        return Policy(name)
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise UsageError(f"policy '{redact(text)}' needs an age in milliseconds above 0, such as max-age=500")
    return Policy(name, milliseconds / 1000)
