"""The table of the tasks: for each step of the way and each task, the test that takes it for real.

A step is available for a task if a test is named here: on tiny models and drawn images, but with real trainings, files
and commands. A test collects all of them, so none can be missing, renamed or skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

TASKS = ("detect", "segment", "pose", "obb")
AVAILABLE, MISSING = "✓", "not available"

_TASKS = "tests/integration/test_tasks.py"
_WAY = "tests/integration/test_whole_way.py::test_a_student_of_each_task_is_distilled_resumed_measured_exported_and_run"
_TEACHERS = "tests/integration/test_task_teachers.py"
_CHANNELS = (
    "tests/integration/test_task_channels.py::"
    "test_a_student_is_distilled_exported_and_streamed_on_images_of_any_channels"
)
_FORMS = "tests/integration/test_export_forms.py"
_RUN = "tests/integration/test_distill_run.py"
_CHANNEL_RUNS = "tests/integration/test_channels.py::test_a_run_of_other_channels_goes_from_the_teacher_to_pictures"
_PARITY = "tests/integration/test_detector_parity.py::test_yolov8_files_give_the_objects_of_ultralytics"


def _for_all(test: str) -> dict[str, str]:
    """Return the tests of a step whose test has the task as its parameter."""
    return {task: f"{test}[{task}]" for task in TASKS}


def _for_others(test: str, detect: str, suffix: str = "") -> dict[str, str]:
    """Return the tests of a step that has a test of its own for detect."""
    return {"detect": detect} | {task: f"{test}[{task}{suffix}]" for task in TASKS[1:]}


FEATURES: dict[str, dict[str, str]] = {
    "a teacher is trained on the data first": _for_all(
        f"{_TEACHERS}::test_a_teacher_without_weights_is_trained_on_the_data_first"
    ),
    "preflight: the run stops below the lowest mAP": _for_all(
        f"{_TEACHERS}::test_a_teacher_below_the_minimum_stops_the_run"
    ),
    "distillation of features and of every term of the head": _for_all(
        f"{_TASKS}::test_a_student_of_each_task_is_trained_by_the_trainer_of_its_task"
    ),
    "resume": _for_others(
        _WAY,
        "tests/integration/test_distill_resume.py::test_a_run_killed_while_it_writes_a_checkpoint_resumes_from_the_one_before",
    ),
    "table at the end, with the mAP of the task": _for_others(
        _WAY, f"{_RUN}::test_the_table_has_teacher_and_student_with_every_column"
    ),
    "export to fp32, checked against PyTorch": _for_all(f"{_FORMS}::test_raw_outputs"),
    "export to fp16": _for_all(f"{_FORMS}::test_half_precision_keeps_float_inputs_and_outputs"),
    "export to int8, with the mAP it costs": _for_others(
        _WAY, "tests/integration/test_int8.py::test_a_trained_detector_keeps_its_accuracy_in_int8"
    ),
    "`OnnxDetector`: the objects of Ultralytics": {task: f"{_PARITY}[{task}-raw]" for task in TASKS},
    "`predict`: drawn images and JSON": _for_others(_WAY, f"{_RUN}::test_the_printed_export_and_predict_commands_work"),
    "`stream`": {task: f"{_CHANNELS}[{task}-3]" for task in TASKS},
    "`visualize`: pictures of attention": _for_all(
        f"{_TEACHERS}::test_the_attention_of_a_teacher_and_its_student_is_drawn"
    ),
    "`compare`": _for_others(
        "tests/integration/test_compare_tasks.py::test_methods_are_compared_by_the_accuracy_of_the_task",
        "tests/integration/test_compare.py::test_methods_train_under_equal_conditions_and_a_killed_comparison_resumes",
    ),
    "teachers that know some of the classes": _for_all(
        f"{_TEACHERS}::test_two_teachers_that_know_some_classes_each_teach_a_student"
    ),
    "several teachers": _for_all(f"{_TEACHERS}::test_two_teachers_that_know_some_classes_each_teach_a_student"),
    "a teacher of another task": _for_all(
        f"{_TEACHERS}::test_a_teacher_of_another_task_teaches_a_student_what_both_predict"
    ),
    "images of one channel": _for_others(_CHANNELS, f"{_CHANNEL_RUNS}[1]", "-1"),
    "images of four channels": _for_others(_CHANNELS, f"{_CHANNEL_RUNS}[4]", "-4"),
}
"""Steps of the way, as the table words them, with the node id of the test for each task that has one."""


def rows() -> Iterator[list[str]]:
    """Return the rows of the table: the step, and a mark for each task."""
    for feature, tests in FEATURES.items():
        yield [feature, *(AVAILABLE if task in tests else MISSING for task in TASKS)]
