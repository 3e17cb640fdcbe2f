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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """One stream.

    Args:
        source: a camera number, a file, a folder or pattern of images, or an address.
        policy: `latest`, `every` or `max-age=MS`; None takes that of the run, else the default of the source.
        zones: polygons by name, as in `fgd_yolo.streams.steps.zones.parse_layout`.
        lines: counting lines by name, likewise.
    """

    source: _Address = Field(repr=False)
    policy: _Text | None = None
    zones: dict[_Text, list[list[float]]] = Field(default_factory=dict)
    lines: dict[_Text, list[list[float]]] = Field(default_factory=dict)


class RunOptions(_Strict):
    """A run of streams.

    Args:
        model: the ONNX file.
        streams: the streams by name; those of the command line are named after their sources, unless they are
            NAME=ADDRESS.
        device: as in `OnnxDetector`, like threads, mode, conf and iou.
        policy: the policy of streams that set none themselves.
        classes: the selected classes, as `fgd_yolo.streams.steps.class_filter.resolve_classes` reads them; no step,
            sink or page sees objects of others. None selects all.
        track: assign track ids to objects.
        web: HOST:PORT of the web page.
        token: password of the web page; required if other machines can reach it.
        save: folder for MP4 files, one or more per stream.
        segment_s: length of an MP4 file in seconds.
        disk_mb: limit for all MP4 files in megabytes; the oldest are deleted.
        raw: record frames without boxes.
        json: file for one line of JSON per result; `-` is standard output.
        webhook: URL that gets a POST for each result with objects.
        mqtt: `mqtt://host:port/topic`.
        show: open a window per stream.
        seconds: time after which the run stops.
        max_megapixels: limit for one frame, and for all streams together; larger frames are not decoded.
    """

    model: _Path
    streams: dict[_Name, StreamOptions] = Field(default_factory=dict)
    device: _Text = "auto"
    threads: int | None = None
    mode: _Text = "latency"
    conf: float = DEFAULT_CONFIDENCE
    iou: float = DEFAULT_IOU
    policy: _Text | None = None
    classes: list[StrictInt | str] | None = None
    track: bool = False
    web: _Text | None = None
    token: _Text | None = Field(default=None, repr=False)
    save: _Path | None = None
    segment_s: float = Field(default=600, gt=0)
    disk_mb: float | None = Field(default=None, gt=0)
    raw: bool = False
    json_lines: _Path | None = Field(default=None, alias="json")
    webhook: _Text | None = Field(default=None, repr=False)
    mqtt: _Text | None = Field(default=None, repr=False)
    show: bool = False
    seconds: float | None = Field(default=None, gt=0)
    max_megapixels: float = Field(default=DEFAULT_MEGAPIXELS, gt=0, allow_inf_nan=False)


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
