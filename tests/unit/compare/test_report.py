from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fgd_yolo.cfg import recipe_names

from fgd_yolo.compare import report
from fgd_yolo.compare.results import curve_file, read_runs, write_runs
from fgd_yolo.config import METHOD_OPTIONS
from unit.compare.example_runs import example_run

OUT = Path("out")
ACCURACY = {
    "plain": [0.5011, 0.4932, 0.5123],
    "fgd": [0.5214, 0.5225, 0.5336],
    "fgd:features.ratio=0.1": [0.5047, 0.5058, 0.5069],
}


class Page(HTMLParser):
    """Parses the rows of all tables, the tags, and the URLs that the page would load."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.loads += [attributes[key] for key in ("src", "href", "xlink:href") if key in attributes]
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
    """Nine runs on one data set, with curves and context, as files of a comparison."""
    runs = [
        example_run(
            method,
            seed,
            value,
            gradient_ratio=0.25 if method != "plain" else None,
            epoch_s=10.0 + 2 * (method != "plain"),
        )
        for method, values in ACCURACY.items()
        for seed, value in enumerate(values)
    ]
    write_runs(OUT / "runs.csv", runs)
    for run in runs:
        file = curve_file(OUT, run)
        file.parent.mkdir(exist_ok=True)
        rows = [f"{epoch},{run.map50_95 * epoch / 30},0.25" for epoch in range(1, 31)]
        file.write_text("\n".join(["epoch,metrics/mAP50-95(B),features/ratio", *rows]))
    teacher = {"key": "k", "name": "big.pt", "map50_95": 0.5917, "map50": 0.8882}
    context = {"commands": ["fgd-yolo compare"], "machines": ["2 CPU cores"], "teachers": {"cells": [teacher]}}
    (OUT / "compare.json").write_text(json.dumps(context))
    return runs


def test_every_number_of_a_run_matches_the_file(runs):
    report.write_report(OUT)
    rows = {tuple(row[:3]): row[3:] for row in Page((OUT / "report.html").read_text()).rows}
    for run in read_runs(OUT / "runs.csv"):
        cells = rows[run.data, run.method, str(run.seed)]
        values = (run.map50_95, run.map50, run.ap_small, run.ap_medium, run.ap_large)
        assert cells[:5] == ["-" if value is None else f"{value:.4f}" for value in values]
        assert cells[5] == f"{run.epoch_s:.2f}"


def test_the_verdicts_come_first_in_both_reports(runs):
    lines = [line for line, _ in report.write_report(OUT)]
    # 2.03, 2.93, 2.13: mean 2.363, deviation 0.493, times 4.303 / sqrt(3).
    assert lines[0] == "fgd over plain: +2.36 mAP50-95 points, 95 % interval +1.14 to +3.59, n=3: a gain"
    assert lines[1].startswith("fgd over fgd:features.ratio=0.1: +2.00 mAP50-95 points, 95 % interval ")
    for name in ("report.html", "report.md"):
        text = (OUT / name).read_text()
        assert 0 < text.index(lines[0]) < text.index("All runs")
        assert "big.pt: mAP50-95 0.5917, mAP50 0.8882" in text


def test_a_report_of_masks_names_them_and_shows_the_boxes_beside_them(runs):
    masks = [run.with_values(measured="masks", box_map50_95=0.7, box_map50=0.9) for run in runs]
    write_runs(OUT / "runs.csv", masks)
    lines = [line for line, _ in report.write_report(OUT)]
    assert lines[0].startswith("fgd over plain: +2.36 mask mAP50-95 points")
    text = (OUT / "report.md").read_text()
    columns = ("mask mAP50-95, mean (range)", "mask mAP50, mean (range)", "box mAP50-95, mean", "box mAP50, mean")
    assert "".join(f" {name} |" for name in columns) in text
    assert "Paired differences in mask mAP50-95 points" in text
    assert "| 0.7000 | 0.9000 |" in text and "big.pt: mask mAP50-95 0.5917" in text


def test_a_report_of_rotated_boxes_has_no_sizes(runs):
    sizes = dict.fromkeys(("ap_small", "ap_medium", "ap_large"))
    write_runs(OUT / "runs.csv", [run.with_values(measured="rotated boxes", **sizes) for run in runs])
    report.write_report(OUT)
    text = (OUT / "report.md").read_text()
    assert "rotated-box mAP50-95" in text and "## Classes\n" in text
    assert not any(word in text for word in ("AP small", "small objects", "object sizes", " box mAP50-95", "32 x 32"))


def test_each_of_several_teachers_has_a_row_with_its_name(runs):
    context = json.loads((OUT / "compare.json").read_text())
    other = {"key": "l", "name": "other.pt", "map50_95": 0.5, "map50": 0.75, "class_ap": {"red": 0.5}}
    context["teachers"]["cells"] += [other]
    (OUT / "compare.json").write_text(json.dumps(context))
    report.write_report(OUT)
    rows = Page((OUT / "report.html").read_text()).rows
    assert ["cells", "(teacher other.pt)", "-", "0.5000", "0.7500"] in rows
    (setup,) = [cell for row in rows for cell in row if "other.pt: " in cell]
    assert setup == "other.pt: mAP50-95 0.5000, mAP50 0.7500 on the val images, over red"


def test_means_and_costs_match_the_runs(runs):
    report.write_report(OUT)
    rows = Page((OUT / "report.html").read_text()).rows
    assert ["cells", "plain", "3", "0.5022 (0.4932 to 0.5123)", "0.7522 (0.7432 to 0.7623)"] in rows
    assert ["cells", "fgd", "12.0 (12.0 to 12.0)", "1.20 (1.20 to 1.20)"] in rows
    assert ["cells", "red", "0.602", "0.626", "0.606"] in rows
    # 0.36, 1.26, -0.54: mean 0.36, deviation 0.9, times 4.303 / sqrt(3).
    assert ["fgd:features.ratio=0.1 over plain", "+0.36", "-1.88 to +2.60", "3", "+0.36 (n=3)"] in rows


def test_the_page_is_self_contained(runs):
    report.write_report(OUT)
    page = Page((OUT / "report.html").read_text())
    assert page.loads and all(target.startswith("#") for target in page.loads)
    assert page.tags.count("svg") == 5  # differences, curves, classes, cost, gradient ratio
    assert "script" not in page.tags and "prefers-color-scheme: dark" in (OUT / "report.html").read_text()


def test_the_image_files_of_the_markdown_exist(runs):
    report.write_report(OUT)
    named = re.findall(r"\]\((plots/[^)]+\.png)\)", (OUT / "report.md").read_text())
    assert sorted(named) == sorted(f"plots/{path.name}" for path in (OUT / "plots").iterdir())
    assert all((OUT / name).read_bytes().startswith(b"\x89PNG") for name in named)


def test_all_rows_of_a_markdown_table_have_the_same_number_of_cells(runs):
    report.write_report(OUT)
    blocks = re.findall(r"(?:^\|.*\|$\n)+", (OUT / "report.md").read_text(), flags=re.MULTILINE)
    assert len(blocks) == 7
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1
        assert len(block.splitlines()) > 2


def test_a_report_is_reproducible(runs):
    report.write_report(OUT)
    first = {path.name: path.read_bytes() for path in OUT.rglob("*.*")}
    report.write_report(OUT)
    assert {path.name: path.read_bytes() for path in OUT.rglob("*.*")} == first


def test_a_report_on_held_out_images_is_labelled(runs):
    write_runs(OUT / "runs.csv", [run.with_values(val_fraction=0.2, resumed=[7]) for run in runs])
    report.write_report(OUT)
    text = (OUT / "report.md").read_text()
    assert text.startswith("# Tuning on held-out train images: fgd compared with")
    assert "20% of the train images were held out" in text and "9 of 9 runs were stopped and resumed" in text


def test_a_single_run_gives_a_report_without_verdicts():
    write_runs(OUT / "runs.csv", [example_run("fgd<b>", 0)])
    assert report.write_report(OUT) == []
    text = (OUT / "report.html").read_text()
    assert "fgd&lt;b&gt; alone" in text and "<b>" not in text


def test_two_methods_without_a_common_seed_have_no_verdict():
    write_runs(OUT / "runs.csv", [example_run("fgd", 0), example_run("plain", 1)])
    assert report.write_report(OUT) == [("fgd over plain: no pair of runs with the same data and seed yet", "no pair")]


def test_no_report_is_written_without_runs():
    assert report.write_report(OUT) == [] and not OUT.exists()


@pytest.mark.parametrize("name", [*recipe_names(), "ultralytics", *METHOD_OPTIONS])
def test_every_method_has_a_one_line_description(name):
    write_runs(OUT / "runs.csv", [example_run(name, 0), example_run(f"{name}:box=5", 0)])
    report.write_report(OUT)
    cells = dict(row[:2] for row in Page((OUT / "report.html").read_text()).rows if len(row) == 2)
    assert cells[f"{name}:box=5"] == f"{cells[name]}; with box=5" and len(cells[name]) > 20


def test_the_report_says_what_a_method_changes_that_is_equal_otherwise():
    def texts(**options) -> str:
        return " ".join(report._comparability([example_run(), example_run("fgd", options=options)]).text)

    assert "Methods with `teacher_imgsz` augment larger images" in texts(teacher_imgsz=640, inherit=False)
    assert "Methods with `inherit` start from other weights" in texts(teacher_imgsz=0, inherit=True)
    assert "Methods with" not in texts(teacher_imgsz=0, inherit=False)


def test_a_report_on_few_labels_says_how_much_of_the_gap_to_all_labels_is_closed():
    few = {"label_fraction": 0.125, "labelled_images": 36}
    rows = [
        *(example_run("plain", seed, 0.40, **few) for seed in (0, 1)),
        *(example_run("fgd", seed, 0.43 + 0.02 * seed, **few) for seed in (0, 1)),
        example_run("plain:labels=all", 0, 0.50, **few, options={"labels": "all"}),
        example_run("plain:labels=all", 1, 0.46, **few, options={"labels": "all"}),
    ]
    made = report.build_report(rows, {"commands": [], "machines": [], "teachers": {}}, lambda kind: {})
    notes = " ".join(made.notes)
    assert "12.5 % of the train images keep their labels" in notes and made.title.endswith("with 12.5 % of the labels")
    # Gaps of 10 and 6 points, of which 3 and 5 are closed.
    assert "+8.00 points over plain (n=2). fgd closes 50% of this (n=2)" in notes
    setup = next(section for section in made.sections if section.title == "Setup").tables[0].rows
    assert ["data: cells", "292 train images (36 with labels), 72 val images, 2 classes (red, white)"] in setup
    full = report.build_report(
        [example_run("plain", 0)], {"commands": [], "machines": [], "teachers": {}}, lambda _: {}
    )
    assert "labels" not in " ".join([*full.notes, full.title, full.lead])
