"""How long to wait before a camera is tried again."""

from __future__ import annotations

import random

_DOUBLINGS = 30  # more would overflow after days of trying


class Backoff:
    """Waits that double up to a limit, each shortened at random, so that cameras do not all come back at once.

    Args:
        first_s: the longest first wait.
        most_s: no wait is longer.
        seed: equal seeds give equal waits.
    """

    def __init__(self, first_s: float, most_s: float, seed: int):
        self._first_s, self._most_s = first_s, most_s
        self._random = random.Random(seed)
        self._tries = 0

    def next_s(self) -> float:
        """Return the next wait: between half and all of its step."""
        step_s = min(self._most_s, self._first_s * 2 ** min(self._tries, _DOUBLINGS))
        self._tries += 1
        return step_s * self._random.uniform(0.5, 1)

    def reset(self) -> None:
        """Begin again with the first step."""
        self._tries = 0
