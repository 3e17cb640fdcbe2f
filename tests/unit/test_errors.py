from __future__ import annotations

import pytest

from fgd_yolo.errors import one_line


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
