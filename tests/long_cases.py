"""Parameters of tests that `make test-long` alone runs."""

from __future__ import annotations

import pytest


def long(*values: object) -> list:
    """Return the values as parameters with the marker `long`."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]
