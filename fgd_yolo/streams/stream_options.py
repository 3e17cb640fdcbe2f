"""The options of a run of streams, from the command line or a YAML file, validated before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml

from fgd_yolo.errors import UsageError, not_installed
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS
from fgd_yolo.streams.address import MAX_ADDRESS, check_name, check_text, redact

try:
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, ValidationError

    from fgd_yolo.checked_options import first_problem
except ModuleNotFoundError as error:
    raise not_installed(error.name, "stream") from error


_PROBLEMS = {  # by pydantic's type of error
    "missing": "is missing: give it on the command line, or in the --config file",
    "model_type": "needs an address",
    "string_unicode": "is not UTF-8: rename the file, or percent-encode the address",
}


def _checked(check: Callable[[Any], object]) -> AfterValidator:
    """Return a validator from a function that raises `UsageError`: pydantic collects only `ValueError`."""

    def validate(value: Any) -> Any:
        try:
            check(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(validate)


def _check_printable(text: str) -> None:
    if not text.isprintable():
        raise UsageError("has a character that cannot be printed: remove it")


def _check_path(path: Path) -> None:
    if "\0" in str(path):
        raise UsageError("has a zero byte in it, which no path has: remove it")


_Text = Annotated[str, Field(max_length=MAX_ADDRESS), _checked(_check_printable)]
_Address = Annotated[StrictInt | str, _checked(check_text)]  # a URL, a path, a pattern, or a camera number
_Name = Annotated[str, _checked(check_name)]  # of a stream
_Path = Annotated[Path, _checked(_check_path)]


class _NoUnknownNames(BaseModel):
    # The docstring below a field is its description in the reference.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        str_strip_whitespace=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class StreamOptions(_NoUnknownNames):
    """One stream."""

    source: _Address = Field(repr=False)
    """A camera number, a file, a folder or pattern of images, or an address."""
    policy: _Text | None = None
    """Frames to process: `latest`, `every` or `max-age=MS`; None takes that of the run, else `latest` for a live
    source and `every` for a file."""
    zones: dict[_Text, list[list[float]]] = Field(default_factory=dict)
    """Polygons by name, in which objects are counted: at least three points [x, y], in fractions of the frame if no
    coordinate is above 1, else in pixels."""
    lines: dict[_Text, list[list[float]]] = Field(default_factory=dict)
    """Counting lines by name: two points each, as for zones."""


class RunOptions(_NoUnknownNames):
    """A run of streams."""

    model: _Path
    """The detector, an ONNX file."""
    streams: dict[_Name, StreamOptions] = Field(default_factory=dict)
    """The streams by name."""
    device: _Text = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N`, `tensorrt` or `openvino`."""
    threads: int | None = None
    """CPU threads; None uses the cores that this process may use."""
    mode: _Text = "latency"
    """`latency` uses all threads for one image, `throughput` processes several images at once."""
    conf: float = DEFAULT_CONFIDENCE
    """Confidence threshold, from 0 to 1."""
    iou: float = DEFAULT_IOU
    """IoU threshold of the NMS, from 0 to 1."""
    policy: _Text | None = None
    """The policy of streams that set none themselves."""
    classes: list[StrictInt | str] | None = None
    """Names or numbers of the classes to keep; `id:2` or `name:2` if 2 is ambiguous. No step, sink or page sees
    objects of others. None keeps all."""
    track: bool = False
    """Assign track ids to objects."""
    web: _Text | None = None
    """HOST:PORT of the web page."""
    token: _Text | None = Field(default=None, repr=False)
    """Password of the web page; required if other machines can reach it."""
    save: _Path | None = None
    """Folder for MP4 files, one or more for each stream."""
    segment_s: float = Field(default=600, gt=0)
    """Length of an MP4 file in seconds."""
    disk_mb: float | None = Field(default=None, gt=0)
    """Limit for all MP4 files in megabytes; the oldest are deleted. None sets no limit."""
    raw: bool = False
    """Record frames without boxes."""
    json_lines: _Path | None = Field(default=None, alias="json")
    """File for one line of JSON per result; `-` is standard output."""
    webhook: _Text | None = Field(default=None, repr=False)
    """URL that gets a POST for each result with objects."""
    mqtt: _Text | None = Field(default=None, repr=False)
    """Broker and topic to publish results to: `mqtt://host:port/topic`."""
    collect: _Path | None = None
    """Folder for frames worth learning from: objects of a confidence near the threshold, tracks that flicker (only with
    `track`), and a few ordinary ones. Each is a JPEG with a JSON beside it."""
    collect_per_hour: int = Field(default=120, ge=1)
    """Limit of collected frames in an hour of each stream; a tenth of them are ordinary ones."""
    collect_mb: float = Field(default=1000, gt=0)
    """Limit for the folder of collected frames in megabytes, with what is in it already; then collecting stops."""
    show: bool = False
    """Open a window for each stream."""
    seconds: float | None = Field(default=None, gt=0)
    """Time in seconds after which the run stops."""
    max_megapixels: float = Field(default=DEFAULT_MEGAPIXELS, gt=0, allow_inf_nan=False)
    """Limit for one frame, and for all streams together; larger frames are not decoded."""


def read_options(args: Mapping[str, Any], file: Path | None = None) -> RunOptions:
    """Merge command line arguments with a YAML file. Arguments override the file; streams of both are added.

    Args:
        args: the arguments that were given; `streams` by name.
        file: YAML with the same keys.
    Raises:
        UsageError: the file cannot be read or is not YAML, a key is unknown, a value is invalid, or a stream is in
            both.
    """
    config = _read(file) if file else {}
    streams = config.pop("streams", None) or {}
    if not isinstance(streams, Mapping):
        raise UsageError(f"{file}: streams need names: streams: {{NAME: {{source: ADDRESS}}}}")
    streams = {str(name): _stream(entry) for name, entry in streams.items()}
    added = args.get("streams", {})
    in_both = sorted(set(streams) & set(added))
    if in_both:
        raise UsageError(f"stream '{redact(in_both[0])}' is both in {file} and on the command line: remove one of them")
    try:
        return RunOptions(**{**config, **args, "streams": {**streams, **added}})
    except ValidationError as error:
        known = [*RunOptions.model_fields, "json", *StreamOptions.model_fields]
        problem = first_problem(error, known, show_value=False, problems=_PROBLEMS)  # a value may hold a password
        raise UsageError(redact(f"{f'{file}: ' if file else ''}{problem}")) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # a number too long, or nested too deeply
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = redact(getattr(error, "problem", None) or "a value in it cannot be read")
        # None: the original quotes the line, which --debug would show with the password in it.
        raise UsageError(f"{file} is not valid YAML for streams{where}: {problem}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{file} must have keys such as model: and streams:")
    return {str(key): value for key, value in config.items()}


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses repeated keys: the plain loader silently keeps the last one, and a camera would be missing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                raise yaml.MarkedYAMLError(
                    problem=f"'{key.value}' is given more than once", problem_mark=key.start_mark
                )
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _stream(entry: Any) -> Any:
    """Expand `gate: rtsp://...` to `gate: {source: rtsp://...}`."""
    return {"source": entry} if isinstance(entry, (str, int)) else entry
