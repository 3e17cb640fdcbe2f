"""Results to a web address, one POST each."""

from __future__ import annotations

import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.address import check_text
from fgd_yolo.streams.sinks import SinkUnavailable
from fgd_yolo.streams.sinks.message import gap_message, result_message, to_line
from fgd_yolo.streams.url import Url, read_url

if TYPE_CHECKING:
    import httpx

    from fgd_yolo.streams.frame import Result

_TRIES = 3
_FIRST_PAUSE_S = 0.2  # doubles, with up to half more by chance, so that many boxes do not come back together
_ANSWER_BYTES = 64 << 10  # nobody looks at the answer
_BUSY = {408, 425, 429}  # worth another try, like 500 and above


class WebhookSink:
    """Sends what `message.py` says as JSON: every gap, and every result with an object or a zone's event.

    A server that cannot be reached or is busy is tried three times within a second or so; then the result is lost, and
    counted. Proxies are taken from the environment.

    Args:
        url: http:// or https://; `user:password@` becomes basic authentication.
        timeout_s: how long each part of a request may take.
    Raises:
        UsageError: the address is none.
        FGDError: httpx is not installed.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0):
        read = _read(url)
        try:
            import httpx
        except ImportError as error:
            raise FGDError("httpx is not installed; run pip install 'fgd_yolo[stream]'") from error
        logging.getLogger("httpx").setLevel(logging.WARNING)  # below it logs every address with its tokens
        self._httpx = httpx
        self._host, self._timeout_s = read.place, timeout_s
        self.name = f"webhook {self._host}"  # the path and the query may be secrets
        self._url = read.encoded()
        self._client = httpx.Client(timeout=timeout_s, headers={"Content-Type": "application/json"})

    def write(self, result: Result) -> bool:
        """Send a result in which something is; False where nothing is."""
        message = result_message(result)
        if not (message["objects"] or message.get("zones", {}).get("events")):
            return False
        self._post(message)
        return True

    def gap(self, stream: str, reason: str) -> None:
        """Send word of a gap."""
        self._post(gap_message(stream, reason))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _post(self, message: dict[str, Any]) -> None:
        body = to_line(message)
        for pause_s in [_FIRST_PAUSE_S * 2**number for number in range(_TRIES - 1)] + [None]:
            trouble = self._try(body)
            if trouble is None:
                return
            if pause_s is not None:
                time.sleep(pause_s * random.uniform(1, 1.5))
        raise SinkUnavailable(f"{self._host} {trouble}, {_TRIES} times")

    def _try(self, body: bytes) -> str | None:
        """Send once; return what is wrong if that may pass."""
        try:
            with self._client.stream("POST", self._url, content=body) as answer:
                status = answer.status_code
                with suppress(self._httpx.TransportError):  # what was sent has arrived
                    self._take(answer)
        except self._httpx.TransportError as error:
            return f"cannot be reached ({type(error).__name__})"
        if 200 <= status < 300:
            return None
        if status in _BUSY or status >= 500:
            return f"answers {status}"
        raise FGDError(f"{self._host} refuses what it is sent: it answers {status}; check the address of the webhook")

    def _take(self, answer: httpx.Response) -> None:
        """Read a short answer, after which the connection serves the next request; a longer one is cut off."""
        until, taken = time.monotonic() + self._timeout_s, 0
        for part in answer.iter_raw():
            taken += len(part)
            if taken > _ANSWER_BYTES or time.monotonic() > until:
                return


def _read(url: str) -> Url:
    check_text(url)
    read = read_url(url)
    if read is None or read.scheme not in ("http", "https"):
        raise UsageError(
            "the webhook's address must be http://HOST/... or https://HOST/..., "
            "with @ as %40 and / as %2F in a password"
        )
    return read
