"""The page of the metrics has every number that is printed or written, and no other."""

from __future__ import annotations

import re
from dataclasses import fields

from fgd_yolo.compare.paired_differences import Estimate, verdict
from fgd_yolo.compare.results import COLUMNS
from fgd_yolo.config import METHOD_OPTIONS, FGDConfig
from fgd_yolo.streams import summary
from fgd_yolo.streams.stats import STAGES
from fgd_yolo.streams.web.metrics import to_prometheus
from fgd_yolo.training.step.gradient_ratio import GradientRatio
from fgd_yolo.workflow.closing_table import Row, format_table
from metrics_page import PAGE, documented

ACCURACY = {"map50_95": 0.4, "map50": 0.7, "box_map50_95": 0.4, "box_map50": 0.7}
ROW = {"name": "student n", **ACCURACY, "parameters": 3_011_433, "gflops": 8.2, "cpu_ms": 41}


def test_the_columns_of_the_closing_table_are_explained():
    result = {
        "task": "detect",
        "teachers": [],
        "student": ROW,
        "cpu_threads": 1,
        "val_images": 6,
        "split": "val",
        "imgsz": 96,
    }
    header = re.split(r" {2,}", format_table(result).splitlines()[0].strip())
    assert " ".join(documented("The closing table of a run")) == " ".join(header)


def test_the_values_of_a_model_are_explained():
    assert documented("A model in result.json") == [field.name for field in fields(Row)]


def test_the_columns_that_a_distillation_adds_to_results_csv_are_explained():
    terms = {name: None for method in METHOD_OPTIONS for name in FGDConfig(method=method).weights}
    ratios = [GradientRatio(group, None, every=1, maximum=1).columns() for group in ("features", "heads")]
    expected = {f"train/{name}" for name in terms} | {name for columns in ratios for name in columns}
    expected |= {"lr/pg3"}  # Ultralytics writes a column for each group of the optimizer, and has three itself
    assert set(documented("Columns of results.csv")) == expected


def test_the_columns_of_runs_csv_are_explained():
    assert documented("Columns of runs.csv") == [*COLUMNS]


def test_the_verdicts_of_a_comparison_are_explained():
    intervals = ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (None, None))
    verdicts = {verdict(Estimate(0.1, low, high, 3)) for low, high in intervals}
    words = set(documented("The report of a comparison"))
    assert verdicts <= words and "95 % interval" in words


def test_the_columns_of_the_stream_table_are_explained():
    stats = {
        "state": "UP",
        "reason": "",
        **dict.fromkeys(("seen", "inferred", "delivered", "in_flight", "reconnects"), 1),
        "dropped": {},
        "mean_fps": 1.0,
        "ages": {stage: {"count": 0} for stage in STAGES},
    }
    sink = {"name": "json", "written": 1, "skipped": 0, "dropped": {}, "failure": None}
    lines = summary.closing_table({"streams": {"gate": stats}, "removed": [], "sinks": [sink]}).splitlines()
    printed = {column for line in lines[::2] for column in re.split(r" {2,}", line)}
    assert set(documented("The closing table of streams")) == printed


def test_the_prometheus_metrics_are_explained():
    text = to_prometheus({"streams": {}, "sinks": []}, encoded=0).decode()
    assert documented("Prometheus metrics") == re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)


def test_every_table_of_the_page_explains_something():
    sections = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(documented(section) for section in sections if section != "What predict reports")
