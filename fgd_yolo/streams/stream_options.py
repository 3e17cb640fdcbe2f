"""What a run of streams is asked to do, from the command line or a YAML file, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime.pixel_budget import DEFAULT_MEGAPIXELS
from fgd_yolo.streams.address import redact

try:
    from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

    from fgd_yolo.streams.text_fields import Address, FilePath, Name, Text
    from fgd_yolo.validation import first_problem
except ModuleNotFoundError as error:
    raise FGDError(f"{error.name} is not installed; run pip install 'fgd_yolo[stream]'") from error


_PROBLEMS = {
    "model_type": "needs an address",
    "string_unicode": "is not UTF-8: rename the file, or percent-encode the address",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """One stream.

    Args:
        source: a camera's number, a file, a folder or pattern of pictures, or an address.
        policy: `latest`, `every` or `max-age=MS`; None takes the run's, or what suits the source.
        zones: polygons by name, as in `fgd_yolo.streams.steps.zones.parse_layout`.
        lines: counting lines by name, likewise.
    """

    source: Address = Field(repr=False)
    policy: Text | None = None
    zones: dict[Text, list[list[float]]] = Field(default_factory=dict)
    lines: dict[Text, list[list[float]]] = Field(default_factory=dict)


class RunOptions(_Strict):
    """A run.

    Args:
        model: the ONNX file.
        streams: by name; those of the command line are named after their sources.
        device: as of `OnnxDetector`, like threads, mode, conf and iou.
        policy: of the streams that have none of their own.
        classes: of the objects that count, as `fgd_yolo.streams.steps.class_filter.resolve_classes` reads them; no
            step, sink or page sees others. None is all.
        track: give objects ids.
        web: HOST:PORT of the page.
        token: that the page asks for; needed where others than this machine can reach it.
        save: folder of MP4 files, one or more per stream.
        segment_s: length of such a file.
        disk_mb: what the files may take together; the oldest are deleted.
        raw: save the pictures without boxes.
        json: file of one JSON line per result; `-` is the standard output.
        webhook: address that gets a POST for each result with objects.
        mqtt: `mqtt://host:port/topic`.
        show: open a window per stream.
        seconds: stop after so long.
        max_megapixels: of one picture, and of all streams together; what has more is not decoded.
    """

    model: FilePath
    streams: dict[Name, StreamOptions] = Field(default_factory=dict)
    device: Text = "auto"
    threads: int | None = None
    mode: Text = "latency"
    conf: float = 0.25
    iou: float = 0.7
    policy: Text | None = None
    classes: list[StrictInt | str] | None = None
    track: bool = False
    web: Text | None = None
    token: Text | None = Field(default=None, repr=False)
    save: FilePath | None = None
    segment_s: float = Field(default=600, gt=0)
    disk_mb: float | None = Field(default=None, gt=0)
    raw: bool = False
    json_lines: FilePath | None = Field(default=None, alias="json")
    webhook: Text | None = Field(default=None, repr=False)
    mqtt: Text | None = Field(default=None, repr=False)
    show: bool = False
    seconds: float | None = Field(default=None, gt=0)
    max_megapixels: float = Field(default=DEFAULT_MEGAPIXELS, gt=0, allow_inf_nan=False)


def read_options(said: Mapping[str, Any], file: Path | None = None) -> RunOptions:
    """Join what the command line says with a YAML file; the command line wins, except that streams add up.

    Args:
        said: options of the command line, only those that were given; `streams` by name.
        file: YAML with the same keys.
    Raises:
        UsageError: a file that cannot be read or is no YAML, an unknown key, a value that cannot be, a stream that
            stands in both.
    """
    written = _read(file) if file else {}
    streams = written.pop("streams", None) or {}
    if not isinstance(streams, Mapping):
        raise UsageError(f"{file}: streams need names: streams: {{NAME: {{source: ...}}}}")
    streams = {str(name): _stream(entry) for name, entry in streams.items()}
    added = said.get("streams", {})
    twice = sorted(set(streams) & set(added))
    if twice:
        raise UsageError(f"stream '{redact(twice[0])}' stands in {file} and on the command line: leave out one")
    try:
        return RunOptions(**{**written, **said, "streams": {**streams, **added}})
    except ValidationError as error:
        known = [*RunOptions.model_fields, "json", *StreamOptions.model_fields]
        problem = first_problem(error, known, show_value=False, problems=_PROBLEMS)  # a value may hold a password
        raise UsageError(redact(f"{f'{file}: ' if file else ''}{problem}")) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.load(file.read_text(encoding="utf-8"), _Once)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the last two: a number or nesting without an end
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = redact(getattr(error, "problem", None) or "a value in it cannot be read")
        # None: the original quotes the line, which --debug would show with the password in it.
        raise UsageError(f"{file} is no YAML for streams{where}: {problem}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{file} must hold keys such as model: and streams:")
    return {str(key): value for key, value in found.items()}


class _Once(yaml.SafeLoader):
    """YAML in which no key stands twice: the plain loader silently keeps the last, and a camera would be missing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' stands there twice", problem_mark=key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _stream(entry: Any) -> Any:
    """Let `gate: rtsp://...` stand for `gate: {source: rtsp://...}`."""
    return {"source": entry} if isinstance(entry, (str, int)) else entry
