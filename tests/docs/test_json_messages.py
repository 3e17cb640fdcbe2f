"""The page of the JSON messages against real messages: every key is in its table with its type, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from doc_pages import page_names, read_page
from fgd_yolo.json_message import KINDS, VERSION
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.predict import predict
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.sinks.collect import CollectSink
from fgd_yolo.streams.sinks.json_lines import JsonLinesSink
from fgd_yolo.streams.sinks.message import gap_message, result_message
from fgd_yolo.streams.steps.tracking import ObjectTracker
from fgd_yolo.streams.steps.zones import ZoneCounter, parse_layout
from fgd_yolo.streams.web import create_app
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.status import StatusReport
from fgd_yolo.streams.web.stream_control import StreamControl
from onnx_files import save_detector
from stream_results import make_result
from stream_world import until
from web_pipeline import WebClient

PAGE = (Path(__file__).parents[2] / "docs/reference/json.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^##+ ([\w ]+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|[^|]*\|[^|]+\|$", re.MULTILINE)
TABLES = {name: dict(ROW.findall(text)) for name, text in SECTIONS.items()}
SIMPLE = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


class Checker:
    """Checks values against the types of the page, and collects the keys that it has seen.

    Convention:
        A type is `string`, `integer`, `number`, `boolean`, `array of TYPE`, `map of WORD to TYPE` or a link to the
        section whose table lists the keys; `or null` may follow, and `optional` precede it.
    """

    def __init__(self):
        self.seen: set[tuple[str, str]] = set()

    def check(self, value, kind: str, where: str) -> None:
        """Fail if a value is not of a type; `where` names it in the failure."""
        if kind.endswith(" or null") and not kind.startswith(("array", "map")) and value is None:
            return
        word, _, item = kind.removesuffix(" or null").partition(" of ")
        if word == "array":
            assert isinstance(value, list), where
            for index, one in enumerate(value):
                self.check(one, kind.partition(" of ")[2], f"{where}[{index}]")
        elif word == "map":
            assert isinstance(value, dict), where
            for name, one in value.items():
                self.check(one, item.partition(" to ")[2], f"{where}.{name}")
        elif word.startswith("["):
            self.check_object(value, re.fullmatch(r"\[(\w+)\]\(#\1\)", word)[1], where)
        else:
            assert isinstance(value, SIMPLE[word]), f"{where} is {value!r} instead of {kind}"
            assert word == "boolean" or not isinstance(value, bool), where

    def check_object(self, value: dict, section: str, where: str) -> None:
        """Fail if an object has a key that its table lacks, or lacks a key that is not optional."""
        table = TABLES[section]
        required = {key for key, kind in table.items() if not kind.startswith("optional ")}
        assert required <= value.keys() <= table.keys(), f"{where}: {value.keys() ^ required}"
        for key, one in value.items():
            self.seen.add((section, key))
            self.check(one, table[key].removeprefix("optional "), f"{where}.{key}")

    def check_message(self, message: dict) -> None:
        """Fail if a message is not as its kind is described."""
        assert message["version"] == VERSION
        self.check_object(message, message["kind"], message["kind"])


def images(folder: Path) -> list[dict]:
    """Return a message of `predict`, and one of detections with every array."""
    cv2.imwrite(str(folder / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    detector = OnnxDetector(save_detector(folder / "detector.onnx"), "cpu")
    predict(detector, [folder / "a.png"], json_path=folder / "out.jsonl")
    complete = Detections(
        np.float32([[8, 8, 24, 20]]),
        np.float32([0.9]),
        np.array([0]),
        {0: "disc"},
        (48, 64),
        mask=np.ones((1, 48, 64), bool),
        keypoints=np.ones((1, 2, 3), np.float32),
        xywhr=np.float32([[16, 14, 16, 12, 0]]),
        tracker_id=np.array([1]),
    )
    return [json.loads((folder / "out.jsonl").read_text()), json.loads(complete.to_json())]


def results() -> list[dict]:
    """Return the messages of a stream with an object that crosses a line and leaves a zone."""
    layout = parse_layout(
        {"zones": {"yard": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}, "lines": {"gate": [[32, 0], [32, 48]]}}
    )
    steps = [ObjectTracker(), ZoneCounter({None: layout})]
    messages = [result_message(make_result())]
    for index in range(20):
        result = make_result("door", index, ((1, 0.9, (2 * index, 8, 2 * index + 16, 24)),), pts=index / 10)
        for step in steps:
            step(result)
        messages.append(result_message(result))
    events = {event["event"] for message in messages[1:] for event in message["zones"]["events"]}
    assert events >= {"entered", "left"} and events & {"to_left", "to_right"}
    return messages


def collected(folder: Path) -> list[dict]:
    """Return the messages beside the frames that were kept of a tracked stream with a zone, and of one without."""
    layout = parse_layout({"zones": {"yard": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}})
    (folder / "best.onnx").write_bytes(b"")
    sink = CollectSink(folder / "frames", model=folder / "best.onnx")
    tracked, plain = (
        make_result("door"),
        make_result("yard", image=np.tril(np.full((48, 64), 255, np.uint8))[..., None].repeat(3, 2)),
    )
    for step in (ObjectTracker(), ZoneCounter({None: layout})):
        step(tracked)
    assert sink.write(tracked) and sink.write(plain)
    return [json.loads(path.read_text()) for path in sorted((folder / "frames").rglob("*.json"))]


def web(folder: Path) -> list[dict]:
    """Return the messages of a pipeline that runs, and of its page."""
    frames = LatestFrames()
    detector = OnnxDetector(save_detector(folder / "web.onnx"), "cpu")
    sinks = [JsonLinesSink(folder / "web.jsonl"), CollectSink(folder / "web", limit_mb=0.02, per_hour=10_000)]
    pipeline = Pipeline(detector, sinks, observers=[frames])
    pipeline.add("test://", "gate")
    pipeline.add("test://", "gone")
    client = WebClient(create_app(pipeline, frames))
    with pipeline:
        until(lambda: all(one["inferred"] > 1 for one in pipeline.stats()["streams"].values()))
        pipeline.remove("gone")
        until(lambda: "stopped" in pipeline.stats()["sinks"][1])
        responses = [
            client.post("/streams", json={"address": "test://", "name": "yard"}),
            client.post("/streams/stop", json={"name": "yard"}),
            client.post("/streams/stop", json={"name": "nobody"}),
            client.get("/nowhere"),
            client.get("/stats"),
            client.get("/readyz"),
        ]
        control = StreamControl(pipeline, {})
        status = StatusReport(pipeline, frames, control, deadline_s=5).for_page()
        return [response.json() for response in responses] + [status, pipeline.stats()]


@pytest.fixture(scope="module")
def messages(tmp_path_factory) -> list[dict]:
    """Real messages of every kind."""
    folder = tmp_path_factory.mktemp("messages")
    return [*images(folder), *results(), gap_message("door", "refused"), *collected(folder), *web(folder)]


def test_the_page_describes_every_kind_of_message_and_no_other(messages):
    listed = re.findall(r"^\| \[`(\w+)`\]\(#\1\) \|", PAGE, re.MULTILINE)
    assert listed == list(KINDS)
    assert {message["kind"] for message in messages} == set(KINDS)


def test_every_key_of_real_messages_is_described_with_its_type_and_no_other_key_is(messages):
    checker = Checker()
    for message in messages:
        checker.check_message(message)
    assert checker.seen == {(section, key) for section, table in TABLES.items() for key in table}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_an_example_that_is_as_described(kind):
    (example,) = re.findall(r"```json\n(.*?)```", SECTIONS[kind], re.DOTALL)
    message = json.loads(example)
    assert message["kind"] == kind
    Checker().check_message(message)


def test_messages_on_all_pages_are_as_described():
    blocks = [block for name in page_names() for block in read_page(name).blocks if block.kind == "json"]
    assert len({block.page for block in blocks}) > 1
    for block in blocks:
        Checker().check_message(json.loads(block.text))


@pytest.mark.parametrize(
    "change", [{"new": 1}, {"reason": 5}, {"reason": None}, {"stream": True}, {"version": 2}, {"kind": "none"}]
)
def test_a_message_that_is_not_as_described_is_noticed(change):
    with pytest.raises((AssertionError, KeyError)):
        Checker().check_message(gap_message("door", "refused") | change)
