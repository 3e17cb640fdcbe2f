from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from fgd_yolo.config import Recipe
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.workflow.run_folder import (
    DATA,
    Input,
    check_inputs,
    check_places,
    checkpoint_input,
    file_input,
    new_run_folder,
    read_inputs,
    read_recipe,
    read_result,
    record_inputs,
    save_recipe,
    save_result,
    teacher_input,
    teacher_stage,
)


def test_runs_are_numbered_and_never_share_a_folder():
    names = [new_run_folder(None, None, "/models/yolov8n.yaml").name for _ in range(3)]
    assert names == ["yolov8n", "yolov8n-2", "yolov8n-3"]
    assert new_run_folder(None, None, "yolov8n").parent == Path.cwd() / "runs/distill"


def test_project_and_name_set_the_folder(tmp_path):
    assert new_run_folder(tmp_path / "p", "007", "yolov8n") == tmp_path / "p" / "007"
    assert new_run_folder(tmp_path / "p", "007", "yolov8n") == tmp_path / "p" / "007-2"


def test_options_read_back_as_they_were_written(tmp_path):
    recipe = Recipe(
        teacher="/t.pt",
        student="yolov8n.yaml",
        train={"freeze": [0], "lr0": 0.1},
        method="fgd",
        features={"ratio": None},
    )
    save_recipe(tmp_path, recipe)
    assert read_recipe(tmp_path) == recipe


def test_a_folder_without_a_run_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"distill\.yaml does not exist"):
        read_recipe(tmp_path)


ACCURACY = {"map50_95": 0.4, "map50": 0.7, "box_map50_95": 0.4, "box_map50": 0.7}
ROW = {"name": "student n", **ACCURACY, "parameters": 3_011_433, "gflops": 8.2, "cpu_ms": 41}
RESULT = {
    "task": "detect",
    "method": "fgd",
    "fingerprint": "abc",
    "seed": 0,
    "imgsz": 320,
    "split": "val",
    "val_images": 6,
    "cpu_threads": 1,
    **{"epochs": 3, "batch": 16, "nbs": 64, "batches": 30, "optimizer_steps": 7, "train_images": 160},
    **{"data": "/data/d.yaml", "images": "/data/images/val"},
    "teachers": [ROW],
    "student": ROW,
    "files": {"weights": "/run/student.pt", "onnx": None, "teachers": ["/t.pt"]},
}


@pytest.mark.parametrize("teachers", [[], [ROW], [ROW, {**ROW, "map50": None}]])
def test_a_complete_result_is_read_back(teachers, tmp_path):
    assert read_result(tmp_path) is None
    save_result(tmp_path, {**RESULT, "teachers": teachers})
    here = {"weights": str(tmp_path / "student.pt"), "onnx": None, "teachers": ["/t.pt"]}
    assert read_result(tmp_path) == {**RESULT, "teachers": teachers, "files": here}


@pytest.mark.parametrize("key", ["data", "batches", "optimizer_steps"])
def test_a_value_that_may_be_unknown_is_null_or_of_its_type(key, tmp_path):
    save_result(tmp_path, {**RESULT, key: None})
    assert read_result(tmp_path)[key] is None
    save_result(tmp_path, {**RESULT, key: [1]})
    assert read_result(tmp_path) is None


@pytest.mark.parametrize("key", [key for key in RESULT if key not in {"data", "batches", "optimizer_steps"}])
def test_a_result_without_a_required_key_is_ignored(key, tmp_path):
    for value in (None, [1], float("nan")):
        save_result(tmp_path, {**RESULT, key: value})
        assert read_result(tmp_path) is None
    save_result(tmp_path, {other: value for other, value in RESULT.items() if other != key})
    assert read_result(tmp_path) is None


@pytest.mark.parametrize("role", ["teachers", "student"])
@pytest.mark.parametrize("odd", [{"map50": float("nan")}, {"cpu_ms": float("inf")}, {"gflops": "8"}, {"name": None}])
def test_a_result_with_a_value_of_the_wrong_type_is_ignored(role, odd, tmp_path):
    row = {**ROW, **odd}
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, role: [ROW, row] if role == "teachers" else row}))
    assert read_result(tmp_path) is None


@pytest.mark.parametrize("odd", [{"teachers": None}, {"teachers": "/t.pt"}, {"teachers": [3]}, {"weights": 3}])
def test_a_result_with_files_of_the_wrong_type_is_ignored(odd, tmp_path):
    save_result(tmp_path, {**RESULT, "files": {**RESULT["files"], **odd}})
    assert read_result(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"method": "fgd"', bytes(range(256)), b"null", b"NaN"])
def test_a_damaged_result_is_ignored(content, tmp_path):
    (tmp_path / "result.json").write_bytes(content)
    assert read_result(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"[1]",
        b"42",
        b"student: [",
        bytes(range(256)),
        b"student: s.pt\ntrian: {}",
        b"student: .nan",
        b"student: s.pt\ntrain: 3",
        b"student: s.pt\ntrain: {lr0: .nan}",
        b"student: s.pt\nteacher_train: {momentum: .inf}",
        b"student: s.pt\nfgd: {temperature: .nan}",
        b"student: s.pt\nfgd:",
    ],
)
def test_damaged_options_are_one_line_that_names_the_file_and_what_to_do(content, tmp_path):
    (tmp_path / "distill.yaml").write_bytes(content)
    with pytest.raises(FGDError, match=r"distill\.yaml cannot be used \(.+\): repair it, or start a new run") as error:
        read_recipe(tmp_path)
    assert error.value.exit_code == 1 and "\n" not in one_line(error.value)


@pytest.mark.parametrize("name", ["distill.yaml", "result.json", "student.pt", "student.onnx"])
def test_a_folder_in_place_of_a_file_is_named(name, tmp_path):
    check_places(tmp_path)
    (tmp_path / name).mkdir()
    with pytest.raises(FGDError, match=rf"{name} is a folder and should be a file: move it away"):
        check_places(tmp_path)


@pytest.mark.parametrize("name", ["student", "teacher", "student/weights", "teacher-2", "teacher-2/weights"])
def test_a_file_in_place_of_a_folder_is_named(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(FGDError, match=rf"{name} is a file and should be a folder: move it away"):
        check_places(tmp_path)


def test_a_run_that_was_copied_names_its_own_files(tmp_path):
    files = {"weights": "/run/student.pt", "onnx": "/run/student.onnx", "training": "/run/student"}
    files |= {"teachers": ["/t.pt", "/u.pt"]}
    save_result(tmp_path, {**RESULT, "files": files})
    assert read_result(tmp_path)["files"] == {
        "weights": str(tmp_path / "student.pt"),
        "onnx": str(tmp_path / "student.onnx"),
        "training": str(tmp_path / "student"),
        "teachers": ["/t.pt", "/u.pt"],
    }
    save_result(tmp_path, RESULT)
    assert read_result(tmp_path)["files"] == {**RESULT["files"], "weights": str(tmp_path / "student.pt")}


def test_the_names_of_one_teacher_have_no_number_and_those_of_further_ones_have_their_place():
    assert [teacher_stage(place) for place in (1, 2, 3)] == ["teacher", "teacher-2", "teacher-3"]
    assert [teacher_input(place) for place in (1, 2)] == ["teacher", "teacher 2"]
    assert [checkpoint_input(place) for place in (1, 2)] == ["teacher's checkpoint", "teacher 2's checkpoint"]


TEACHER = teacher_input(1)
INPUTS = {TEACHER: Input("abc", "/models/t.pt"), DATA: Input("def", "/data/d.yaml")}


def test_the_same_models_and_data_pass_in_every_folder(tmp_path, capsys):
    record_inputs(tmp_path, INPUTS)
    check_inputs(tmp_path, {name: Input(entry.digest, "/elsewhere") for name, entry in INPUTS.items()})
    assert read_inputs(tmp_path) == INPUTS and capsys.readouterr().out == ""


@pytest.mark.parametrize("names", [[TEACHER], [DATA], [TEACHER, DATA]])
def test_a_changed_input_is_named_with_what_to_do(names, tmp_path):
    record_inputs(tmp_path, INPUTS)
    current = INPUTS | {name: Input("other", f"/now/{name}") for name in names}
    with pytest.raises(FGDError, match=r"put back the originals, or start a new run$") as error:
        check_inputs(tmp_path, current)
    for name in INPUTS:
        assert (f" {name} (then {INPUTS[name].description}; now /now/{name})" in str(error.value)) == (name in names)
    assert read_inputs(tmp_path) == INPUTS, "a changed input is not recorded"


def test_a_new_input_is_recorded_and_checked_from_then_on(tmp_path):
    record_inputs(tmp_path, {DATA: INPUTS[DATA]})
    check_inputs(tmp_path, {TEACHER: INPUTS[TEACHER]})
    assert read_inputs(tmp_path) == INPUTS
    with pytest.raises(FGDError, match="another teacher"):
        check_inputs(tmp_path, {TEACHER: Input("other", "")})


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b'{"data": {}}', b'{"data": 3}', bytes(range(256))])
def test_missing_or_damaged_inputs_are_reported_and_written_again(content, tmp_path, capsys):
    if content is not None:
        (tmp_path / "inputs.json").write_bytes(content)
    check_inputs(tmp_path, INPUTS)
    assert "inputs.json is missing or damaged" in capsys.readouterr().out
    assert json.loads((tmp_path / "inputs.json").read_text())[DATA] == {"digest": "def", "description": "/data/d.yaml"}


def test_the_digest_of_a_file_depends_on_its_content(tmp_path):
    (tmp_path / "teacher.pt").write_bytes(b"teacher")
    assert file_input(tmp_path / "teacher.pt").digest == sha256(b"teacher").hexdigest()
    with pytest.raises(FGDError, match=r"none\.pt cannot be read \(No such file or directory\): put it back"):
        file_input(tmp_path / "none.pt")


def test_the_message_about_a_changed_input_is_one_line(tmp_path):
    record_inputs(tmp_path, INPUTS)
    with pytest.raises(FGDError) as error:
        check_inputs(tmp_path, {DATA: Input("other", "/data/d.yaml")})
    assert "\n" not in one_line(error.value)
