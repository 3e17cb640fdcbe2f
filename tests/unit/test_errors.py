from __future__ import annotations

import pytest

from fgd_yolo.errors import error_message, one_line


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


def test_a_text_inside_another_error_is_short_and_printable():
    error = FileNotFoundError("missing: " + ", ".join(f"/data/{i}\x1b.jpg" for i in range(3000)) + "; add them")
    assert 150 < len(one_line(error)) <= 160 and one_line(error).isprintable()
    assert one_line(error).startswith("missing: /data/0?.jpg") and one_line(error).endswith("; add them")
    assert error_message(error).count(".jpg") == 3000
