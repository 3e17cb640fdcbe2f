from __future__ import annotations

from benchmarks.crowd import Overload
from benchmarks.stream_rates import Rates
from benchmarks.streams import crowd_table, table


def test_the_pipeline_is_related_to_the_bound_and_to_the_host():
    lines = table({"a.onnx": Rates(100, 95, 50)}, {"a.onnx": {"pipeline": 10, "host": 40}}).split("\n")
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["a.onnx", "100 fps", "95 fps", "0.95", "50 fps", "1.90", "10.0 ms", "40.0 ms", "0.25"]
    assert len({line.count("|") for line in lines}) == 1


def crowd(kind: str) -> Overload:
    return Overload(kind, 8, 2.0, 0.97, (37.4, 38.1), (56.2, 57.0), 36.8, 81.0, (200.2, 201.4), (22, 23))


def test_too_many_cameras_are_a_row_of_load_share_and_ages():
    lines = crowd_table({"a.onnx": crowd("RTSP")}).split("\n")
    assert lines[0].startswith("| RTSP at 30 fps |")
    assert lines[3:] == ["", "Ages count from the making of a picture. Of one camera alone it arrives after 37 ms."]
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    ages = ["37, 38 ms", "56, 57 ms", "81 ms"]
    assert cells == ["a.onnx", "8", "2.00", "0.97", *ages, "200, 201 MB", "22, 23"]
    assert len({line.count("|") for line in lines[:3]}) == 1


def test_a_crowd_that_is_not_rtsp_is_headed_so_and_explained():
    said = crowd_table({"a.onnx": crowd("MJPEG")})
    assert said.startswith("| MJPEG at 30 fps |")
    assert said.endswith(
        "\n\nMJPEG instead of RTSP: GStreamer's RTSP server is not installed (Debian: "
        "gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-*)."
    )
