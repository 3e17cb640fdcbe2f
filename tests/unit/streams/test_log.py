from __future__ import annotations

from fgd_yolo.streams.log import log


def test_a_line_names_the_stream_and_holds_no_secret(capsys):
    log("door", "DOWN, cannot open rtsp://admin:hunter2@10.0.0.7/cam")
    assert capsys.readouterr() == ("", "door: DOWN, cannot open rtsp://10.0.0.7\n")


def test_a_stream_whose_name_sounds_like_a_secret_shows_its_state(capsys):
    log("10.0.0.7-cam-token", "DOWN, refused")
    assert capsys.readouterr().err == "10.0.0.7-cam-token: DOWN, refused\n"


def test_a_line_is_short_printable_and_hides_a_password_that_the_cut_would_halve(capsys):
    log(
        "do\x9bor", "DOWN, " + "x" * 85 + " rtsp://admin:hunter2" + "hunter2" * 9 + "@10.0.0.7/cam\x1b[2J\n" + "y" * 400
    )
    line = capsys.readouterr().err
    assert len(line) <= 301 and line[:-1].isprintable() and "hunter" not in line
