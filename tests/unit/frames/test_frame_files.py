from __future__ import annotations

import os

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.frames.frame_files import TRAINED_SUFFIXES, find_frame_files


def names(*paths, base=None):
    files = find_frame_files(paths)
    return [str(file.path.relative_to(base)) if base else file.path.name for file in files]


def test_the_images_are_those_that_ultralytics_trains_on():
    from ultralytics.data.utils import IMG_FORMATS

    assert TRAINED_SUFFIXES == IMG_FORMATS


def test_a_folder_is_searched_with_its_subfolders_by_suffix_in_the_order_of_numbers(tmp_path):
    root = tmp_path / "frames"
    for name in ("10.jpg", "9.JPG", "b/2.png", "b/1.mp4", "a/x.webp", "labels.txt", "9.json", "notes.pdf"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert names(root, base=root) == ["9.JPG", "10.jpg", "a/x.webp", "b/1.mp4", "b/2.png"]
    assert [file.is_video for file in find_frame_files([root])] == [False, False, False, True, False]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    for name in ("a.jpg", ".partial-1-a.jpg", ".partial-2/b.jpg", "door/.c.jpg"):
        (tmp_path / "frames" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "frames" / name).touch()
    assert names(tmp_path / "frames") == ["a.jpg"]


def test_links_are_followed_and_a_link_to_a_folder_around_it_ends(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.jpg").touch()
    root = tmp_path / "frames"
    root.mkdir()
    (root / "day").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root)
    assert names(root, base=root) == ["day/a.jpg"]


def test_a_list_is_read_as_ultralytics_reads_it(tmp_path, monkeypatch):
    folder = tmp_path / "lists"
    folder.mkdir()
    for path in (folder / "beside.jpg", tmp_path / "here/below.png", tmp_path / "far.mp4"):
        path.touch()
    lines = ["", "./beside.jpg", "below.png", f"  {tmp_path / 'far.mp4'} ", "missing.jpg"]
    (folder / "train.txt").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    files = find_frame_files([folder / "train.txt"])
    assert [(str(file.path), file.is_video) for file in files] == [
        (str(folder / "beside.jpg"), False),
        (str(tmp_path / "here/below.png"), False),
        (str(tmp_path / "far.mp4"), True),
        (str(tmp_path / "here/missing.jpg"), False),
    ]


def test_a_file_by_itself_may_have_any_suffix(tmp_path, save, film):
    save(tmp_path, a=1)
    (tmp_path / "a.jpg").rename(tmp_path / "snapshot")
    film(tmp_path / "b.mp4", 1).rename(tmp_path / "part[1]")
    files = find_frame_files([tmp_path / "snapshot", tmp_path / "part[1]"])
    assert [(file.path.name, file.is_video) for file in files] == [("snapshot", False), ("part[1]", True)]


def test_a_file_given_twice_counts_once(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert names(tmp_path / "a.jpg", tmp_path, str(tmp_path / "a.jpg")) == ["a.jpg"]


def test_the_source_of_an_image_is_its_folder_and_that_of_a_video_itself(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.mp4", "d.mp4"):
        (tmp_path / name).touch()
    assert [file.source for file in find_frame_files([tmp_path])] == [
        tmp_path,
        tmp_path,
        tmp_path / "c.mp4",
        tmp_path / "d.mp4",
    ]


def test_what_cannot_be_a_source_is_one_line_that_says_what_to_give(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 not an image")
    os.mkfifo(tmp_path / "pipe")
    kinds = r": give a folder, an image, a video, or a \.txt file with a path on each line$"
    for path, problem in {
        "missing": rf"missing' does not exist{kinds}",
        "empty": rf"empty' has no image or video in it{kinds}",
        "empty.txt": rf"empty\.txt' has no image or video in it{kinds}",
        "pipe": rf"pipe' is a pipe or a device{kinds}",
        "report.pdf": r"report\.pdf' is neither an image nor a video: ",
        "a\0b": rf"a\?b' does not exist{kinds}",
        "x" * 300: rf"xxx' does not exist{kinds}",
    }.items():
        with pytest.raises(UsageError, match=problem):
            find_frame_files([tmp_path / path])
    with pytest.raises(UsageError, match=rf"no frames were given{kinds}"):
        find_frame_files([])
