from __future__ import annotations

import os
from pathlib import Path

import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.sinks.segments import LEDGER, Segments, safe_name

NOON = 1_800_014_400.0  # 2027-01-15 12:00:00 UTC
CAP_MB = 1000 / (1 << 20)


def record(segments: Segments, size: int, second: int = 0, in_use: int = 0) -> Path:
    path = segments.new("door", NOON + second)
    path.write_bytes(bytes(size))
    segments.finish(path)
    segments.trim(in_use)
    return path


def test_a_folder_gets_a_folder_per_stream_and_a_file_per_time(tmp_path):
    path = Segments(tmp_path / "clips").new("door", NOON)
    assert path == tmp_path / "clips/door/20270115T120000Z.mp4" and path.is_file()


def test_the_placeholders_of_a_pattern_are_replaced(tmp_path):
    segments = Segments(tmp_path / "{time}-{stream}.mp4")
    assert segments.new("yard", NOON).name == "20270115T120000Z-yard.mp4"
    assert Segments(tmp_path / "out.mp4").new("yard", NOON) == tmp_path / "out.mp4"


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out.mp4").write_text("precious")
    segments = Segments(tmp_path / "out.mp4")
    assert [segments.new("door", NOON).name for _ in range(2)] == ["out-2.mp4", "out-3.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "precious"


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("..", "stream"),
        ("/", "stream"),
        ("", "stream"),
        (".hidden", "hidden"),
        ("a\0b\nc\\d", "a_b_c_d"),
        ("Tür 1", "Tür_1"),
        ("{time}", "time"),
    ],
)
def test_a_streams_name_cannot_lead_out_of_the_folder(tmp_path, stream, name):
    assert safe_name(stream) == name
    path = Segments(tmp_path / "{stream}.mp4").new(stream, NOON)
    assert path.parent == tmp_path and path.name == f"{name}.mp4"


def test_a_file_name_has_no_password_and_is_not_too_long(tmp_path):
    assert "hunter2" not in safe_name("rtsp://admin:hunter2@10.0.0.7/cam")
    assert Segments(tmp_path / "{stream}.mp4").new("ü" * 300, NOON).is_file()


@pytest.mark.parametrize("pattern", ["{name}.mp4", "{stream.mp4", "{}.mp4", "{stream.__class__}.mp4", "{0}/x.mp4"])
def test_another_placeholder_is_refused(tmp_path, pattern):
    with pytest.raises(UsageError, match=r"may hold \{stream\} and \{time\}"):
        Segments(tmp_path / pattern)


def test_a_folder_that_cannot_be_created_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FGDError, match=r"cannot record to .*; name another folder"):
        Segments(tmp_path / "file" / "clips")


def test_the_oldest_recordings_make_room(tmp_path):
    segments = Segments(tmp_path, CAP_MB)
    paths = [record(segments, 400, second) for second in range(4)]
    assert [path.exists() for path in paths] == [False, False, True, True]
    segments.trim(in_use_bytes=300)
    assert [path.exists() for path in paths] == [False, False, False, True]
    segments.trim(in_use_bytes=600)
    assert paths[3].exists()  # exactly the cap
    segments.trim(in_use_bytes=5000)
    assert not paths[3].exists()


def test_a_file_that_cannot_be_added_to_the_ledger_is_not_left_behind(tmp_path):
    segments = Segments(tmp_path, CAP_MB)
    (tmp_path / LEDGER).unlink()
    (tmp_path / LEDGER).mkdir()
    with pytest.raises(IsADirectoryError):
        segments.new("door", NOON)
    assert list(tmp_path.rglob("*.mp4")) == []


def test_recordings_of_earlier_runs_count_and_are_older(tmp_path):
    earlier = [record(Segments(tmp_path, CAP_MB), 400, second) for second in (9, 5)]
    os.utime(earlier[1], (NOON, NOON))
    os.utime(earlier[0], (NOON - 5, NOON - 5))
    segments = Segments(tmp_path, CAP_MB)
    assert record(segments, 400).exists()
    assert [path.exists() for path in earlier] == [False, True]


def test_a_truncated_line_of_the_ledger_affects_no_other_line(tmp_path):
    Segments(tmp_path, CAP_MB)
    (tmp_path / LEDGER).write_text("door/2027")
    earlier = record(Segments(tmp_path, CAP_MB), 400)
    Segments(tmp_path, CAP_MB).trim(10**9)
    assert not earlier.exists()


def test_files_that_are_not_recordings_of_the_sink_are_never_deleted(tmp_path):
    clips = tmp_path / "clips"
    segments = Segments(clips, CAP_MB)
    record(segments, 100)
    foreign = clips / "door" / "20200101T000000Z.mp4"
    outside = tmp_path / "outside.mp4"
    for file in (foreign, outside, clips / "notes.txt"):
        file.write_bytes(bytes(5000))
    (clips / "link.mp4").symlink_to(outside)
    (clips / "away").symlink_to(tmp_path, target_is_directory=True)
    with (clips / LEDGER).open("a") as ledger:
        ledger.write(f"../outside.mp4\n{outside}\nlink.mp4\naway/outside.mp4\nnotes.txt\ndoor\n\nmissing.mp4\n")
    segments = Segments(clips, CAP_MB)
    segments.trim(10**9)
    assert foreign.exists() and outside.exists() and (clips / "notes.txt").exists() and (clips / "link.mp4").exists()
    assert not (clips / "door" / "20270115T120000Z.mp4").exists()


def test_without_a_cap_nothing_is_deleted_and_no_ledger_is_kept(tmp_path):
    segments = Segments(tmp_path)
    path = record(segments, 5000, in_use=10**12)
    assert path.exists() and not (tmp_path / LEDGER).exists()
    capped = Segments(tmp_path, CAP_MB)
    capped.trim(10**12)
    assert path.exists()


def test_a_recording_deleted_by_another_program_is_no_error(tmp_path):
    segments = Segments(tmp_path, CAP_MB)
    gone = record(segments, 600)
    gone.unlink()
    vanished = segments.new("door", NOON + 2)
    vanished.unlink()
    segments.finish(vanished)
    kept = record(segments, 600, second=1)
    assert kept.exists() and kept != gone
