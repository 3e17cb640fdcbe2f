from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fgd_yolo.cache import cache_root
from fgd_yolo.demo import demo_video
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.frames import FrameCounts, gather_frames, read_frames
from opened_files import opened_files


def origins(frames):
    return [file.resolve().name for file in frames.files]


def test_images_become_links_and_near_duplicates_and_unreadable_files_are_counted(tmp_path, save, scene, capsys):
    folder = save(tmp_path / "day", a=1, b=2, d=3)
    cv2.imwrite(str(folder / "c.png"), cv2.convertScaleAbs(scene(2), alpha=0.9))
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-600])
    frames = gather_frames([folder])
    assert origins(frames) == ["a.jpg", "b.jpg", "d.jpg"]
    assert all(file.is_symlink() and file.parent == frames.folder for file in frames.files)
    assert frames.folder.parent == cache_root() / "frames"
    assert frames.shapes == ((64, 96),) * 3
    assert frames.counts == FrameCounts(kept=3, duplicates=1, unreadable=2)
    printed = " ".join(capsys.readouterr().out.split())
    assert "frames: 3 of 6 kept, 1 near-duplicate dropped, 2 unreadable" in printed
    assert "2 files (broken.jpg, cut.jpg: cannot be read)" in printed


def test_the_same_sources_are_not_read_again_and_changed_ones_are(tmp_path, save, monkeypatch, capsys):
    folder = save(tmp_path / "day", a=1, b=2)
    first = gather_frames([folder])
    lines = capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr("fgd_yolo.frames.pictures.read_file", None)  # reading would fail
        assert gather_frames([folder]) == first
    assert capsys.readouterr().out == lines
    assert read_frames(first.folder) == first
    save(folder, b=3)
    second = gather_frames([folder])
    assert second.folder != first.folder
    assert second.digest != first.digest


def test_the_digest_depends_on_contents_alone(tmp_path, save):
    one, other = save(tmp_path / "one", a=1, b=2), save(tmp_path / "other", x=1, y=2)
    swapped = save(tmp_path / "swapped", a=2, b=1)
    first, second, third = (gather_frames([folder]) for folder in (one, other, swapped))
    assert first.digest == second.digest != third.digest
    assert first.contents[0] == hashlib.sha256((one / "a.jpg").read_bytes()).hexdigest()


def test_frames_of_a_video_are_taken_at_equal_times_and_written_as_jpeg(tmp_path, film, scene):
    frames = gather_frames([film(tmp_path / "door.mp4", 4)], every=0.5)
    assert frames.counts == FrameCounts(kept=4, duplicates=4, videos=1)
    assert [file.name for file in frames.files] == [f"000000{i}-door-{i}.00s.jpg" for i in range(4)]
    assert not any(file.is_symlink() for file in frames.files)
    for second, file in enumerate(frames.files):
        assert np.abs(cv2.imread(str(file)).astype(int) - scene(second, (128, 96))).mean() < 8
        assert frames.contents[second] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_every_belongs_to_the_key_only_if_there_is_a_video(tmp_path, save, film):
    images, video = save(tmp_path / "day", a=1, b=2), film(tmp_path / "door.mp4", 2)
    assert gather_frames([images], every=1).folder == gather_frames([images], every=2).folder
    assert gather_frames([video], every=1).folder != gather_frames([video], every=0.5).folder


def test_sources_of_all_kinds_are_gathered_in_their_order(tmp_path, save, film):
    folder, single = save(tmp_path / "day", a=1, b=2), save(tmp_path / "one", c=3) / "c.jpg"
    listed = save(tmp_path / "listed", d=4)
    (tmp_path / "list.txt").write_text(f"{listed / 'd.jpg'}\n{listed / 'gone.jpg'}\n")
    film(tmp_path / "recording/door/1.mp4", 2, seed=1)
    frames = gather_frames([single, tmp_path / "list.txt", folder, tmp_path / "recording"])
    assert origins(frames)[:4] == ["c.jpg", "d.jpg", "a.jpg", "b.jpg"]
    assert frames.sources == (0, 1, 2, 2, 3, 3)
    assert frames.counts == FrameCounts(kept=6, unreadable=1, videos=1)


def test_a_collection_of_the_stream_command_is_a_source(tmp_path, save, capsys):
    """Its JSON files, and what is still being written, are left out."""
    folder = save(tmp_path / "collected/door", **{"20260101T000000Z": 1, "20260101T000100Z": 2})
    for image in folder.glob("*.jpg"):
        image.with_suffix(".json").write_text(json.dumps({"detections": []}))
    save(folder, **{".partial-1-20260101T000200Z.jpg": 3})
    assert origins(gather_frames([tmp_path / "collected"])) == ["20260101T000000Z.jpg", "20260101T000100Z.jpg"]


def test_no_label_file_is_opened_or_linked(tmp_path, save):
    images = save(tmp_path / "data/images/train", a=1, b=2)
    labels = tmp_path / "data/labels/train"
    labels.mkdir(parents=True)
    for file in (labels / "a.txt", images / "a.txt"):
        file.write_text("0 0.5 0.5 0.1 0.1")
    with opened_files() as opened:
        frames = gather_frames([images])
    assert str(images / "a.jpg") in opened  # the hook works
    assert not [name for name in opened if name.startswith(str(tmp_path / "data")) and name.endswith(".txt")]
    assert sorted(file.name for file in frames.folder.iterdir()) == ["0000000-a.jpg", "0000001-b.jpg", "frames.json"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_shapes_are_those_of_ultralytics_for_photos_that_were_taken_turned(tmp_path, save, scene, orientation):
    from ultralytics.utils.patches import imread

    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "day", other=2)
    Image.fromarray(scene(1)).save(tmp_path / "day/turned.jpg", exif=exif)
    frames = gather_frames([tmp_path / "day"])
    assert [imread(str(file)).shape[:2] for file in frames.files] == list(frames.shapes)
    assert frames.shapes[1] == ((96, 64) if orientation > 4 else (64, 96))


def test_a_file_with_a_wrong_suffix_gets_the_right_one_so_that_ultralytics_reads_it(tmp_path, save, scene):
    save(tmp_path / "day", **{"a.png": 1, "b.tif": 2})
    (tmp_path / "day/a.png").rename(tmp_path / "day/a.jpg")
    (tmp_path / "day/b.tif").rename(tmp_path / "day/b.PNG")
    cv2.imwrite(str(tmp_path / "c.ppm"), scene(3))
    (tmp_path / "c.ppm").rename(tmp_path / "day/c.jpg")
    frames = gather_frames([tmp_path / "day"])
    assert [file.suffix for file in frames.files] == [".png", ".tif"]
    assert frames.counts.unreadable == 1  # Ultralytics has no suffix for it


def test_a_damaged_video_is_kept_up_to_the_damage_and_counted(tmp_path, film, capsys):
    whole = film(tmp_path / "whole.mkv", 6).read_bytes()
    (tmp_path / "whole.mkv").unlink()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.mkv").write_bytes(b"no video" * 100)
    frames = gather_frames([tmp_path / "cut.mkv", tmp_path / "noise.mkv"])
    assert 1 < frames.counts.kept < 6
    assert frames.counts == FrameCounts(len(frames), unreadable=1, videos=1, damaged_videos=1)
    printed = " ".join(capsys.readouterr().out.split())
    assert "noise.mkv: cannot be read: " in printed
    assert "cut.mkv: it ends at " in printed
    assert "1 unreadable; 1 video, 1 of them damaged" in printed


def test_no_readable_frame_is_an_error_with_counts_and_reasons_and_leaves_no_folder(tmp_path):
    folder = tmp_path / "day"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.jpg").write_bytes(b"no image")
    (tmp_path / "list.txt").write_text("gone.jpg")
    expected = (
        r"^no frame can be read: 4 files \(0\.jpg, 1\.jpg and 1 more: cannot be read; gone\.jpg: does not exist\)$"
    )
    with pytest.raises(FGDError, match=expected):
        gather_frames([folder, tmp_path / "list.txt"])
    assert list((cache_root() / "frames").iterdir()) == []


def test_entries_of_a_list_that_no_file_can_have_are_counted(tmp_path, save, film, capsys):
    folder = save(tmp_path / "day", a=1, b=2)
    film(tmp_path / "cam1.mp4", 1)
    entries = ["x" * 300, "x" * 300 + ".mp4", "a\0b.jpg", "a\0b.mp4", str(folder), str(tmp_path / "cam[1].mp4")]
    (tmp_path / "list.txt").write_text("\n".join([*entries, str(folder / "a.jpg"), str(folder / "b.jpg")]))
    frames = gather_frames([tmp_path / "list.txt"])
    assert frames.counts == FrameCounts(kept=2, unreadable=6)
    assert ": does not exist)" in " ".join(capsys.readouterr().out.split())


def test_frames_that_all_show_one_view_are_an_error(tmp_path, save):
    folder = save(tmp_path / "day", a=1, b=1, c=1)
    with pytest.raises(FGDError, match=r"^all 3 frames show the same view \(near-duplicates\): give frames of more"):
        gather_frames([folder])
    assert list((cache_root() / "frames").iterdir()) == []
    assert len(gather_frames([folder / "a.jpg"])) == 1  # one image is not an error here


@pytest.mark.parametrize("every", [0, -1, float("nan"), float("inf")])
def test_an_interval_that_is_no_time_is_refused(tmp_path, save, every):
    with pytest.raises(UsageError, match="every must be a number of seconds above 0"):
        gather_frames([save(tmp_path / "day", a=1)], every=every)


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_folder_and_says_what_to_do(tmp_path, film):
    """In a process of its own, whose files may not grow beyond a limit."""
    video = film(tmp_path / "door.mp4", 3)
    code = "import sys; from fgd_yolo.frames import gather_frames; gather_frames([sys.argv[1]])"

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails with an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(video)],
        capture_output=True,
        text=True,
        preexec_fn=limit_files,
        env=environment,
    )
    assert f"cannot write {cache_root() / 'frames'}" in run.stderr
    assert f"{os.strerror(errno.EFBIG)}; free space there or set FGD_YOLO_CACHE to another folder" in run.stderr
    assert list((cache_root() / "frames").iterdir()) == []


def test_a_folder_from_which_a_file_was_removed_is_filled_again(tmp_path, film):
    video = film(tmp_path / "door.mp4", 3)
    first = gather_frames([video])
    first.files[1].unlink()
    with pytest.raises(FGDError, match=r"1 of 3 frames are no longer there: .*0000001-door-1\.00s\.jpg$"):
        read_frames(first.folder)
    assert gather_frames([video]) == first
    assert first.files[1].is_file()


def test_names_that_could_be_paths_or_codes_of_a_terminal_stay_inside_the_folder(tmp_path, save):
    folder = save(tmp_path / "day", a=1, b=2)
    (folder / "a.jpg").rename(folder / "x\x1b[2J\n.jpg")
    (folder / "b.jpg").rename(folder / os.fsdecode(b"\xff\xfe.jpg"))
    frames = gather_frames([folder])
    assert len(frames) == 2
    assert all(file.name.isprintable() and Path(file).parent == frames.folder for file in frames.files)
    assert read_frames(frames.folder) == frames


def test_of_the_demo_video_the_empty_second_becomes_one_frame(tmp_path):
    video, truth = demo_video(tmp_path, seconds=10, fps=5, width_px=320, height_px=240)
    frames = gather_frames([video], every=0.2)
    assert frames.counts.kept + frames.counts.duplicates == 50
    empty = [not boxes for boxes in json.loads(truth.read_text())["frames"]]
    times = [round(float(file.stem.rpartition("-")[2][:-1]) * 5) for file in frames.files]
    assert times[0] == 0
    assert not set(times) & set(range(1, 5)), empty[:5]
