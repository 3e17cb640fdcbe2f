from __future__ import annotations

import pytest

from benchmarks.overload import Overload
from benchmarks.stream_speed import CpuTimes, Rates
from benchmarks.streams import main, overload_table, speed_table


def test_the_pipeline_is_compared_with_bare_threads_and_with_ultralytics():
    lines = speed_table({"a.onnx": Rates(100, 95, 50)}, {"a.onnx": CpuTimes(10, 40)}).split("\n")
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["a.onnx", "100 fps", "95 fps", "0.95", "50 fps", "1.90", "10.0 ms", "40.0 ms", "0.25"]
    assert len({line.count("|") for line in lines}) == 1


def overload(kind: str) -> Overload:
    return Overload(kind, 8, 2.0, 0.97, (37.4, 38.1), (56.2, 57.0), 36.8, 81.0, (200.2, 201.4), (22, 23))


def test_an_overload_is_a_row_of_load_share_and_ages():
    lines = overload_table({"a.onnx": overload("RTSP")}).split("\n")
    assert lines[0].startswith("| RTSP at 30 fps |")
    note = "Ages are counted from the capture of a frame. With one camera alone a frame arrives after 37 ms."
    assert lines[3:] == ["", note]
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    ages = ["37, 38 ms", "56, 57 ms", "81 ms"]
    assert cells == ["a.onnx", "8", "2.00", "0.97", *ages, "200, 201 MB", "22, 23"]
    assert len({line.count("|") for line in lines[:3]}) == 1


def test_an_overload_by_mjpeg_has_it_in_the_header_and_the_reason_below():
    table = overload_table({"a.onnx": overload("MJPEG")})
    assert table.startswith("| MJPEG at 30 fps |")
    assert table.endswith(
        "\n\nMJPEG instead of RTSP: GStreamer's RTSP server is not installed (Debian: "
        "gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-*)."
    )


def test_help_shows_an_example_and_a_bad_number_is_one_clear_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "python -m benchmarks.streams --model student.onnx" in capsys.readouterr().out
    assert main(["--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err
