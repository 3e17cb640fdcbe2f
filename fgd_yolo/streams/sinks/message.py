"""What a result and a gap look like to other programs: one JSON object each, the same in every sink."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fgd_yolo.strict_json import to_json

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

VERSION = 1
"""Is raised when a key changes its meaning or goes away; new keys may come without."""


def result_message(result: Result) -> dict[str, Any]:
    """Return a result as plain JSON.

    Convention:
        `time` is when the frame arrived, UTC, by the wall clock of now less the frame's age; `age_s` is its age now and
        `inference_s` how long the network took, both by the monotonic clock; `pts_s` is the source's own time. An
        object has the keys of `Detections.to_dict` and, where the stream is tracked, `id`: null while it has none.
    """
    frame = result.frame
    found = result.detections.to_dict()
    if result.ids is not None:
        for thing, track in zip(found["objects"], result.ids, strict=True):
            thing["id"] = int(track) if track >= 0 else None
    age_s = time.monotonic() - frame.arrived
    message = {
        "version": VERSION,
        "kind": "result",
        "stream": frame.stream,
        "index": frame.index,
        "time": _utc(time.time() - age_s),
        "age_s": round(age_s, 4),
        "pts_s": None if frame.pts is None else round(frame.pts, 6),
        "inference_s": round(result.infer_end - result.infer_start, 4),
        **found,
    }
    if result.zones is not None:
        message["zones"] = result.zones
    return message


def gap_message(stream: str, reason: str) -> dict[str, Any]:
    """Return word of a gap in a stream as plain JSON; `time` is now."""
    return {"version": VERSION, "kind": "gap", "stream": stream, "time": _utc(time.time()), "reason": reason}


def to_line(message: dict[str, Any]) -> bytes:
    """Return a message as one line of UTF-8 without its end; numbers that JSON has no word for become null."""
    text = to_json(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
