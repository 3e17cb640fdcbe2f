"""A sink that sends each result as a POST request."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, UsageError, not_installed
from fgd_yolo.streams.address import check_text
from fgd_yolo.streams.sinks.message import gap_message, result_message, to_line
from fgd_yolo.streams.sinks.sink import SinkUnavailable
from fgd_yolo.streams.url import Url, try_parse_url

if TYPE_CHECKING:
    import httpx

    from fgd_yolo.streams.frame import Result
    from fgd_yolo.streams.stream_options import RunOptions

_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.2  # doubles; up to half of it is added at random, so that many machines do not retry together
_MAX_RESPONSE_BYTES = 64 << 10  # the content is not used
_RETRY_STATUS = {408, 425, 429}  # as are 500 and above


class WebhookSink:
    """Sends every gap, and every result with an object or a zone event, in the format of `message.py`.

    If the server cannot be reached or is busy, a request is sent up to three times within about a second; then the
    result is lost and counted. Proxies are taken from the environment.

    Args:
        url: http:// or https://; `user:password@` is sent as basic authentication.
        timeout_s: limit for each phase of a request.
    Raises:
        UsageError: the address is invalid.
        FGDError: httpx is not installed.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0):
        address = _parse_address(url)
        try:
            import httpx
        except ImportError as error:
            raise not_installed("httpx", "stream") from error
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs every address, with the tokens in it
        self._httpx = httpx
        self._host, self._timeout_s = address.host_port, timeout_s
        self.name = f"webhook {self._host}"  # the path and the query may hold secrets
        self._url = address.encoded()
        self._client = httpx.Client(timeout=timeout_s, headers={"Content-Type": "application/json"})

    @classmethod
    def from_options(cls, options: RunOptions, stop_run: Callable[[], object]) -> WebhookSink:
        """Open the webhook of `--webhook`."""
        return cls(options.webhook)

    def write(self, result: Result) -> bool:
        """Send a result with objects or zone events; return False if it has neither."""
        message = result_message(result)
        if not (message["objects"] or message.get("zones", {}).get("events")):
            return False
        self._post(message)
        return True

    def gap(self, stream: str, reason: str) -> None:
        """Send a gap."""
        self._post(gap_message(stream, reason))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _post(self, message: dict[str, Any]) -> None:
        body = to_line(message)
        for pause_s in [_FIRST_PAUSE_S * 2**number for number in range(_ATTEMPTS - 1)] + [None]:
            failure = self._send(body)
            if failure is None:
                return
            if pause_s is not None:
                time.sleep(pause_s * random.uniform(1, 1.5))
        raise SinkUnavailable(f"{self._host} {failure}, {_ATTEMPTS} times")

    def _send(self, body: bytes) -> str | None:
        """Send once; return the failure if a retry may help."""
        try:
            with self._client.stream("POST", self._url, content=body) as response:
                status = response.status_code
                with suppress(self._httpx.TransportError):  # the request itself was delivered
                    self._read_body(response)
        except self._httpx.TransportError as error:
            return f"cannot be reached ({type(error).__name__})"
        if 200 <= status < 300:
            return None
        if status in _RETRY_STATUS or status >= 500:
            return f"responds with status {status}"
        raise FGDError(f"{self._host} rejects the request with status {status}; check the address of the webhook")

    def _read_body(self, response: httpx.Response) -> None:
        """Read the body, so that the connection can be reused; stop if it is too long or too slow."""
        deadline, received = time.monotonic() + self._timeout_s, 0
        for part in response.iter_raw():
            received += len(part)
            if received > _MAX_RESPONSE_BYTES or time.monotonic() > deadline:
                return


def _parse_address(url: str) -> Url:
    check_text(url)
    address = try_parse_url(url)
    if address is None or address.scheme not in ("http", "https"):
        raise UsageError(
            "the webhook's address must be http://HOST/... or https://HOST/..., "
            "with @ as %40 and / as %2F in a password"
        )
    return address
