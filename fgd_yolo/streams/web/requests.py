"""The content of requests as pydantic models: everything that clients send is bounded and validated here, once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import check_name, check_text
from fgd_yolo.streams.scheduling.frame_buffer import parse_policy

MAX_QUERY = 2048  # characters
MAX_HEADER = 8192
MAX_BODY_BYTES = 16 << 10
_MAX_INDEX = 2**53  # JavaScript's integers are exact up to here
_NAME = re.compile(r"[\w.][\w. -]{0,63}")

Content = TypeVar("Content", bound="_Content")


def _check_address(address: str) -> str:
    if not address or "\0" in address:
        raise UsageError("the address is missing: give one such as rtsp://camera/stream")
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
_Name = Annotated[str, Field(max_length=256)]


class _Content(BaseModel):
    """The content of one kind of request; `rule` describes its form. A validator may raise `UsageError` itself."""

    model_config = ConfigDict(frozen=True)
    rule: ClassVar[str]


class AddStream(_Content):
    """A stream to add; an empty name or policy counts as absent."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, validate_default=True)
    rule = "the request must be {'address': text, 'name': text, 'policy': text}; name and policy are optional"

    address: Annotated[str, AfterValidator(_check_address)] = Field(default="", repr=False)
    name: Annotated[str | None, _EMPTY_IS_NONE, AfterValidator(_check_name)] = None
    policy: Annotated[Annotated[str, Field(max_length=64)] | None, _EMPTY_IS_NONE, AfterValidator(_check_policy)] = None


class StreamName(_Content):
    """A stream to remove, stop or start."""

    rule = "the request must be {'name': text}"

    name: _Name


class VideoQuery(_Content):
    """The stream whose video is requested."""

    rule = "the address must be /video?stream=NAME"

    stream: _Name = ""


class FrameQuery(_Content):
    """The stream whose newest frame is requested, unless its index is `after`."""

    rule = "the address must be /frame?stream=NAME&after=INDEX, where after is optional"

    stream: _Name = ""
    after: Annotated[Annotated[int, Field(ge=0, le=_MAX_INDEX)] | None, _EMPTY_IS_NONE] = None


def read_body(model: type[Content], body: bytes) -> Content:
    """Read the content of a request from its JSON body.

    Raises:
        UsageError: the body is not JSON, or has another form.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        is_json = error.errors(include_input=False, include_url=False)[0]["type"] != "json_invalid"
        raise UsageError(model.rule if is_json else "the request body is not JSON") from None


def read_query(model: type[Content], query: Mapping[str, Any]) -> Content:
    """Read the content of a request from its address's query; unknown parameters are ignored.

    Raises:
        UsageError: the query has another form.
    """
    try:
        return model.model_validate(dict(query))
    except ValidationError:
        raise UsageError(model.rule) from None
