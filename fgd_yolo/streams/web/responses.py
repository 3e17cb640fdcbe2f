"""Responses with a JSON message, which has a version and a kind as all messages do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from fgd_yolo.json_message import json_message


def json_response(
    kind: str, content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a response with a message of a kind; see `json_message`."""
    return JSONResponse(json_message(kind, content), status, headers)


def error_response(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response to a request that was refused or failed."""
    return json_response("error", {"error": reason}, status, headers)
