"""What all JSON messages for other programs have in common; `docs/reference/json.md` describes their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERSION = 1
"""Increases when a key changes its meaning or is removed; new keys may be added without an increase."""
KINDS = {
    "image": "the objects on an image: a line of `fgd-yolo predict --json`, `Detections.to_json()`",
    "result": "the objects on a frame of a stream: a line of `--json`, the body of `--webhook`, a payload of `--mqtt`",
    "gap": "frames of a stream are missing here, sent as a `result` is",
    "collected": "the objects on a frame that was kept: the JSON beside a JPEG of `fgd-yolo stream --collect`",
    "stats": "the statistics of all streams: `/stats`, `Pipeline.stats()`",
    "status": "what the page shows, once a second: `/events`",
    "ready": "whether every stream delivers results: `/readyz`",
    "stream": "the stream that was changed: the response to a request to `/streams`",
    "error": "the response to a request that was refused or failed",
}
"""Every kind of message, with where it is found."""


def json_message(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of one of the `KINDS`: its version and kind, then its content."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of message {kind!r}")
    return {"version": VERSION, "kind": kind, **content}
