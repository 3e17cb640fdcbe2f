"""What may be asked of the page, as pydantic models: all that comes from outside is bounded and checked here, once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import check_name, check_text
from fgd_yolo.streams.scheduling.frame_buffer import parse_policy

LONGEST_QUERY = 2048
LONGEST_HEADER = 8192
LONGEST_BODY = 16 << 10
_LARGEST_INDEX = 2**53  # up to here a browser counts exactly
_NAME = re.compile(r"[\w.][\w. -]{0,63}")

Question = TypeVar("Question", bound="_Question")


def _check_address(address: str) -> str:
    if not address or "\0" in address:
        raise UsageError("the address is missing, such as rtsp://camera/stream")
    check_text(address)
    return address


def _check_name(name: str | None) -> str | None:
    if name is not None:
        if not _NAME.fullmatch(name):
            raise UsageError("a name is 1 to 64 letters, digits, dots, dashes and spaces")
        check_name(name)
    return name


def _check_policy(policy: str | None) -> str | None:
    if policy is not None:
        parse_policy(policy)
    return policy


_EMPTY_IS_NONE = BeforeValidator(lambda value: None if value == "" else value)
_Named = Annotated[str, Field(max_length=256)]


class _Question(BaseModel):
    """One kind of question; `rule` tells what it must look like. A validator may raise `UsageError` itself."""

    model_config = ConfigDict(frozen=True)
    rule: ClassVar[str]


class NewStream(_Question):
    """A stream to add; an empty name or policy counts as none."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, validate_default=True)
    rule = "a stream is {'address': text, 'name': text, 'policy': text}, the last two as wanted"

    address: Annotated[str, AfterValidator(_check_address)] = Field(default="", repr=False)
    name: Annotated[str | None, _EMPTY_IS_NONE, AfterValidator(_check_name)] = None
    policy: Annotated[Annotated[str, Field(max_length=64)] | None, _EMPTY_IS_NONE, AfterValidator(_check_policy)] = None


class NamedStream(_Question):
    """A stream to remove, stop or start."""

    rule = "name the stream: {'name': text}"

    name: _Named


class VideoQuery(_Question):
    """Which stream's pictures."""

    rule = "name the stream: /video?stream=NAME"

    stream: _Named = ""


class PictureQuery(_Question):
    """Which stream's picture, newer than the one with index `after`."""

    rule = "name the stream: /picture?stream=NAME&after=INDEX"

    stream: _Named = ""
    after: Annotated[Annotated[int, Field(ge=0, le=_LARGEST_INDEX)] | None, _EMPTY_IS_NONE] = None


def read_body(model: type[Question], body: bytes) -> Question:
    """Read a question from JSON.

    Raises:
        UsageError: it is no JSON, or another question.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        is_json = error.errors(include_input=False, include_url=False)[0]["type"] != "json_invalid"
        raise UsageError(model.rule if is_json else "that is not JSON") from None


def read_query(model: type[Question], query: Mapping[str, Any]) -> Question:
    """Read a question from an address's query; what it does not know is left alone.

    Raises:
        UsageError: it is another question.
    """
    try:
        return model.model_validate(dict(query))
    except ValidationError:
        raise UsageError(model.rule) from None
