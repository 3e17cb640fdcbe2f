from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.sinks import SinkQueue, SinkUnavailable
from fgd_yolo.streams.sinks.mqtt import MqttSink, topic_part
from stream_results import LONG_S, make_result

pytestmark = pytest.mark.slow


class Broker:
    """Mosquitto on a free port, with one user; it ends by itself after a while."""

    def __init__(self, folder: Path, password: str = "hunter2"):
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if not program:
            pytest.skip("mosquitto is not installed: apt-get install mosquitto")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        passwords = folder / "passwords"
        subprocess.run(
            [shutil.which("mosquitto_passwd") or "mosquitto_passwd", "-b", "-c", passwords, "user", password],
            check=True, capture_output=True,
        )  # fmt: skip
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
        )
        self._command = ["timeout", "120", program, "-c", str(config)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(LONG_S)

    def url(self, topic: str = "/site/yard", password: str = "hunter2") -> str:
        return f"mqtt://user:{password}@127.0.0.1:{self.port}{topic}"

    def listen(self) -> tuple[object, queue.Queue]:
        """Return a client that is subscribed to everything, and the queue of (topic, message, qos) that it fills."""
        from paho.mqtt import client as mqtt

        inbox: queue.Queue = queue.Queue()
        ready = threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.username_pw_set("user", "hunter2")
        client.on_connect = lambda client, *_: client.subscribe("#", 1)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda client, data, sent: inbox.put((sent.topic, json.loads(sent.payload), sent.qos))
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert ready.wait(LONG_S)
        self.ready = ready
        return client, inbox


@pytest.fixture
def broker(tmp_path):
    started = Broker(tmp_path)
    yield started
    started.stop()


@pytest.mark.parametrize("qos", [0, 1])
def test_a_broker_gets_results_and_gaps_on_a_topic_per_stream(broker, qos):
    client, inbox = broker.listen()
    sink = MqttSink(broker.url(), qos=qos)
    sink.write(make_result("door", 1))
    sink.write(make_result("gate/#1", 2, objects=()))
    sink.gap("door", "refused")
    sink.close()
    messages = [inbox.get(timeout=LONG_S) for _ in range(3)]
    client.loop_stop()
    assert [(topic, level) for topic, _, level in messages] == [
        ("site/yard/door", qos),
        ("site/yard/gate__1", qos),
        ("site/yard/door", qos),
    ]
    assert [message["kind"] for _, message, _ in messages] == ["result", "result", "gap"]
    assert messages[0][1]["objects"][0]["class_name"] == "block"


def test_a_broker_that_goes_away_and_comes_back_is_used_again(broker, monkeypatch):
    monkeypatch.setattr("fgd_yolo.streams.sinks.mqtt._TIMEOUT_S", 0.3)
    sink = MqttSink(broker.url(), qos=1)
    wait_until(lambda: try_write(sink))
    broker.stop()
    wait_until(lambda: not try_write(sink))
    with pytest.raises(SinkUnavailable, match=f"^no broker at 127.0.0.1:{broker.port}$"):
        sink.write(make_result())
    broker.start()
    wait_until(lambda: try_write(sink))
    client, inbox = broker.listen()
    wait_until(lambda: try_write(sink, index=99))
    while inbox.get(timeout=LONG_S)[1]["index"] != 99:
        pass
    client.loop_stop()
    sink.close()


def test_a_wrong_password_is_reported_without_the_password(broker, monkeypatch, capfd):
    monkeypatch.setattr("fgd_yolo.streams.sinks.mqtt._TIMEOUT_S", 2.0)
    sink = SinkQueue(MqttSink(broker.url(password="swordfish")))
    sink.put(make_result())
    assert sink.close(LONG_S)
    output = capfd.readouterr().err
    assert f"the broker at 127.0.0.1:{broker.port} refuses the connection: Not authorized" in output
    assert "swordfish" not in output and "swordfish" not in sink.name


@pytest.mark.parametrize("password", ["p@ss/w#rd?", "a:b/c", "two words"])
def test_a_password_that_is_not_percent_encoded_opens_the_broker(tmp_path, password):
    broker = Broker(tmp_path, password)
    sink = SinkQueue(MqttSink(broker.url(password=password), qos=1))
    sink.put(make_result())
    wait_until(lambda: sink.snapshot()["written"] == 1)
    assert sink.close(LONG_S)
    assert sink.name == f"MQTT 127.0.0.1:{broker.port}"
    broker.stop()


def test_an_unreachable_broker_is_reported_and_closing_takes_bounded_time(capfd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sink = SinkQueue(MqttSink(f"mqtt://127.0.0.1:{port}"))
    sink.put(make_result())
    assert sink.close(LONG_S)
    assert f"1 of 1 results were lost: no broker at 127.0.0.1:{port}" in capfd.readouterr().err
    assert sink.snapshot()["dropped"] == {"error": 1}


def test_a_broker_that_is_down_at_the_end_is_reported_with_the_lost_results(broker, capfd):
    sink = SinkQueue(MqttSink(broker.url()))
    sink.put(make_result())
    wait_until(lambda: sink.snapshot()["written"] == 1)
    broker.stop()
    for index in range(1, 40):
        sink.put(make_result(index=index))
    sink.close(4.5)
    counted, output = sink.snapshot(), capfd.readouterr().err
    lost = sum(counted["dropped"].values())
    assert counted["written"] + lost == 40
    assert f"{lost} of 40 results were lost: no broker at 127.0.0.1:{broker.port}" in output
    assert "did not stop" not in output


@pytest.mark.parametrize(
    "url", ["http://x", "mqtt://", "mqtt://x:port", "mqtt://x/a/+/b", "mqtt://x/a#b", "mqtt://x/a%23", "mqtt://x/a?b=c"]
)
def test_an_invalid_broker_address_is_refused(url):
    with pytest.raises(UsageError, match=r"must be mqtt://"):
        MqttSink(url)
    with pytest.raises(UsageError, match="qos must be 0 or 1, got 2"):
        MqttSink("mqtt://127.0.0.1", qos=2)


def test_a_streams_name_is_one_level_of_a_topic():
    assert [topic_part(name) for name in ("a/b", "a#+", "$SYS", "", "Tür 1")] == ["a_b", "a__", "_SYS", "_", "Tür 1"]


def try_write(sink, index: int = 0) -> bool:
    try:
        sink.write(make_result(index=index))
    except SinkUnavailable:
        return False
    return True


def wait_until(condition) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
