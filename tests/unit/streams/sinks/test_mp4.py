from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.sinks import SinkUnavailable, mp4
from fgd_yolo.streams.sinks.mp4 import Mp4Sink
from stream_results import make_result


def grey_image(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return an image whose grey level identifies the frame."""
    return np.full((height, width, 3), 20 + 8 * index, np.uint8)


def shot(index: int, time_s: float | None = None, stream: str = "door", arrived: float | None = None, **size: int):
    return make_result(stream, index, (), image=grey_image(index, **size), pts=time_s, arrived=arrived)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.mp4"), key=lambda path: (path.parent, path.stat().st_mtime_ns, len(path.name)))


def frames(path: Path) -> list[tuple[float, float]]:
    """Return the time of each frame, and its grey level as it was drawn."""
    with av.open(str(path)) as file:
        # Brightness is stored from 16 to 235.
        return [(frame.time, (frame.to_ndarray()[:2].mean() - 16) * 255 / 219) for frame in file.decode(video=0)]


def boxes(path: Path) -> list[str]:
    """Return the kinds of the file's boxes."""
    data, place, kinds = path.read_bytes(), 0, []
    while place < len(data):
        kinds.append(data[place + 4 : place + 8].decode())
        place += int.from_bytes(data[place : place + 4], "big")
    return kinds


def record(folder: Path, shots: list, **options) -> list[Path]:
    sink = Mp4Sink(folder, annotated=False, **options)
    for one in shots:
        sink.write(one)
    sink.close()
    return files(folder)


@pytest.mark.parametrize("times", [[0, 0.04, 0.08, 0.5, 2.75, 2.76], [1001 * n / 30_000 + 77 for n in range(12)]])
def test_frames_keep_their_own_times(tmp_path, times):
    [path] = record(tmp_path, [shot(index, time_s) for index, time_s in enumerate(times)])
    recorded = frames(path)
    assert [time_s for time_s, _ in recorded] == pytest.approx([time_s - times[0] for time_s in times], abs=1 / 60_000)
    assert [grey for _, grey in recorded] == pytest.approx([20 + 8 * index for index in range(len(times))], abs=2.5)


def test_a_source_without_times_is_recorded_at_its_arrivals(tmp_path):
    [path] = record(tmp_path, [shot(index, arrived=500 + 0.3 * index**2) for index in range(5)])
    assert [time_s for time_s, _ in frames(path)] == pytest.approx([0.3 * index**2 for index in range(5)], abs=2e-5)


def test_a_finished_file_is_a_regular_h264_mp4_with_a_duration(tmp_path):
    [path] = record(tmp_path, [shot(index, index / 10) for index in range(20)])
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 64, 48)
        assert stream.frames == 20
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.15)
    assert boxes(path) == ["ftyp", "free", "mdat", "moov"]


def test_there_is_a_keyframe_every_two_seconds(tmp_path):
    [path] = record(tmp_path, [shot(index % 20, index / 5) for index in range(31)])
    with av.open(str(path)) as file:
        starts = [float(packet.pts * packet.time_base) for packet in file.demux(video=0) if packet.is_keyframe]
    assert starts == pytest.approx([0, 2, 4, 6])


def test_frames_with_the_same_time_follow_each_other(tmp_path):
    [path] = record(tmp_path, [shot(index, time_s) for index, time_s in enumerate([1.0, 1.0, 0.9, 1.2])])
    times = [time_s for time_s, _ in frames(path)]
    assert len(times) == 4 and times == sorted(set(times)) and times[3] == pytest.approx(0.2, abs=1e-4)


def test_a_gap_a_new_size_a_clock_set_back_and_a_long_file_begin_a_new_one(tmp_path):
    sink = Mp4Sink(tmp_path, annotated=False, segment_s=5)
    sink.write(shot(0, 0.0))
    sink.write(shot(1, 0.1))
    sink.gap("door", "refused")
    sink.gap("never seen", "refused")
    sink.write(shot(2, 0.2))
    sink.write(shot(3, 0.3, height=96))
    sink.write(shot(4, 9.0, height=96))  # far off, but without a gap: it is the same scene
    sink.write(shot(5, 9.1, height=96))
    sink.write(shot(6, 1.0, height=96))
    sink.write(shot(7, height=96))
    sink.close()
    greys = [[round((grey - 20) / 8) for _, grey in frames(path)] for path in files(tmp_path)]
    assert greys == [[0, 1], [2], [3, 4], [5], [6], [7]]


def test_first_frames_without_a_time_are_in_the_same_file_as_those_that_follow(tmp_path):
    sink = Mp4Sink(tmp_path, annotated=False)
    for connection in (0, 4):
        sink.gap("door", "refused")
        # The later ones arrive at times other than their own.
        for index, (time_s, arrived) in enumerate([(None, 500), (70.0, 500.04), (70.04, 500.9), (70.1, 501.8)]):
            sink.write(shot(connection + index, time_s, arrived=arrived + connection))
    sink.close()
    recorded = [frames(path) for path in files(tmp_path)]
    assert [round((one[0][1] - 20) / 8) for one in recorded] == [0, 4]
    assert [[time_s for time_s, _ in one] for one in recorded] == [pytest.approx([0, 0.04, 0.08, 0.14], abs=1e-4)] * 2


def test_each_stream_has_its_own_files(tmp_path):
    shots = [shot(index, index / 10, stream) for index in range(4) for stream in ("door", "yard")]
    paths = record(tmp_path, shots)
    assert [path.parent.name for path in paths] == ["door", "yard"]
    assert [len(frames(path)) for path in paths] == [4, 4]


def test_an_odd_size_loses_one_row_and_column(tmp_path):
    [path] = record(tmp_path, [shot(index, index / 10, height=49, width=67) for index in range(3)])
    with av.open(str(path)) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (66, 48)
    assert len(frames(path)) == 3


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (1, 64), (2, 2), (3, 1)])
def test_a_frame_of_one_row_or_column_is_recorded_with_two(tmp_path, monkeypatch, height, width, encoder):
    monkeypatch.setattr(mp4, "encoder_name", lambda: encoder)
    size = {"height": height, "width": width}
    [path] = record(tmp_path, [shot(index, index / 10, **size) for index in range(4)])
    with av.open(str(path)) as file:
        sizes = [(frame.height, frame.width) for frame in file.decode(video=0)]
    assert sizes == [tuple(max(2, side // 2 * 2) for side in (height, width))] * 4
    assert [grey for _, grey in frames(path)] == pytest.approx([20, 28, 36, 44], abs=2.5)


def test_a_frame_of_one_pixel_is_annotated_and_recorded(tmp_path):
    sink = Mp4Sink(tmp_path)
    for index in range(3):
        sink.write(make_result("dot", index, ((1, 0.9, (0, 0, 1, 1)),), image=grey_image(index, 1, 1), pts=index / 10))
    sink.close()
    assert [time_s for time_s, _ in frames(files(tmp_path)[0])] == pytest.approx([0, 0.1, 0.2], abs=1e-4)


def test_detections_are_drawn_unless_plain_frames_are_requested(tmp_path):
    result = make_result(objects=((1, 0.9, (10, 20, 50, 44)),), image=np.full((48, 64, 3), 90, np.uint8), pts=0.0)
    spread = {}
    for annotated in (True, False):
        folder = tmp_path / str(annotated)
        sink = Mp4Sink(folder, annotated=annotated)
        sink.write(result)
        sink.close()
        with av.open(str(files(folder)[0])) as file:
            spread[annotated] = next(file.decode(video=0)).to_ndarray(format="bgr24").std()
    assert spread[True] > 20 and spread[False] < 2


def test_without_x264_the_encoder_is_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(mp4, "encoder_name", lambda: "mpeg4")
    times = [0, 0.04, 0.5, 2.75]
    [path] = record(tmp_path, [shot(index, time_s) for index, time_s in enumerate(times)])
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.name == "mpeg4"
    assert [time_s for time_s, _ in frames(path)] == pytest.approx(times, abs=2e-5)


def test_the_encoder_is_x264_if_it_is_available():
    assert mp4.encoder_name() == "libx264"


def test_all_recordings_stay_below_the_cap_although_one_file_would_not(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "foreign.mp4").write_bytes(bytes(500_000))
    sink = Mp4Sink(tmp_path, disk_mb=0.2, annotated=False)
    largest = 0
    for index in range(120):
        noise = random.integers(0, 255, (96, 128, 3), dtype=np.uint8)
        sink.write(make_result(("door", "yard")[index % 2], index, (), image=noise, pts=index / 4))
        own = [path.stat().st_size for path in tmp_path.glob("*/*.mp4")]
        largest = max(largest, sum(own))
    sink.close()
    assert 0.5 * 0.2 * 2**20 < largest < 1.3 * 0.2 * 2**20
    assert (tmp_path / "foreign.mp4").exists()
    newest = [files(tmp_path / stream)[-1] for stream in ("door", "yard")]
    assert all(frames(path) for path in newest)


def test_a_file_that_cannot_be_started_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(mp4, "encoder_name", lambda: "no such encoder")
    sink = Mp4Sink(tmp_path, annotated=False)
    with pytest.raises(KeyError):
        sink.write(shot(0, 0.0))
    sink.close()
    assert files(tmp_path) == []


def test_a_disk_that_is_full_for_a_moment_leaves_a_file_that_plays(tmp_path):
    random = np.random.default_rng(0)
    sink = Mp4Sink(tmp_path, annotated=False)

    def shoot(index: int) -> None:
        noise = random.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        sink.write(make_result("door", index, (), image=noise, pts=index / 25))

    for index in range(40):
        shoot(index)
    output = sink._open["door"]._output
    output._file = FullForAMoment(output._file)
    with pytest.raises(OSError, match="No space left"):
        for index in range(40, 80):
            shoot(index)
    with pytest.raises(SinkUnavailable, match="recording paused"):
        shoot(80)
    sink.close()
    [path] = files(tmp_path)
    assert 26 <= len(frames(path)) <= 40


def test_a_file_without_a_complete_frame_is_removed(tmp_path):
    sink = Mp4Sink(tmp_path, annotated=False)
    random = np.random.default_rng(0)
    with pytest.raises(OSError, match="No space left"):
        for index in range(40):
            noise = random.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            sink.write(make_result("door", index, (), image=noise, pts=index / 25))
            output = sink._open["door"]._output
            if index == 0:
                output._file = FullForAMoment(output._file)
    sink.close()
    assert files(tmp_path) == []


def test_a_frame_that_cannot_be_encoded_leaves_no_file(tmp_path):
    sink = Mp4Sink(tmp_path, annotated=False)
    with pytest.raises((ValueError, av.FFmpegError)):
        sink.write(shot(0, 0.0, height=2, width=20_000))  # H.264 ends at 16384
    sink.write(shot(1, 0.1, "yard"))
    sink.close()
    assert [path.parent.name for path in files(tmp_path)] == ["yard"]


class FullForAMoment:
    """A file whose first large write fails half way; smaller writes before and after it succeed."""

    def __init__(self, file):
        self._file, self._full = file, True

    def write(self, data) -> int:
        if self._full and len(data) > 5000:
            self._full = False
            self._file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_missing_pyav_is_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FGDError, match=r"av is not installed; run pip install 'fgd_yolo\[stream\]'"):
        Mp4Sink(tmp_path)
