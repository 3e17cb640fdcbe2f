from __future__ import annotations

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.frames import parse_interval


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("500ms", 0.5), ("2min", 120), ("1h", 3600), ("0.25", 0.25), (" 1.5 s ", 1.5), (".5s", 0.5), ("3", 3)],
)
def test_an_interval_is_read_in_seconds(text, seconds):
    assert parse_interval(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "0", "0ms", "-1s", "1 m", "1d", "1s2", "inf", "nan", "1e3s", "9" * 400, "1,5s"]
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="is not an interval: write 1s, 500ms or 2min") as error:
        parse_interval(text)
    assert len(str(error.value)) < 120
