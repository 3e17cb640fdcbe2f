from __future__ import annotations

from pathlib import Path

from fgd_yolo.runtime.predict import PredictSummary, output_names


def test_copies_keep_their_names_where_these_differ():
    assert output_names([Path("x/a.jpg"), Path("y/b.PNG")]) == [Path("a.jpg"), Path("b.PNG")]


def test_formats_that_cannot_be_written_become_jpeg_beside_files_of_the_same_name():
    assert output_names([Path("a.heic"), Path("a.jpg")]) == [Path("a.heic.jpg"), Path("a.jpg")]
    assert output_names([Path("x/a.heic"), Path("y/a.heic.jpg")]) == [Path("x/a.heic.jpg"), Path("y/a.heic.jpg")]


def test_no_two_copies_have_the_same_name():
    assert output_names([Path("a.heic"), Path("a.heic.jpg")]) == [Path("a.heic.jpg"), Path("a.heic.jpg.jpg")]


def test_copies_stay_in_the_output_folder_when_a_source_has_dots():
    assert output_names([Path("a/x.jpg"), Path("a/../../b/x.jpg")]) == [
        Path(Path.cwd().name, "a/x.jpg"),
        Path("b/x.jpg"),
    ]


def test_the_summary_names_three_of_many_unreadable_files():
    line = str(PredictSummary(unreadable=[Path(f"{index}.jpg") for index in range(5)]))
    assert line == "0 images; 5 unreadable files skipped (0.jpg, 1.jpg, 2.jpg, ...)"


def test_the_summary_has_the_reason_of_the_file_that_has_one():
    files = [Path(f"{index}.jpg") for index in range(5)]
    line = str(PredictSummary(unreadable=files, details={files[4]: ": too large"}))
    assert line == "0 images; 5 unreadable files skipped (4.jpg: too large, 0.jpg, 1.jpg, ...)"
