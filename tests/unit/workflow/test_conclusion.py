"""A run ends with one sentence about its numbers, and at most four commands."""

from __future__ import annotations

import re
import shlex

import pytest
from fgd_yolo.cfg import recipe_names

from fgd_yolo.cli.compare_command import parse as parse_compare
from fgd_yolo.cli.distill_command import parse_distill
from fgd_yolo.cli.export_command import build_parser as export_parser
from fgd_yolo.cli.predict_command import build_parser as predict_parser
from fgd_yolo.config import METHOD_OPTIONS, Recipe, load_recipe
from fgd_yolo.train_arguments import parse_assignments
from fgd_yolo.workflow.conclusion import CASES, Outcome, conclude, next_commands, weaker_ratios
from fgd_yolo.workflow.run_folder import save_recipe

FILES = {"weights": "runs/distill/yolov8n/student.pt", "onnx": "runs/distill/yolov8n/student.onnx"}


def row(map50_95, parameters=3_000_000, cpu_ms=40.0):
    values = {"name": "model", "map50_95": map50_95, "map50": None, "gflops": 8.2}
    values |= {"box_map50_95": map50_95, "box_map50": None}
    return {**values, "parameters": parameters, "cpu_ms": cpu_ms}


def make_result(student=0.45, teacher=0.60, twin=None, method="fgd", **changes):
    """The result of 100 epochs of 1600 images in batches of 16, which are 10 000 batches and 2500 optimizer steps."""
    result = {
        "task": "detect",
        "method": method,
        "seed": 0,
        **{"epochs": 100, "batch": 16, "nbs": 64, "batches": 10_000, "optimizer_steps": 2500},
        **{"train_images": 1600, "val_images": 72, "data": "data.yaml", "images": "images/val"},
        "teachers": [] if method == "plain" else [row(teacher, 12_000_000, 200.0)],
        "student": row(student),
        "files": FILES,
    }
    if twin is not None:
        result["twin"] = {"run": "twin", "method": "plain" if method != "plain" else "fgd", "student": row(twin)}
    return {**result, **changes}


SHORT = {"epochs": 3, "batches": 300, "optimizer_steps": 75}
SENTENCES = {
    "gain": (
        make_result(twin=0.40),
        "Distillation gained 0.050 mAP50-95 over plain training (0.450 against 0.400) with this seed; one seed proves "
        "nothing, so repeat both runs with others.",
    ),
    "gain, seen from the plain run": (
        make_result(student=0.40, twin=0.45, method="plain"),
        "Distillation gained 0.050 mAP50-95 over plain training (0.450 against 0.400) with this seed; one seed proves "
        "nothing, so repeat both runs with others.",
    ),
    "loss": (
        make_result(twin=0.47),
        "Distillation lost 0.020 mAP50-95 against plain training (0.450 against 0.470) with this seed; one seed proves "
        "nothing, so repeat both runs with others.",
    ),
    "no difference": (
        make_result(twin=0.4501),
        "Distillation gained nothing over plain training (0.450 against 0.450) with this seed; one seed proves "
        "nothing, so repeat both runs with others.",
    ),
    "no gain from a teacher that is no better": (
        make_result(teacher=0.45, twin=0.47),
        "Distillation lost 0.020 mAP50-95 against plain training (0.450 against 0.470), and its teacher is no better "
        "than the student (0.450 against 0.450): give a better teacher.",
    ),
    "distilled": (
        make_result(),
        "The student reaches 75% of its teacher's mAP50-95 with 25% of its parameters and 20% of its time on a CPU; "
        "only the same run without distillation shows what it gained.",
    ),
    "distilled, time not measured": (
        {**make_result(), "student": row(0.45, cpu_ms=None)},
        "The student reaches 75% of its teacher's mAP50-95 with 25% of its parameters; only the same run without "
        "distillation shows what it gained.",
    ),
    "teacher no better": (
        make_result(teacher=0.44),
        "The student has reached its teacher (0.450 against 0.440); whether it learnt anything from it, only the same "
        "run without distillation shows.",
    ),
    "distilled by a teacher of other classes": (
        make_result(teachers=[{**row(0.2), "known": ["a"], "unknown": ["b"]}]),
        "The student reaches mAP50-95 0.450; only the same run without distillation shows what it gained.",
    ),
    "plain": (
        make_result(method="plain"),
        "The student reaches mAP50-95 0.450 without distillation; a distilled run with the same options becomes a row "
        "of this table.",
    ),
    "not measured": (
        make_result(student=None),
        "The student's mAP50-95 could not be measured, so these numbers say nothing about it: look for nan in "
        "student/results.csv.",
    ),
    "nothing, accumulated steps": (
        make_result(student=0.0, **SHORT),
        "The student detects nothing; the likeliest cause is too few optimizer steps: about 75 in 3 epochs of 1600 "
        "images, since each takes nbs=64 images.",
    ),
    "nothing, few steps": (
        make_result(student=0.0, epochs=1, train_images=1, batches=1, optimizer_steps=1),
        "The student detects nothing; the likeliest cause is too few optimizer steps: about 1 in 1 epoch of 1 image.",
    ),
    "less than a tenth, few epochs": (
        make_result(student=0.05, epochs=5, batches=None, optimizer_steps=None),
        "The student has less than a tenth of its teacher's mAP50-95; the likeliest cause is too few epochs: 5 epochs "
        "of 1600 images.",
    ),
    "less than a tenth of a long run": (
        make_result(student=0.05),
        "The student has less than a tenth of its teacher's mAP50-95; the likeliest cause is the learning rate, or "
        "labels that do not fit the images, since 100 epochs of 1600 images should be enough.",
    ),
    "agreement on frames without labels": (
        make_result(
            teacher=None, data=None, labelled_by={"teacher": "t", "score": 0.6}, files={**FILES, "teachers": ["t.pt"]}
        ),
        "The student agrees with its teacher by mAP50-95 0.450 on held-out frames; how accurate either of them is, "
        "only labels can show.",
    ),
    "imitation alone": (
        make_result(
            **{"student": 0.0, "imitation": True, "labelled_by": {"teacher": "t", "score": 0.6}},
            **{"unlabeled_images": 1600, "files": {**FILES, "teachers": ["t.pt"]}},
        ),
        "The student has imitated its teacher for 100 epochs of 1600 images without labels; what that is worth, only "
        "its training on labelled data shows.",
    ),
    "less than a tenth, few epochs with frames": (
        make_result(student=0.05, epochs=5, batches=None, optimizer_steps=None, unlabeled_images=400, labelled_by=None),
        "The student has less than a tenth of its teacher's mAP50-95; the likeliest cause is too few epochs: 5 epochs "
        "of 2000 images.",
    ),
    "less than a tenth, and the plain run is good": (
        make_result(student=0.05, twin=0.40, **SHORT),
        "The student has less than a tenth of its teacher's mAP50-95; the likeliest cause is the distillation, since "
        "the plain run reaches 0.400: try smaller gradient ratios.",
    ),
    "less than a tenth, and the plain run as well": (
        make_result(student=0.05, twin=0.05),
        "The student has less than a tenth of its teacher's mAP50-95; the likeliest cause is the learning rate, or "
        "labels that do not fit the images, since 100 epochs of 1600 images should be enough.",
    ),
}
RESULTS = {name: result for name, (result, _) in SENTENCES.items()}


@pytest.mark.parametrize("name", SENTENCES)
def test_the_sentence_says_what_the_numbers_mean(name):
    result, sentence = SENTENCES[name]
    assert conclude(result) == sentence


def test_every_case_has_an_example():
    runs = [Outcome(result) for result in RESULTS.values()]
    assert {next(case for case in CASES if case.applies(run)) for run in runs} == {*CASES}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_an_accuracy_that_is_not_a_number_was_not_measured(value):
    assert "could not be measured" in conclude(make_result(student=value))
    assert "of its teacher" not in conclude(make_result(teacher=value))
    assert conclude(make_result(twin=0.4, student=0.45)) != conclude(make_result(student=value, twin=0.4))


def test_the_student_is_compared_with_its_best_teacher():
    teachers = [row(0.5, 30_000_000), row(0.9, 12_000_000, 200.0), row(None)]
    assert "50% of its teacher's mAP50-95 with 25% of its parameters" in conclude(make_result(teachers=teachers))


@pytest.mark.parametrize("name", RESULTS)
def test_at_most_four_commands_follow_and_each_fits_a_line(name, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")  # beside which no fgd-yolo is installed
    commands = [command for _, command in next_commands(RESULTS[name])]
    assert 1 <= len(commands) <= 4 and len({*commands}) == len(commands)
    assert all(len(command) <= 100 for command in commands)
    of_checkpoints = [command for command in commands if not command.startswith("fgd-yolo distill")]
    assert not re.search("--imgsz|--data", " ".join(of_checkpoints)), "the checkpoint knows both"


def test_relative_paths_are_printed_for_absolute_ones(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/distill/yolov8n"
    files = {"weights": str(run / "student.pt"), "onnx": str(run / "student.onnx")}
    result = make_result(files=files, images=str(tmp_path / "images/val"))
    assert next_commands(result) == next_commands(make_result())


def commands_of(result, monkeypatch) -> list[list[str]]:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    return [shlex.split(command)[1:] for _, command in next_commands(result)]


def test_after_a_distilled_run_come_its_twin_a_comparison_int8_and_a_look(monkeypatch):
    plain, _, export, look = commands_of(make_result(), monkeypatch)
    assert plain == ["distill", "--recipe", "runs/distill/yolov8n/plain.yaml"]
    options = export_parser().parse_args(export[1:])
    assert (str(options.model), options.precision) == (FILES["weights"], "int8")
    options = predict_parser().parse_args(look[1:])
    assert (str(options.model), options.source) == (FILES["onnx"], ["images/val"])


@pytest.mark.parametrize("twin", [None, 0.40, 0.47], ids=["no twin", "gain", "loss"])
def test_whether_it_pays_off_is_said_by_pairs_of_such_runs(twin, tmp_path, monkeypatch):
    """The command reads the run's own recipe, and distils from the file that the run distilled from."""
    recipe = Recipe.from_dict(
        {
            **{"teacher": "large.yaml", "student": "small.yaml", "data": "cells.yaml", "heads.ratio": 0.25},
            "train": {"epochs": 7, "lr0": 0.002, "seed": 3, "task": "detect", "project": "x", "name": "y"},
        }
    )
    save_recipe(tmp_path, recipe)
    files = {"weights": str(tmp_path / "student.pt"), "onnx": str(tmp_path / "student.onnx"), "teachers": ["a.pt"]}
    commands = commands_of(make_result(twin=twin, files=files), monkeypatch)
    (words,) = [words for words in commands if words[0] == "compare"]
    options = parse_compare(words[1:])
    assert [method.label for method in options.methods] == ["plain", "heads+dfine:heads.ratio=0.25"]
    assert (options.teachers, options.student, options.data) == (["a.pt"], "small.yaml", ["cells.yaml"])
    assert (options.train, options.seeds) == ({"epochs": 7, "lr0": 0.002}, [0, 1, 2])


def test_no_comparison_is_suggested_where_none_is_possible(monkeypatch):
    """A plain run names no teacher, and labels for the frames of a run are not known."""
    without_labels = make_result(unlabeled_images=9)
    of_unknown_length = make_result(batches=None, optimizer_steps=None)  # `time`, or AutoBatch
    of_a_part = make_result(fraction=0.5)
    plain = make_result(method="plain"), make_result(method="plain", twin=0.4)
    for result in (*plain, without_labels, of_unknown_length, of_a_part):
        assert not any(words[0] == "compare" for words in commands_of(result, monkeypatch))


def test_the_epochs_of_a_run_that_stopped_early_are_those_that_were_trained():
    stopped = make_result(student=0.0, epochs=100, epochs_trained=3, batches=None, optimizer_steps=None)
    assert "too few epochs: 3 epochs of" in conclude(stopped)
    assert "since 100 epochs of" in conclude({**stopped, "epochs_trained": None})


def test_a_plain_run_is_not_suggested_after_one_or_beside_a_twin(monkeypatch):
    for result in (make_result(method="plain"), make_result(twin=0.4), make_result(student=0.0, twin=0.0)):
        assert not any("plain.yaml" in " ".join(words) for words in commands_of(result, monkeypatch))


def test_a_student_of_the_demo_is_shown_the_moving_demo_scene(monkeypatch):
    words = commands_of(make_result(data=None), monkeypatch)[-1]
    assert words[0] == "stream" and words[words.index("--source") + 1] == "test://"


def test_after_a_run_without_labels_come_the_frames_to_label(monkeypatch):
    result, _ = SENTENCES["agreement on frames without labels"]
    disagree, export, look = commands_of(result, monkeypatch)
    assert disagree == [
        *("disagree", "--model", FILES["weights"], "--teacher", "t.pt", "--source", "images/val"),
    ]
    assert export[0] == "export" and look[0] == "predict"


def test_a_run_with_few_steps_is_repeated_with_more(monkeypatch):
    longer = commands_of(make_result(student=0.0, **SHORT), monkeypatch)[0]
    assert longer == ["distill", "--recipe", "runs/distill/yolov8n/distill.yaml", "nbs=16", "epochs=100"]
    few = make_result(student=0.0, epochs=50, train_images=8, batch=8, nbs=8, batches=50, optimizer_steps=50)
    assert commands_of(few, monkeypatch)[0][-1] == "epochs=1000", "1000 steps of the same batches"


def test_a_student_that_detects_nothing_is_not_exported_to_int8(monkeypatch):
    assert not any("int8" in words for words in commands_of(make_result(student=0.0, **SHORT), monkeypatch))


@pytest.mark.parametrize("name", recipe_names())
def test_the_weaker_distillation_is_weaker_than_every_recipe(name):
    given = load_recipe(name)
    weaker = given.replace(**parse_assignments(weaker_ratios(given.method).split()))
    for method in given.methods:
        now, then = (getattr(recipe, METHOD_OPTIONS[method].group).ratio for recipe in (weaker, given))
        assert now is not None and (then is None or now < then), "fixed weights get a ratio, others a smaller one"


@pytest.mark.parametrize("method", METHOD_OPTIONS)
def test_the_weaker_distillation_is_weaker_than_the_default_of_every_method(method):
    given = Recipe(method=method)
    weaker = given.replace(**parse_assignments(weaker_ratios(method).split()))
    group = METHOD_OPTIONS[method].group
    assert 0 < getattr(weaker, group).ratio < getattr(given, group).ratio


def test_the_weaker_distillation_of_the_default_weakens_both_groups():
    assert weaker_ratios("fgd+heads") == "features.ratio=0.01 heads.ratio=0.05"
    assert weaker_ratios("pkd") == "features.ratio=0.01"


def test_paths_survive_a_shell(monkeypatch):
    files = {"weights": "/runs/my run/student.pt", "onnx": "/runs/my run/student.onnx"}
    plain, compare, export, _ = commands_of(make_result(files=files), monkeypatch)
    assert compare[-1] == "/runs/my run/distill.yaml"
    assert plain[-1] == "/runs/my run/plain.yaml" and files["weights"] in export


def test_a_student_is_not_blamed_on_a_distillation_that_it_does_not_have():
    assert "the distillation" not in conclude(make_result(student=0.0, twin=0.4, method="plain", **SHORT))
    assert parse_distill(["--recipe", "x.yaml", "nbs=16"])["nbs"] == 16
    assert not load_recipe("plain").active
