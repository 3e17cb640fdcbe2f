"""The page of the metadata keys against real files: every key is in its table, and no other."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from fgd_yolo.config import Recipe
from fgd_yolo.export import export_onnx
from fgd_yolo.export.agreement import OwnDetections
from fgd_yolo.export.export_options import ExportOptions
from fgd_yolo.export.fp16 import Fp16Report
from fgd_yolo.export.int8 import Int8Report
from fgd_yolo.export.int8_checks import AgreementCheck, LabelCheck
from fgd_yolo.export.metadata import describe, read_metadata
from fgd_yolo.runtime.model_info import FGD_YOLO_KEY
from fgd_yolo.task_table import TASKS, Accuracy
from fgd_yolo.workflow.run_folder import save_recipe, save_result
from fixtures import draw_dataset, narrow_yaml, save_checkpoint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/metadata.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^##+ (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
TABLES = {name: set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) for name, text in SECTIONS.items()}
NESTED = ("preprocessing", "recipe", "range", "calibration", "agreement", "agreement_with_teacher")
ACCURACY = Accuracy(0.4, 0.6, 0.4, 0.6)
METRICS = {"metrics/mAP50-95(B)": 0.4, "metrics/mAP50(B)": 0.6}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_data) -> Path:
    """A pose model, exported as the student of a run."""
    folder = tmp_path_factory.mktemp("run")
    weights = save_checkpoint(
        folder / "student.pt", narrow_yaml(folder / "narrow.yaml", width=0.125, task="pose"), tiny_data, task="pose"
    )
    torch.save(torch.load(weights, weights_only=False) | {"train_metrics": METRICS}, weights)
    save_recipe(folder, Recipe(teacher="yolov8l.pt", student="yolov8n.pt", data="data.yaml", train={"epochs": 3}))
    save_result(folder, {"method": "fgd", "files": {"weights": str(weights)}})
    return export_onnx(weights, imgsz=64).path


@pytest.fixture(scope="module")
def files(exported) -> list[dict[str, str]]:
    """The metadata of an exported student, and of an int8 file."""
    return [read_metadata(exported), read_metadata(ROOT / "tests/data/demo.onnx")]


@pytest.fixture(scope="module")
def entries(files, tmp_path_factory) -> list[dict]:
    """This package's entry of both files, of an fp16 file, and of an int8 file that was refused."""
    real = [json.loads(metadata[FGD_YOLO_KEY]) for metadata in files]
    labels, frames = LabelCheck(TASKS["detect"], "data.yaml"), {"frames": ["camera"]}
    int8 = Int8Report((), {}, labels, ACCURACY, ACCURACY, 3.0, 0.5, refusal="int8 loses 3.00 points")
    agreement = AgreementCheck(TASKS["detect"], OwnDetections(Path("data.yaml"), images=8, objects=60))
    folder = tmp_path_factory.mktemp("weights")
    described = [
        describe(ExportOptions(precision=precision), folder / "best.pt", {}, report)
        for precision, report in (
            ("fp16", Fp16Report((), 8, 31.5)),
            ("int8", int8),
            ("int8", replace(int8, check=agreement, calibration=frames)),
        )
    ]
    data = draw_dataset(folder / "data", train=1, val=1)
    mark = {"labelled_by": {"teacher": "teacher.pt", "score": 0.25}}
    data.write_text(yaml.safe_dump(yaml.safe_load(data.read_text()) | mark))
    checkpoint = {"train_metrics": METRICS, "train_args": {"data": str(data)}}
    return [*real, *described, describe(ExportOptions(), folder / "best.pt", checkpoint, None)]


def keys(*objects: dict) -> set[str]:
    return {key for one in objects for key in one}


def test_the_keys_of_ultralytics_are_those_of_real_files(files):
    assert TABLES["Ultralytics"] == keys(*files) - {FGD_YOLO_KEY}


def test_the_keys_of_this_package_are_those_of_real_files(entries):
    assert TABLES["fgd_yolo"] == keys(*entries)


@pytest.mark.parametrize("key", NESTED)
def test_the_keys_of_a_nested_object_are_those_of_real_files(key, entries):
    assert TABLES[key] == keys(*(entry[key] for entry in entries if key in entry))


def test_objects_that_are_not_described_key_by_key_have_the_two_metrics_or_the_options(entries):
    described = {name for entry in entries for name, value in entry.items() if isinstance(value, dict)}
    assert described == {*NESTED, "fp32"}
    assert keys(*(entry.get("fp32", {}) for entry in entries)) == set(Accuracy._fields)
