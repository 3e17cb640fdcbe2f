"""JSON as the standard has it: a number that is not finite becomes null. Everything here that writes JSON uses this."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any


def to_json(value: Any, **options: Any) -> str:
    """Return a value as JSON text, with null for every NaN and infinity in it.

    Python's own `json` writes the words NaN and Infinity, which no other reader has to understand.

    Args:
        value: of the types that `json` knows.
        options: of `json.dumps`.
    Source:
        RFC 8259, section 6: "Numeric values that cannot be represented in the grammar below (such as Infinity and NaN)
        are not permitted."
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:  # the search takes longer than the writing, so it is only made where it is needed
        return json.dumps(finite(value), allow_nan=False, **options)


def finite(value: Any) -> Any:
    """Return a value with None for every number in it that is not finite; tuples become lists."""
    if isinstance(value, Mapping):
        return {_key(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    is_number = isinstance(value, Real) and not isinstance(value, int)
    return None if is_number and not math.isfinite(value) else value


def _key(key: Any) -> Any:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
