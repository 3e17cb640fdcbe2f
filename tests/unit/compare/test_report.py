from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fgd_yolo.compare import report
from fgd_yolo.compare.context import machine, without_folders
from fgd_yolo.compare.curves import curve_file
from fgd_yolo.compare.results_csv import read_runs, write_runs
from unit.compare.made_up import made_up

OUT = Path("out")
REACHED = {
    "plain": [0.5011, 0.4932, 0.5123],
    "fgd": [0.5214, 0.5225, 0.5336],
    "fgd:gradient_ratio=0.1": [0.5047, 0.5058, 0.5069],
}


class Page(HTMLParser):
    """Rows of all tables, and whatever the page would load from elsewhere."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        self.loads += [given[key] for key in ("src", "href", "xlink:href") if key in given]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in {"td", "th"}

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data


@pytest.fixture
def runs():
    """Nine runs on one data set, written with curves and what else a comparison keeps."""
    found = [
        made_up(method, seed, value, share=0.25 if method != "plain" else None, epoch_s=10.0 + 2 * (method != "plain"))
        for method, values in REACHED.items()
        for seed, value in enumerate(values)
    ]
    write_runs(OUT / "runs.csv", found)
    for run in found:
        file = curve_file(OUT, run)
        file.parent.mkdir(exist_ok=True)
        rows = [f"{epoch},{run.map50_95 * epoch / 30},0.25" for epoch in range(1, 31)]
        file.write_text("\n".join(["epoch,metrics/mAP50-95(B),fgd/gradient_ratio", *rows]))
    teacher = {"key": "k", "name": "big.pt", "map50_95": 0.5917, "map50": 0.8882}
    context = {"commands": ["fgd-yolo compare"], "machines": ["2 CPU cores"], "teachers": {"cells": teacher}}
    (OUT / "compare.json").write_text(json.dumps(context))
    return found


def test_every_number_of_a_run_is_that_of_the_file(runs):
    report.write(OUT)
    rows = {tuple(row[:3]): row[3:] for row in Page((OUT / "report.html").read_text()).rows}
    for run in read_runs(OUT / "runs.csv"):
        told = rows[run.data, run.method, str(run.seed)]
        known = (run.map50_95, run.map50, run.ap_small, run.ap_medium, run.ap_large)
        assert told[:5] == ["-" if value is None else f"{value:.4f}" for value in known]
        assert told[5] == f"{run.epoch_s:.2f}"


def test_the_answer_comes_first_in_both_reports(runs):
    lines = report.write(OUT)
    # 2.03, 2.93, 2.13: mean 2.363, deviation 0.493, times 4.303 / sqrt(3).
    assert lines[0] == "fgd over plain: +2.36 mAP50-95 points, 95 % interval +1.14 to +3.59, n=3: a gain"
    assert lines[1].startswith("fgd over fgd:gradient_ratio=0.1: +2.00 mAP50-95 points, 95 % interval ")
    for name in ("report.html", "report.md"):
        text = (OUT / name).read_text()
        assert 0 < text.index(lines[0]) < text.index("Every run")
        assert "big.pt: mAP50-95 0.5917, mAP50 0.8882" in text


def test_means_and_costs_are_those_of_the_runs(runs):
    report.write(OUT)
    rows = Page((OUT / "report.html").read_text()).rows
    assert ["cells", "plain", "3", "0.5022 (0.4932 to 0.5123)", "0.7522 (0.7432 to 0.7623)"] in rows
    assert ["cells", "fgd", "12.0 (12.0 to 12.0)", "1.20 (1.20 to 1.20)"] in rows
    assert ["cells", "red", "0.602", "0.626", "0.606"] in rows
    # 0.36, 1.26, -0.54: mean 0.36, deviation 0.9, times 4.303 / sqrt(3).
    assert ["fgd:gradient_ratio=0.1 over plain", "+0.36", "-1.88 to +2.60", "3", "+0.36 (n=3)"] in rows


def test_the_page_holds_all_that_it_shows(runs):
    report.write(OUT)
    page = Page((OUT / "report.html").read_text())
    assert page.loads and all(target.startswith("#") for target in page.loads)
    assert page.tags.count("svg") == 5  # differences, curves, classes, cost, share
    assert "script" not in page.tags and "prefers-color-scheme: dark" in (OUT / "report.html").read_text()


def test_the_pictures_of_the_markdown_are_there(runs):
    report.write(OUT)
    named = re.findall(r"\]\((plots/[^)]+\.png)\)", (OUT / "report.md").read_text())
    assert sorted(named) == sorted(f"plots/{path.name}" for path in (OUT / "plots").iterdir())
    assert all((OUT / name).read_bytes().startswith(b"\x89PNG") for name in named)


def test_tables_of_the_markdown_have_as_many_cells_in_every_row(runs):
    report.write(OUT)
    blocks = re.findall(r"(?:^\|.*\|$\n)+", (OUT / "report.md").read_text(), flags=re.MULTILINE)
    assert len(blocks) == 7
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1
        assert len(block.splitlines()) > 2


def test_a_report_is_the_same_when_it_is_written_again(runs):
    report.write(OUT)
    first = {path.name: path.read_bytes() for path in OUT.rglob("*.*")}
    report.write(OUT)
    assert {path.name: path.read_bytes() for path in OUT.rglob("*.*")} == first


def test_choosing_figures_are_called_so(runs):
    write_runs(OUT / "runs.csv", [run.with_values(hold_out=0.2, continued=[7]) for run in runs])
    report.write(OUT)
    text = (OUT / "report.md").read_text()
    assert text.startswith("# Choosing figures, on held-out train images: fgd against")
    assert "20% of the train images were held out" in text and "9 of 9 runs were stopped and continued" in text


def test_one_run_alone_is_a_report_without_an_answer():
    write_runs(OUT / "runs.csv", [made_up("fgd<b>", 0)])
    assert report.write(OUT) == []
    text = (OUT / "report.html").read_text()
    assert "fgd&lt;b&gt; alone" in text and "<b>" not in text


def test_two_methods_without_a_common_seed_say_so():
    write_runs(OUT / "runs.csv", [made_up("fgd", 0), made_up("plain", 1)])
    assert report.write(OUT) == ["fgd over plain: no pair of runs with the same data and seed yet"]


def test_no_runs_are_no_report():
    assert report.write(OUT) == [] and not OUT.exists()


def test_folders_of_this_machine_are_left_out_of_the_command():
    command = "fgd-yolo compare --data /home/me/a.yaml --teacher ../t.pt --output=/tmp/x 'pretrained=/m/w.pt' --seeds 3"
    expected = "fgd-yolo compare --data a.yaml --teacher ../t.pt --output=x pretrained=w.pt --seeds 3"
    assert without_folders(command) == expected


def test_cores_are_counted_where_a_system_knows_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert re.match(r"\d+ CPU cores? \(.+\), ", machine())
