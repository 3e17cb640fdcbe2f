from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.files import partial_path
from fgd_yolo.streams.sinks.collection import Collection, LimitReachedError

TIME = "2026-11-28T10:39:15.244Z"
WRITER = """
import sys
from pathlib import Path
from fgd_yolo.streams.sinks.collection import Collection
collection = Collection(Path(sys.argv[1]), 1000)
for number in range(10**9):
    collection.add("door", str(number), b"j" * 50_000, b"{}")
    if number == 20:
        print("going", flush=True)
"""
JPEG, JSON = b"j" * 900, b"{}" * 50  # 1000 bytes together


def limited(folder: Path, pairs: float) -> Collection:
    """Return a collection with room for so many frames of 1000 bytes."""
    return Collection(folder, pairs * 1000 / (1 << 20))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_frame_is_a_jpeg_and_a_json_of_the_same_name_in_the_folder_of_its_stream(tmp_path):
    path = Collection(tmp_path / "new", 1).add("front door", TIME, JPEG, JSON)
    assert path == tmp_path / "new/front_door/20261128T103915244Z.jpg"
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == (JPEG, JSON)
    assert len(files(tmp_path)) == 2


def test_names_do_not_collide_with_another_stream_an_earlier_run_or_a_file_that_is_there(tmp_path):
    names = [Collection(tmp_path, 1).add(stream, TIME, JPEG, JSON).name for stream in ("a b", "a_b", "a b")]
    (tmp_path / "a_b" / "20261128T103915244Z-4.json").write_text("precious")
    names.append(Collection(tmp_path, 1).add("a b", TIME, JPEG, JSON).name)
    assert names == [f"20261128T103915244Z{end}.jpg" for end in ("", "-2", "-3", "-5")]
    assert (tmp_path / "a_b" / "20261128T103915244Z-4.json").read_text() == "precious"


def test_a_stream_cannot_lead_out_of_the_folder_and_no_name_has_a_password(tmp_path):
    for stream in ("../../etc", "rtsp://admin:hunter2@10.0.0.7/cam"):
        path = Collection(tmp_path / "kept", 1).add(stream, TIME, JPEG, JSON)
        assert path.parent.parent == tmp_path / "kept" and "hunter2" not in str(path)


def test_the_limit_counts_what_is_in_the_folder_already_and_deletes_nothing(tmp_path):
    first = limited(tmp_path, 3)
    first.add("door", TIME, JPEG, JSON)
    first.add("yard", TIME, JPEG, JSON)
    restarted = limited(tmp_path, 3)
    restarted.add("door", TIME, JPEG, JSON)
    before = files(tmp_path)
    for collection in (restarted, limited(tmp_path, 3)):
        with pytest.raises(LimitReachedError):
            collection.add("door", TIME, b"", b"{")
    assert files(tmp_path) == before and len(before) == 6
    (tmp_path / "notes.txt").write_bytes(bytes(1500))
    with pytest.raises(LimitReachedError):
        limited(tmp_path, 5).add("door", TIME, JPEG, JSON)


def test_the_limit_is_about_the_folder_not_about_what_was_ever_written(tmp_path):
    collection = limited(tmp_path / "kept", 2)
    for number in range(6):
        path = collection.add("door", f"{TIME}{number}", JPEG, JSON)
        path.rename(tmp_path / f"fetched-{number}.jpg")
        path.with_suffix(".json").unlink()
    collection.add("door", TIME, JPEG, JSON)
    collection.add("door", TIME, JPEG, JSON)
    with pytest.raises(LimitReachedError):
        collection.add("door", TIME, JPEG, JSON)


def test_a_file_that_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "door").mkdir()
    abandoned = partial_path(tmp_path / "door" / "x.jpg")
    number, start = abandoned.name.split("-")[2:4]
    abandoned = abandoned.with_name(abandoned.name.replace(f"-{number}-{start}-", "-999999999-1-"))
    abandoned.write_bytes(bytes(5000))
    limited(tmp_path, 1).add("door", TIME, JPEG, JSON)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("broken", [".json", ".jpg"])
def test_an_error_leaves_neither_of_the_two_files(tmp_path, monkeypatch, broken):
    replace = Path.replace

    def failing(self, target):
        if Path(target).suffix == broken:
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(FGDError, match="Input/output error"):
        Collection(tmp_path, 1).add("door", TIME, JPEG, JSON)
    assert files(tmp_path) == []


def test_a_killed_process_leaves_complete_pairs(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    jpegs = [path for path in tmp_path.rglob("*.jpg") if not path.name.startswith(".")]
    assert len(jpegs) > 20 and {path.stat().st_size for path in jpegs} == {50_000}
    assert {path.with_suffix(".json").read_bytes() for path in jpegs} == {b"{}"}


def test_the_json_gets_its_name_before_the_jpeg(tmp_path, monkeypatch):
    seen, replace = [], Path.replace

    def recorded(self, target):
        replace(self, target)
        seen.append([Path(name).suffix for name in files(tmp_path) if ".partial-" not in name])

    monkeypatch.setattr(Path, "replace", recorded)
    Collection(tmp_path, 1).add("door", TIME, JPEG, JSON)
    assert seen == [[".json"], [".jpg", ".json"]]
