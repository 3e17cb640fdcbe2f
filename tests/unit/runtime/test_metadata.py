from __future__ import annotations

import numpy as np
import pytest

from fgd_yolo.runtime.metadata import ModelInfo
from file_metadata import DETECT, NAMES, NMS, OPEN, POSE, PROTOTYPES, read, spec, without


def test_a_file_of_the_host_is_read_without_assuming_anything():
    info, notes = read(DETECT, spec(1, 7, 252))
    assert notes == []
    assert info == ModelInfo(
        task="detect",
        names=NAMES,
        stride=32,
        imgsz=(96, 128),
        batch=1,
        dynamic_size=False,
        decoded=False,
        embedded_nms=False,
        keypoint_shape=None,
        uint8_input=False,
        dtype=np.dtype("float32"),
    )


@pytest.mark.parametrize(
    ("metadata", "outputs"),
    [
        ({**DETECT, "task": "segment"}, [spec(1, 39, 252), PROTOTYPES]),
        ({**DETECT, "task": "segment"}, [spec(1, 23, 252), spec(1, 16, 24, 32)]),
        ({**DETECT, "task": "obb"}, [spec(1, 8, 252)]),
        (POSE, [spec(1, 56, 252)]),
        ({**DETECT, **NMS}, [spec(1, 300, 6)]),
        ({**DETECT, **NMS, "task": "segment"}, [spec(1, 300, 38), PROTOTYPES]),
        ({**DETECT, **NMS, "task": "obb"}, [spec(1, 300, 7)]),
        ({**POSE, **NMS}, [spec(1, 300, 57)]),
        ({**DETECT, "end2end": "True"}, [spec(1, 300, 6)]),
        (DETECT, [spec(None, None, None)]),
    ],
)
def test_every_task_and_form_of_the_host_is_read_without_assuming_anything(metadata, outputs):
    info, notes = read(metadata, *outputs)
    assert notes == []
    assert info.task == metadata["task"]
    assert info.keypoint_shape == ((17, 3) if info.task == "pose" else None)


@pytest.mark.parametrize(
    ("said", "decoded", "embedded"),
    [
        ({}, False, False),
        (NMS, True, True),
        ({"end2end": "True"}, True, False),
        ({"end2end": "True", **NMS}, True, False),
    ],
)
def test_raw_columns_end_to_end_rows_and_embedded_nms_are_told_apart(said, decoded, embedded):
    info, _ = read({**DETECT, **said}, spec(None, None, None))
    assert (info.decoded, info.embedded_nms) == (decoded, embedded)


def test_a_denied_end_to_end_counts_more_than_the_number_of_columns():
    assert not read(DETECT, spec(1, 7, 6))[0].decoded


def test_keypoints_of_another_task_are_ignored():
    assert read({**DETECT, "kpt_shape": "[17, 3]"}, spec(1, 7, 252))[0].keypoint_shape is None


def test_a_file_of_open_size_takes_its_size_from_the_metadata():
    info, notes = read(DETECT, spec(None, 7, None), image=OPEN)
    assert (info.batch, info.dynamic_size, info.imgsz, notes) == (None, True, (96, 128), [])
    assert read({**DETECT, "imgsz": "64"}, spec(None, 7, None), image=OPEN)[0].imgsz == (64, 64)


def test_the_size_of_the_input_counts_more_than_the_metadata():
    info, _ = read({**DETECT, "imgsz": "[640, 640]"}, spec(1, 7, 252))
    assert info.imgsz == (96, 128)
    half_open, _ = read(DETECT, spec(1, 7, None), image=spec(1, 3, 320, None))
    assert (half_open.imgsz, half_open.dynamic_size) == ((320, 128), False)


def test_half_precision_inputs_are_read():
    assert read(DETECT, spec(1, 7, 252), image=spec(1, 3, 96, 128, dtype=np.float16))[0].dtype == np.float16


def test_without_metadata_a_detector_is_read_and_everything_assumed_is_said():
    info, notes = read({}, spec(None, 7, 8400), image=OPEN)
    assert (info.task, info.names, info.stride, info.imgsz) == ("detect", {0: "0", 1: "1", 2: "2"}, 32, (640, 640))
    assert [note.split("'")[1] for note in notes] == ["stride", "task", "names", "imgsz"]
    assert all(" is missing in the file's metadata: " in note and "\n" not in note for note in notes)


@pytest.mark.parametrize(
    "damage",
    ["", "{0: 'RBC'", "__import__('os')", "[" * 5000, "-" * 100_000 + "1", "nan", "{'a': 1}", "()", "b'\\xff'"],
)
@pytest.mark.parametrize("key", ["names", "stride", "imgsz", "args", "end2end", "kpt_shape"])
def test_a_damaged_value_is_replaced_aloud_and_never_a_traceback(key, damage):
    info, notes = read({**DETECT, key: damage}, spec(None, 7, None), image=OPEN)
    expected = {"names": {0: "0", 1: "1", 2: "2"}, "stride": 32, "imgsz": (640, 640)}
    assert (info.task, info.decoded, info.keypoint_shape) == ("detect", False, None)
    if key in expected:
        assert getattr(info, key) == expected[key]
        assert len(notes) == 1
        assert notes[0].startswith(f"'{key}' ")


@pytest.mark.parametrize("value", ["0", "-32", "True", "1e9", "99999"])
def test_an_absurd_stride_is_replaced(value):
    info, notes = read({**DETECT, "stride": value}, spec(1, 7, 252))
    assert info.stride == 32
    assert notes == ["'stride' cannot be read in the file's metadata: 32 is taken"]


@pytest.mark.parametrize("value", ["[0, 64]", "[64]", "[64, 64, 64]", "[100, 64]", "'big'"])
def test_an_absurd_size_is_replaced(value):
    info, notes = read({**DETECT, "imgsz": value}, spec(None, 7, None), image=OPEN)
    assert info.imgsz == (640, 640)
    assert len(notes) == 1


@pytest.mark.parametrize(
    "value", ["['RBC', 'WBC', 3]", "{2: 3, 0: 'RBC', 1: 'WBC'}", "{'0': 'RBC', '1': 'WBC', '2': '3'}"]
)
def test_names_may_be_a_list_or_numbered_by_text_and_come_out_in_order(value):
    info, notes = read({**DETECT, "names": value}, spec(1, 7, 252))
    assert list(info.names.items()) == [(0, "RBC"), (1, "WBC"), (2, "3")]
    assert notes == []


def test_names_with_a_gap_are_replaced():
    assert read({**DETECT, "names": "{0: 'a', 2: 'b', 3: 'c'}"}, spec(1, 7, 252))[0].names == {0: "0", 1: "1", 2: "2"}


@pytest.mark.parametrize(
    ("metadata", "outputs", "task"),
    [
        (DETECT, [spec(1, 7, 252)], "detect"),
        (DETECT, [spec(1, 8, 252)], "obb"),
        (DETECT, [spec(1, 39, 252), PROTOTYPES], "segment"),
        (POSE, [spec(1, 56, 252)], "pose"),
        ({**DETECT, **NMS}, [spec(1, 300, 6)], "detect"),
        ({**DETECT, **NMS}, [spec(1, 300, 7)], "obb"),
    ],
)
def test_a_missing_task_is_told_from_the_shapes(metadata, outputs, task):
    info, notes = read(without("task", metadata=metadata), *outputs)
    assert info.task == task
    assert notes == [f"'task' is missing in the file's metadata: {task} is taken, from the shape of its outputs"]


def test_finished_rows_are_known_by_their_columns_where_nothing_tells():
    info, notes = read(without("end2end", "args"), spec(1, 300, 6))
    assert (info.decoded, info.embedded_nms) == (True, True)
    assert len(notes) == 1
    assert read(without("end2end", "args"), spec(1, 7, 252))[0].decoded is False


def test_finished_rows_without_names_have_no_names():
    info, notes = read({**without("names"), **NMS}, spec(1, 300, 6))
    assert info.names == {}
    assert notes == ["'names' is missing in the file's metadata: classes are shown by number"]


@pytest.mark.parametrize(("channels", "shape"), [(56, (17, 3)), (5 + 4, (2, 2)), (5 + 21, (7, 3))])
def test_missing_keypoint_shapes_are_taken_where_only_one_fits(channels, shape):
    info, notes = read(without("kpt_shape", metadata=POSE), spec(1, channels, 252))
    assert info.keypoint_shape == shape
    assert len(notes) == 1


def test_keypoints_of_four_numbers_are_replaced():
    info, notes = read({**POSE, "kpt_shape": "[17, 4]"}, spec(1, 56, 252))
    assert (info.keypoint_shape, len(notes)) == ((17, 3), 1)
