"""What text from outside must be, as pydantic types: bounded, printable, checked once where it comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StrictInt

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import LONGEST, check_name, check_text


def _checked(check):
    """Return a validator from a function that raises `UsageError`; pydantic collects nothing but `ValueError`."""

    def validate(value):
        try:
            check(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(validate)


def _check_printable(text: str) -> None:
    if not text.isprintable():
        raise UsageError("has a character that cannot be printed: write it again without it")


def _check_path(path: Path) -> None:
    if "\0" in str(path):
        raise UsageError("has a zero byte in it, which no path has: write it again without it")


Text = Annotated[str, Field(max_length=LONGEST), _checked(_check_printable)]
"""A short text on one line."""

Address = Annotated[StrictInt | str, _checked(check_text)]
"""A source's address: a URL, a path, a pattern, or a camera's number."""

Name = Annotated[str, _checked(check_name)]
"""What a stream is called."""

FilePath = Annotated[Path, _checked(_check_path)]
