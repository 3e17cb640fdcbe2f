"""Results to an MQTT broker, a topic per stream."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.address import check_text
from fgd_yolo.streams.sinks import SinkUnavailable
from fgd_yolo.streams.sinks.message import gap_message, result_message, to_line
from fgd_yolo.streams.url import Url, read_url

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_PATIENCE_S = 2.0
_RECONNECT_S = (1, 30)


class MqttSink:
    """Publishes what `message.py` says to TOPIC/STREAM; comes back by itself when the broker does.

    Args:
        url: mqtt://[user:password@]host[:port][/topic], or mqtts:// for TLS; the topic is `fgd_yolo` if absent.
        qos: 0 sends once, 1 waits for the broker's word that it has the message.
    Raises:
        UsageError: the address is none, or the quality of service is another.
        FGDError: paho-mqtt is not installed.
    """

    def __init__(self, url: str, *, qos: int = 0):
        read = _read(url)
        if qos not in (0, 1):
            raise UsageError(f"qos is {qos!r}, but must be 0 or 1")
        try:
            from paho.mqtt import client as mqtt
        except ImportError as error:
            raise FGDError("paho-mqtt is not installed; run pip install 'fgd_yolo[stream]'") from error
        port = read.port or _PORTS[read.scheme]
        self._where = read._replace(port=port).place
        self.name = f"MQTT {self._where}"
        self._topic = unquote(read.rest).strip("/") or "fgd_yolo"
        self._qos = qos
        self._connected, self._refusal = threading.Event(), ""
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if read.user:
            self._client.username_pw_set(unquote(read.user), unquote(read.password))
        if read.scheme == "mqtts":
            self._client.tls_set()
        self._client.reconnect_delay_set(*_RECONNECT_S)
        self._client.max_queued_messages_set(1)  # the queue in front of this sink is the one that counts
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.connect_async(read.host, port, keepalive=10)
        self._client.loop_start()

    def write(self, result: Result) -> None:
        """Publish a result."""
        self._publish(result.frame.stream, result_message(result))

    def gap(self, stream: str, reason: str) -> None:
        """Publish word of a gap."""
        self._publish(stream, gap_message(stream, reason))

    def close(self) -> None:
        """Say goodbye to the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, stream: str, message: dict[str, Any]) -> None:
        if not self._connected.wait(_PATIENCE_S):
            raise SinkUnavailable(f"no broker at {self._where}{self._refusal}")
        sent = self._client.publish(f"{self._topic}/{topic_part(stream)}", to_line(message), self._qos)
        try:
            sent.wait_for_publish(_PATIENCE_S)
        except (RuntimeError, ValueError) as error:  # the connection went between the two lines, or the queue is full
            raise SinkUnavailable(f"the broker at {self._where} went away") from error
        if not sent.is_published():
            raise SinkUnavailable(f"the broker at {self._where} does not answer")

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f" that lets us in: {reason}"
        else:
            self._refusal = ""
            self._connected.set()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected.clear()


def topic_part(stream: str) -> str:
    """Return a stream's name as one level of a topic.

    Example:
        >>> topic_part("yard/#1+2")
        'yard__1_2'
    """
    return re.sub(r"[/#+\x00-\x1f$]", "_", stream) or "_"


def _read(url: str) -> Url:
    rule = "the broker's address must be mqtt://[user:password@]HOST[:PORT][/TOPIC], or mqtts://"
    check_text(url)
    read = read_url(url)
    if read is None or read.scheme not in _PORTS:
        raise UsageError(f"{rule}, with @ as %40 and / as %2F in a password")
    if re.search(r"[?#]", read.rest) or re.search(r"[+#\x00]", unquote(read.rest)):
        raise UsageError(f"{rule}; a topic to publish to has no + and no #")
    return read
