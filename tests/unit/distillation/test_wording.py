from __future__ import annotations

import pytest

from fgd_yolo.distillation.wording import duration, one_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (600, "10 min"),
        (5400, "1 h 30 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_have_at_most_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (ValueError("\x1b[31mred\x1b[0m"), "red"),
        (ValueError(), "ValueError"),
        (OSError(28, "No space left on device", "/runs/x.pt"), "No space left on device: /runs/x.pt"),
        (ConnectionError("refused"), "refused"),
    ],
)
def test_an_error_becomes_one_plain_line(error, text):
    assert one_line(error) == text
