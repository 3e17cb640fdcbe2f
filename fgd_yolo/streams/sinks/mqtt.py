"""A sink that publishes results to an MQTT broker, on one topic per stream."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fgd_yolo.errors import UsageError, not_installed
from fgd_yolo.streams.address import check_text
from fgd_yolo.streams.sinks.message import gap_message, result_message, to_line
from fgd_yolo.streams.sinks.sink import SinkUnavailable
from fgd_yolo.streams.url import Url, try_parse_url

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result
    from fgd_yolo.streams.stream_options import RunOptions

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TIMEOUT_S = 2.0
_RECONNECT_S = (1, 30)


class MqttSink:
    """Publishes results and gaps to TOPIC/STREAM in the format of `message.py`; reconnects to a lost broker.

    Args:
        url: mqtt://[user:password@]host[:port][/topic], or mqtts:// for TLS; the topic defaults to `fgd_yolo`.
        qos: 0 sends each message once, 1 waits for the broker's acknowledgement.
    Raises:
        UsageError: the address or the quality of service is invalid.
        FGDError: paho-mqtt is not installed.
    """

    def __init__(self, url: str, *, qos: int = 0):
        address = _parse_address(url)
        if qos not in (0, 1):
            raise UsageError(f"qos must be 0 or 1, got {qos!r}")
        try:
            from paho.mqtt import client as mqtt
        except ImportError as error:
            raise not_installed("paho-mqtt", "stream") from error
        port = address.port or _PORTS[address.scheme]
        self._broker = address._replace(port=port).host_port
        self.name = f"MQTT {self._broker}"
        self._topic = unquote(address.rest).strip("/") or "fgd_yolo"
        self._qos = qos
        self._connected, self._refusal = threading.Event(), ""
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if address.user:
            self._client.username_pw_set(unquote(address.user), unquote(address.password))
        if address.scheme == "mqtts":
            self._client.tls_set()
        self._client.reconnect_delay_set(*_RECONNECT_S)
        self._client.max_queued_messages_set(1)  # results wait in the sink's queue, which is bounded and counted
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.connect_async(address.host, port, keepalive=10)
        self._client.loop_start()

    @classmethod
    def from_options(cls, options: RunOptions, stop_run: Callable[[], object]) -> MqttSink:
        """Connect to the broker of `--mqtt`."""
        return cls(options.mqtt)

    def write(self, result: Result) -> None:
        """Publish a result."""
        self._publish(result.frame.stream, result_message(result))

    def gap(self, stream: str, reason: str) -> None:
        """Publish a gap."""
        self._publish(stream, gap_message(stream, reason))

    def close(self) -> None:
        """Disconnect cleanly from the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, stream: str, message: dict[str, Any]) -> None:
        if not self._connected.wait(_TIMEOUT_S):
            raise SinkUnavailable(self._refusal or f"no broker at {self._broker}")
        sent = self._client.publish(f"{self._topic}/{topic_part(stream)}", to_line(message), self._qos)
        try:
            sent.wait_for_publish(_TIMEOUT_S)
        except (RuntimeError, ValueError) as error:  # disconnected in between, or the client's queue is full
            raise SinkUnavailable(f"the connection to the broker at {self._broker} was lost") from error
        if not sent.is_published():
            raise SinkUnavailable(f"the broker at {self._broker} does not respond")

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"the broker at {self._broker} refuses the connection: {reason}"
        else:
            self._refusal = ""
            self._connected.set()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected.clear()


def topic_part(stream: str) -> str:
    """Return a stream's name as one level of a topic: characters with a meaning in topics become `_`.

    Examples:
        >>> topic_part("yard/#1+2")
        'yard__1_2'
    """
    return re.sub(r"[/#+\x00-\x1f$]", "_", stream) or "_"


def _parse_address(url: str) -> Url:
    rule = "the broker's address must be mqtt://[user:password@]HOST[:PORT][/TOPIC], or mqtts://"
    check_text(url)
    address = try_parse_url(url)
    if address is None or address.scheme not in _PORTS:
        raise UsageError(f"{rule}, with @ as %40 and / as %2F in a password")
    if re.search(r"[?#]", address.rest) or re.search(r"[+#\x00]", unquote(address.rest)):
        raise UsageError(f"{rule}; a topic to publish to cannot contain + or #")
    return address
