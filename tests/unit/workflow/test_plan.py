from __future__ import annotations

import re
import shutil
from types import SimpleNamespace

import pytest
import yaml
from torch import nn
from ultralytics.engine.trainer import BaseTrainer

from fgd_yolo.config import FGDConfig, Recipe, load_recipe
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.task_table import TASKS
from fgd_yolo.workflow.plan import OPTIMIZERS, as_recipe, demo_arguments, make_plan
from fixtures import save_checkpoint


@pytest.fixture
def plan(tiny_data, student_yaml, teacher_pt):
    """Make the plan of a run with these train arguments."""

    def make(teacher=None, data=tiny_data, features_from=None, teacher_imgsz=None, student=student_yaml, **train):
        recipe = Recipe() if teacher else load_recipe("plain")
        options = {"teacher": teacher, "student": str(student), "features.teacher": features_from}
        options |= {"teacher_imgsz": teacher_imgsz}
        return make_plan(recipe.override(train={"device": "cpu", **train}, data=str(data), **options))

    return make


def test_an_image_size_between_strides_is_rounded_up_for_student_and_teacher_with_a_message(plan, teacher_pt, capsys):
    recipe = plan(teacher=teacher_pt, imgsz=100).recipe
    assert (recipe.train["imgsz"], recipe.teacher_train["imgsz"]) == (128, 128)
    assert "imgsz 100 is not a multiple of 32: using 128 throughout" in capsys.readouterr().out
    assert plan(imgsz=1).recipe.train["imgsz"] == 32


def test_the_image_size_is_a_multiple_of_the_largest_stride_of_the_student(plan, teacher_pt, capsys):
    recipe = plan(teacher=teacher_pt, student="yolov8n-p6.yaml", imgsz=96).recipe
    assert (recipe.train["imgsz"], recipe.teacher_train["imgsz"]) == (128, 96)
    assert "imgsz 96 is not a multiple of 64: using 128 throughout" in capsys.readouterr().out


def test_a_teacher_that_sees_larger_images_is_fine_tuned_at_their_size(plan, teacher_pt, student_yaml):
    recipe = plan(teacher=teacher_pt, teacher_imgsz=192, imgsz=96).recipe
    assert (recipe.train["imgsz"], recipe.teacher_train["imgsz"]) == (96, 192)
    assert plan(teacher=teacher_pt, imgsz=96).recipe.teacher_train["imgsz"] == 96
    with pytest.raises(UsageError, match=r"^teacher_imgsz=64 is below the student's imgsz=96: give a larger one"):
        plan(teacher=teacher_pt, teacher_imgsz=64, imgsz=96)
    with pytest.raises(UsageError, match=r"teacher_imgsz=200 is not a multiple of 32, .* of teacher narrow: use 224"):
        plan(teacher=student_yaml, teacher_imgsz=200, imgsz=96)
    with pytest.raises(UsageError, match=r"^teacher_imgsz=320 is below the student's imgsz=640"):
        plan(teacher=teacher_pt, teacher_imgsz=320)  # Ultralytics' default imgsz


@pytest.mark.parametrize("options", [{"teacher_imgsz": 128}, {"inherit": True}])
def test_options_about_a_teacher_are_refused_where_nothing_is_distilled(options):
    (name,) = options
    with pytest.raises(UsageError, match=rf"^{name}=\w+ needs a teacher, and nothing is distilled: leave it out"):
        load_recipe("plain").override(**options)


def test_several_teachers_are_recorded_in_their_order_with_absolute_paths(plan, teacher_pt, tiny_data, tmp_path):
    other = save_checkpoint(tmp_path / "other.pt", "yolov8n.yaml", tiny_data, seed=3)
    made = plan(teacher=f"{other},{teacher_pt}", features_from=2)
    assert [teacher.name for teacher in made.teachers] == ["other", "teacher"]
    assert made.recipe.teachers == (str(other), str(teacher_pt))
    assert plan(teacher=teacher_pt).recipe.teacher == str(teacher_pt), "one is recorded as before"
    assert plan().teachers == () and plan().recipe.teacher is None


def test_the_same_teacher_under_two_names_is_a_usage_error(plan, teacher_pt, tmp_path):
    copy = shutil.copy(teacher_pt, tmp_path / "copy.pt")
    with pytest.raises(UsageError, match=r"teachers .*teacher\.pt and .*copy\.pt are the same model: leave out one"):
        plan(teacher=[teacher_pt, copy])


def test_features_from_a_teacher_that_is_not_there_are_a_usage_error(plan, teacher_pt):
    with pytest.raises(UsageError, match=r"^features\.teacher=2 is not the place of a teacher: --teacher names 1, "):
        plan(teacher=teacher_pt, features_from=2)


def test_an_image_size_of_whole_strides_stays_and_a_missing_one_is_not_filled_in(plan, capsys):
    assert plan(imgsz=96).recipe.train["imgsz"] == 96
    assert "imgsz" not in plan().recipe.train
    assert "multiple of 32" not in capsys.readouterr().out


@pytest.mark.parametrize("channels", [1, 4])
def test_a_teacher_of_other_channels_than_the_data_is_refused_and_a_student_of_others_reported(
    plan, teacher_pt, student_yaml, tiny_data, tmp_path, capsys, channels
):
    data = tmp_path / "other.yaml"
    data.write_text(yaml.safe_dump({**yaml.safe_load(tiny_data.read_text()), "channels": channels}))
    message = rf"^teacher .*teacher\.pt reads 3-channel images, data .*other\.yaml has {channels}: give a teacher of "
    with pytest.raises(FGDError, match=message):
        plan(teacher=teacher_pt, data=data)
    own = save_checkpoint(tmp_path / "own.pt", student_yaml, data, channels=channels)
    assert plan(teacher=own, data=data).dataset.channels == channels
    with pytest.raises(FGDError, match=rf"own\.pt reads {channels}-channel images, data .* has 3"):
        plan(teacher=f"{teacher_pt},{own}")
    assert plan(teacher=student_yaml, data=data).teachers[0].names is None, "an architecture is trained on the data"
    assert "first convolution" not in capsys.readouterr().out
    make_plan(load_recipe("plain").override(student=str(teacher_pt), data=str(data), train={"device": "cpu"}))
    line = f"reads 3-channel images, the data has {channels}: its first convolution starts from random weights"
    assert line in capsys.readouterr().out


def test_a_plan_has_a_method_that_its_teachers_can_teach(plan, teacher_pt, student_yaml, tiny_data, tmp_path, capsys):
    assert plan(teacher=teacher_pt).recipe.method == FGDConfig().method
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**yaml.safe_load(tiny_data.read_text()), "names": ["cat", "dog", "emu"]}))
    models = {"teacher": str(teacher_pt), "student": str(student_yaml), "data": str(other)}
    for epochs, expected in ((0, "fgd"), (2, FGDConfig().method)):
        assert make_plan(Recipe(**models, teacher_epochs=epochs, train={"device": "cpu"})).recipe.method == expected
        said = "method fgd, not the default" in capsys.readouterr().out
        assert said == (expected == "fgd"), "a teacher that is fine-tuned knows the classes then"
    with pytest.raises(FGDError, match="none of the data's 3 classes"):
        make_plan(Recipe(**models, method="heads", teacher_epochs=0))


def test_a_run_of_few_steps_prints_how_to_make_more(plan, capsys):
    plan(batch=4, epochs=30)  # 12 images: 90 batches, 16 for each step
    output = capsys.readouterr().out
    assert "only about 5 optimizer steps" in output and "nbs=4 makes 90 steps" in output
    for enough in (
        {"nbs": 4, "epochs": 30},
        {"batch": 64, "epochs": 30},
        {"epochs": 10_000},
        {"batch": -1},
        {"time": 1.5},
    ):
        plan(**{"batch": 4, **enough})
        assert "optimizer steps" not in capsys.readouterr().out, enough


def test_the_optimizers_are_those_of_ultralytics_error_message():
    with pytest.raises(NotImplementedError) as error:
        BaseTrainer.build_optimizer(SimpleNamespace(args=None), nn.Linear(1, 1), name="nonsense")
    listed = re.search(r"\{(.*)\}", str(error.value)).group(1)
    assert {name.strip(" '") for name in listed.split(",")} == set(OPTIMIZERS)


@pytest.mark.parametrize(
    ("argument", "value", "part"),
    [
        ("imgsz", [320, 640], "imgsz must be a positive integer"),
        ("imgsz", "large", "imgsz must be a positive integer"),
        ("imgsz", 0, "imgsz must be a positive integer"),
        ("imgsz", -64, "imgsz must be a positive integer"),
        ("imgsz", True, "imgsz must be a positive integer"),
        ("imgsz", None, "imgsz must be a positive integer"),
        ("imgsz", 320.5, "imgsz must be a positive integer"),
        ("optimizer", "AdmW", "did you mean 'AdamW'"),
        ("optimizer", None, "unknown optimizer 'None'"),
        ("freeze", "backbone", "freeze must be"),
        ("freeze", [0, "one"], "freeze must be"),
        ("freeze", -1, "freeze must be"),
        ("freeze", True, "freeze must be"),
        ("freeze", 23, "has 23 layers, 0 to 22"),
        ("freeze", [0, 23], "has 23 layers, 0 to 22"),
    ],
)
def test_a_wrong_value_is_a_usage_error_that_names_its_argument(plan, argument, value, part):
    with pytest.raises(UsageError, match=part):
        plan(**{argument: value})


@pytest.mark.parametrize(("batch", "part"), [(2, "and there are 3: give at least batch=3"), (-1, "is for one process")])
def test_a_batch_that_torchrun_s_processes_cannot_share_is_refused_before_anything_is_written(
    plan, batch, part, monkeypatch
):
    for name, value in {"WORLD_SIZE": 3, "RANK": 0, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 3}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UsageError, match=part):
        plan(batch=batch)
    assert plan(batch=3).recipe.train["batch"] == 3


@pytest.mark.parametrize(
    ("argument", "value"),
    [("optimizer", "adamw"), ("optimizer", "auto"), ("freeze", 22), ("freeze", [0, 22]), ("freeze", None)],
)
def test_values_that_ultralytics_accepts_are_accepted(plan, argument, value):
    assert plan(**{argument: value}).recipe.train[argument] == value


def test_a_recipe_comes_from_a_name_a_file_a_config_or_the_default(tmp_path):
    (tmp_path / "own.yaml").write_text("student: yolov8n\ntrain: {epochs: 3}\n")
    assert as_recipe(tmp_path / "own.yaml").train == {"epochs": 3}
    assert as_recipe("plain").active is False
    assert as_recipe(FGDConfig(method="fitnet")).method == "fitnet"
    assert as_recipe(None).config == FGDConfig()
    recipe = Recipe(student="yolo11n")
    assert as_recipe(recipe) is recipe


@pytest.mark.parametrize(("task", "flipped"), [("detect", 0.5), ("pose", 0.0)])
def test_demo_scenes_with_keypoints_are_not_flipped_upside_down(task, flipped):
    for arguments in demo_arguments({"epochs": 3}, "cpu", TASKS[task]):
        assert (arguments["flipud"], arguments["epochs"]) == (flipped, 3)
    assert demo_arguments({"flipud": 0.2}, "cpu", TASKS[task])[0]["flipud"] == 0.2


@pytest.mark.parametrize("capable", [True, False])
def test_the_demo_learns_in_bfloat16_on_a_cpu_that_has_it_unless_the_user_says_otherwise(capable, monkeypatch):
    monkeypatch.setattr("fgd_yolo.workflow.plan.has_bfloat16", lambda: capable)
    task = TASKS["detect"]
    expected = ["bf16", "bf16"] if capable else [None, None]
    assert [arguments.get("amp") for arguments in demo_arguments({}, "cpu", task)] == expected
    assert [arguments.get("amp") for arguments in demo_arguments({}, "cuda", task)] == [None, None]
    assert [arguments["amp"] for arguments in demo_arguments({"amp": False}, "cpu", task)] == [False, False]


def test_bfloat16_is_refused_on_a_cpu_without_it_before_the_data_is_read(plan, monkeypatch):
    monkeypatch.setattr("fgd_yolo.training.speed.cpu_autocast.has_bfloat16", lambda: False)
    with pytest.raises(UsageError, match="amp=bf16: this CPU has neither AVX512-BF16 nor AMX"):
        plan(data="none.yaml", amp="bf16")
    assert plan(amp=True).recipe.train["amp"] is True
