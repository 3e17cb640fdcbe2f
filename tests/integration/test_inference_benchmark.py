"""The inference benchmark from a checkpoint to its table, on a narrow model and few rounds."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.cli.benchmark_command import main
from fgd_yolo.inference_benchmark import ULTRALYTICS_INT8
from fixtures import draw_dataset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Drawn images, enough of them to calibrate on."""
    return draw_dataset(tmp_path_factory.mktemp("data"), train=20, val=6)


def test_every_variant_is_measured(teacher_pt, data, capsys):
    command = f"inference --model {teacher_pt} --data {data} --imgsz 96 --threads 1 --rounds 2 --debug"
    assert main(command.split()) == 0
    printed = capsys.readouterr()
    rows = {line.split("|")[1].strip(): line for line in printed.out.splitlines() if line.startswith("| ")}
    assert {"fp32", "fp16", "int8", ULTRALYTICS_INT8, "fp32, OpenVINO", "int8, OpenVINO"} <= rows.keys()
    assert all(" ms |" in line for name, line in rows.items() if name)
    assert "teacher.pt, 96 px" in printed.out
    assert "a call takes" in printed.out


def test_an_invalid_size_is_an_error_of_one_line(teacher_pt, data, capsys):
    assert main(f"inference --model {teacher_pt} --data {data} --imgsz 100".split()) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: imgsz must be a multiple of the model's stride 32, got 100")


def test_weights_that_name_no_data_are_an_error_of_one_line(teacher_pt, tmp_path, capsys):
    checkpoint = torch.load(teacher_pt, weights_only=False)
    torch.save({**checkpoint, "train_args": {}}, tmp_path / "quiet.pt")
    assert main(f"inference --model {tmp_path / 'quiet.pt'} --imgsz 96".split()) == 1
    assert "pass data= (--data)" in capsys.readouterr().err.strip().splitlines()[-1]
