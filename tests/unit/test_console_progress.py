from __future__ import annotations

from fgd_yolo.console import counted


def test_items_pass_in_order_and_one_line_counts_them_where_nobody_watches(capsys):
    assert list(counted(["a", "b"], "working")) == ["a", "b"]
    assert capsys.readouterr() == ("", "working: 2\n")


def test_a_terminal_sees_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(counted(range(3), "working")) == [0, 1, 2]
    assert "working: 100%" in capsys.readouterr().err
