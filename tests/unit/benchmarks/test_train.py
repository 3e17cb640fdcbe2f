"""The training benchmark takes real steps of real trainers, in turns, and relates them to each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import train_arms
from benchmarks.train import main, taking_turns
from benchmarks.train_arms import Setting, arms_of, prepare
from benchmarks.train_table import markdown
from fgd_yolo.config import METHOD_OPTIONS
from fgd_yolo.ultralytics import quiet_ultralytics

ROOT = Path(__file__).parents[3]
RECORD = {
    "machine": "a machine",
    "threads": "1 thread",
    "precision": "float32",
    "student": "yolov8n",
    "batch": 8,
    "versions": {"torch": "2.0"},
    "cells": [
        {
            "teacher": "yolov8s",
            "imgsz": 320,
            "compile": False,
            "arms": [
                {"arm": "plain", "seconds": [0.5, 0.4, 0.5], "peak_bytes": 2**30},
                {"arm": "Ultralytics", "seconds": [1.0, 0.8, 1.5], "peak_bytes": 2**31},
                {"arm": "fgd_yolo, fgd", "seconds": [0.6, 0.9, 1.2], "peak_bytes": None},
            ],
        }
    ],
}


def test_the_table_has_the_ratios_of_the_shortest_times_and_the_median_of_each_rounds_ratio():
    lines = markdown(RECORD).split("\n")
    assert lines[0] == "a machine; 1 thread; float32. Batch 8; in each round the variants take turns. torch 2.0."
    assert lines[2] == "**yolov8s to yolov8n, 320 px, 3 rounds**"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[6:]]
    assert cells[1] == ["Ultralytics", "800 ms", "1000 ms", "2.00", "1.00", "2.00", "1.00", "2048 MiB", "1.00"]
    assert cells[2] == ["fgd_yolo, fgd", "600 ms", "900 ms", "1.50", "0.75", "2.25", "0.80", "-", "-"]
    assert len({line.count("|") for line in lines[4:]}) == 1


def test_steps_take_turns_and_each_round_begins_with_another_one():
    order = []
    times = taking_turns({name: lambda name=name: order.append(name) for name in "abc"}, 2, "steps")
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2, "c": 2}


def test_every_method_has_an_arm_and_no_two_arms_share_a_name():
    arms = arms_of([*METHOD_OPTIONS], "cpu")
    labels = [arm.label for arm in arms]
    assert len({*labels}) == len(labels) and {f"fgd_yolo, {method}" for method in METHOD_OPTIONS} < {*labels}
    compiled = arms_of(["fgd+heads"], "0", compiled=True)
    assert [arm.label for arm in compiled] == ["plain", "Ultralytics", "fgd_yolo, fgd+heads"]


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    with quiet_ultralytics():
        setting = Setting(tmp_path_factory.mktemp("train"), "yolov8n", 64, 2, "cpu")
        prepare(setting)
    return setting


@pytest.mark.slow
def test_a_step_trains_the_student_on_the_given_batch_once(setting):
    step = train_arms.ours(setting, "fgd+heads", "bf16")
    assert step.trainer.distiller.feature_teacher.frozen.dtype == torch.bfloat16
    student = step.trainer.model
    before = [parameter.detach().clone() for parameter in student.parameters() if parameter.requires_grad]
    step()
    after = [parameter for parameter in student.parameters() if parameter.requires_grad]
    assert all(parameter.grad is None for parameter in after)
    assert sum(not torch.equal(*pair) for pair in zip(before, after, strict=True)) > 0.9 * len(after)
    assert step.trainer.ema.updates == 1 and step.trainer.distiller.features.ratio.batches == 1


@pytest.mark.slow
def test_the_lower_teacher_of_ultralytics_gives_the_loss_similar_features_in_float32(setting):
    step = train_arms.ultralytics(setting)
    model, batch = step.trainer.model, step.trainer.preprocess_batch(dict(step.batch))
    model(batch)
    full = dict(model._teacher_feats)
    train_arms.lower_teacher(model)
    assert model(batch)[1]["dis_loss"] > 0
    for level in range(3):
        lower = model._teacher_feats[level]
        assert lower.dtype == torch.float32 and not torch.equal(lower, full[level])
        # An untrained network with the statistics of few small images amplifies rounding.
        assert (lower - full[level]).norm() < 0.5 * full[level].norm()


@pytest.mark.slow
@pytest.mark.parametrize("beside", [False, True])
def test_the_floor_takes_the_plain_step_and_waits_for_the_maps_of_the_teacher(setting, beside):
    step = train_arms.floor(setting, "fp32", beside)
    images = step.trainer.preprocess_batch(dict(step.batch))["img"]
    maps = step.beside(images)()
    assert [tuple(level.shape) for level in maps] == [(2, 64, 8, 8), (2, 128, 4, 4), (2, 256, 2, 2)]
    step()
    assert step.trainer.ema.updates == 1


def test_the_command_runs_as_a_file_too():
    command = [sys.executable, "benchmarks/train.py", "--help"]
    shown = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert "python benchmarks/train.py --teachers yolov8s" in shown.stdout, shown.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--repeats", "0"], "--repeats"), (["--methods", "fdg"], "fdg"), (["--device", "7"], "--device 7")],
)
def test_a_wrong_option_is_one_clear_line(arguments, named, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(arguments) in (1, 2)
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
