"""Serialise values to standard JSON, in which NaN and infinity become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any


def to_json(value: Any, **options: Any) -> str:
    """Serialise a value to JSON, with null for NaN and infinity.

    Python's `json` writes the words NaN and Infinity, which other parsers reject.

    Args:
        value: any value that `json` can serialise.
        options: keyword arguments of `json.dumps`.
    Source:
        RFC 8259, section 6: "Numeric values that cannot be represented in the grammar below (such as Infinity and NaN)
        are not permitted."
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:  # searching takes longer than writing, so it is done only after a failure
        return json.dumps(finite(value), allow_nan=False, **options)


def finite(value: Any) -> Any:
    """Return a copy with None for every number that is not finite; tuples become lists."""
    if isinstance(value, Mapping):
        return {_key(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    is_number = isinstance(value, Real) and not isinstance(value, int)
    return None if is_number and not math.isfinite(value) else value


def _key(key: Any) -> Any:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
