from __future__ import annotations

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams import sinks as sinks_module
from fgd_yolo.streams.sinks import SINKS, open_sinks
from fgd_yolo.streams.stream_options import RunOptions
from stream_results import Recorder


def test_each_row_of_the_table_is_an_option_of_a_run_that_is_off_by_default():
    options = RunOptions(model="best.onnx")
    assert set(SINKS) <= set(RunOptions.model_fields)
    assert open_sinks(options, print) == []


def test_the_sinks_that_are_asked_for_are_opened_with_the_options_of_the_run(tmp_path):
    lines = tmp_path / "results.jsonl"
    options = RunOptions(model="best.onnx", json=lines, save=tmp_path / "clips", webhook="http://127.0.0.1:9/hook")
    opened = open_sinks(options, print)
    for sink in opened:
        sink.close()
    assert [sink.name for sink in opened] == [f"JSON lines {lines}", f"MP4 {tmp_path / 'clips'}", "webhook 127.0.0.1:9"]


def test_sinks_that_are_open_are_closed_if_a_later_one_cannot_be_opened(monkeypatch):
    first = Recorder()

    def unavailable(options, stop_run):
        raise FGDError("not available")

    table = {"json_lines": lambda options, stop_run: first, "show": unavailable}
    monkeypatch.setattr(sinks_module, "SINKS", table)
    with pytest.raises(FGDError, match="not available"):
        open_sinks(RunOptions(model="best.onnx", json="-", show=True), print)
    assert first.closed.is_set()
