"""The JSON objects in which sinks describe results and gaps to other programs; every sink uses the same format."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fgd_yolo.json_message import json_message
from fgd_yolo.strict_json import to_json

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result


def result_message(result: Result) -> dict[str, Any]:
    """Return a result as a message of kind `result`.

    Convention:
        `time` is the frame's arrival in UTC: the current wall-clock time minus `age_s`, the frame's current age.
        `age_s` and `inference_s`, the duration of the network's run, come from the monotonic clock; `pts_s` is the
        source's own time.
    """
    return json_message("result", _content(result))


def collected_message(result: Result, reason: str, model: Mapping[str, str] | None) -> dict[str, Any]:
    """Return a result as the message of kind `collected` that lies beside its frame.

    Args:
        result: the result.
        reason: why the frame is kept, one of `worth_keeping.REASONS`.
        model: name and digest of the detector; None if they are not known.
    """
    added = {"reason": reason} if model is None else {"reason": reason, "model": dict(model)}
    return json_message("collected", {**_content(result), **added})


def _content(result: Result) -> dict[str, Any]:
    frame = result.frame
    age_s = time.monotonic() - frame.arrived
    content = {
        "stream": frame.stream,
        "index": frame.index,
        "time": _utc(time.time() - age_s),
        "age_s": round(age_s, 4),
        "pts_s": None if frame.pts is None else round(frame.pts, 6),
        "inference_s": round(result.infer_end - result.infer_start, 4),
        **result.detections.to_dict(),
    }
    if result.zones is not None:
        content["zones"] = result.zones
    return content


def gap_message(stream: str, reason: str) -> dict[str, Any]:
    """Return a gap in a stream as a message of kind `gap`; `time` is the current time."""
    return json_message("gap", {"stream": stream, "time": _utc(time.time()), "reason": reason})


def to_line(message: dict[str, Any]) -> bytes:
    """Return a message as one line of UTF-8 without a line break; NaN and infinity become null."""
    text = to_json(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
