"""Files of any exporter are read; one that is not a detector or contradicts itself is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.preprocessing import UINT8_INPUT
from fgd_yolo.runtime.model_info import FGD_YOLO_KEY, PREPROCESSING_KEY, ModelInfo, read_model_info
from file_metadata import DETECT, IMAGE, NAMES, NMS, OPEN, POSE, PROTOTYPES, read, spec, without


def test_a_file_of_ultralytics_is_read_without_a_warning():
    info, warnings = read(DETECT, spec(1, 7, 252))
    assert warnings == []
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
        channels=3,
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
def test_every_task_and_form_of_ultralytics_is_read_without_a_warning(metadata, outputs):
    info, warnings = read(metadata, *outputs)
    assert warnings == []
    assert info.task == metadata["task"]
    assert info.keypoint_shape == ((17, 3) if info.task == "pose" else None)


@pytest.mark.parametrize(
    ("entries", "decoded", "embedded"),
    [
        ({}, False, False),
        (NMS, True, True),
        ({"end2end": "True"}, True, False),
        ({"end2end": "True", **NMS}, True, False),
    ],
)
def test_raw_columns_end_to_end_rows_and_embedded_nms_are_distinguished(entries, decoded, embedded):
    info, _ = read({**DETECT, **entries}, spec(None, None, None))
    assert (info.decoded, info.embedded_nms) == (decoded, embedded)


def test_end2end_false_takes_precedence_over_the_number_of_columns():
    assert not read(DETECT, spec(1, 7, 6))[0].decoded


def test_keypoints_of_another_task_are_ignored():
    assert read({**DETECT, "kpt_shape": "[17, 3]"}, spec(1, 7, 252))[0].keypoint_shape is None


def test_a_file_of_open_size_takes_its_size_from_the_metadata():
    info, warnings = read(DETECT, spec(None, 7, None), image=OPEN)
    assert (info.batch, info.dynamic_size, info.imgsz, warnings) == (None, True, (96, 128), [])
    assert read({**DETECT, "imgsz": "64"}, spec(None, 7, None), image=OPEN)[0].imgsz == (64, 64)


def test_the_size_of_the_input_takes_precedence_over_the_metadata():
    info, _ = read({**DETECT, "imgsz": "[640, 640]"}, spec(1, 7, 252))
    assert info.imgsz == (96, 128)
    half_open, _ = read(DETECT, spec(1, 7, None), image=spec(1, 3, 320, None))
    assert (half_open.imgsz, half_open.dynamic_size) == ((320, 128), False)


def test_half_precision_inputs_are_read():
    assert read(DETECT, spec(1, 7, 252), image=spec(1, 3, 96, 128, dtype=np.float16))[0].dtype == np.float16


def test_without_metadata_a_detector_is_read_and_every_inferred_value_is_reported():
    info, warnings = read({}, spec(None, 7, 8400), image=OPEN)
    assert (info.task, info.names, info.stride, info.imgsz) == ("detect", {0: "0", 1: "1", 2: "2"}, 32, (640, 640))
    assert [warning.split("'")[1] for warning in warnings] == ["stride", "task", "names", "imgsz"]
    assert all(" is missing in the file's metadata: " in warning and "\n" not in warning for warning in warnings)


@pytest.mark.parametrize(
    "damage",
    ["", "{0: 'RBC'", "__import__('os')", "[" * 5000, "-" * 100_000 + "1", "nan", "{'a': 1}", "()", "b'\\xff'"],
)
@pytest.mark.parametrize("key", ["names", "stride", "imgsz", "args", "end2end", "kpt_shape"])
def test_a_damaged_value_is_defaulted_with_a_warning_and_never_a_traceback(key, damage):
    info, warnings = read({**DETECT, key: damage}, spec(None, 7, None), image=OPEN)
    expected = {"names": {0: "0", 1: "1", 2: "2"}, "stride": 32, "imgsz": (640, 640)}
    assert (info.task, info.decoded, info.keypoint_shape) == ("detect", False, None)
    if key in expected:
        assert getattr(info, key) == expected[key]
        assert len(warnings) == 1
        assert warnings[0].startswith(f"'{key}' ")


@pytest.mark.parametrize("value", ["0", "-32", "True", "1e9", "99999"])
def test_an_impossible_stride_is_defaulted(value):
    info, warnings = read({**DETECT, "stride": value}, spec(1, 7, 252))
    assert info.stride == 32
    assert warnings == ["'stride' cannot be read in the file's metadata: using 32"]


@pytest.mark.parametrize("value", ["[0, 64]", "[64]", "[64, 64, 64]", "[100, 64]", "'big'"])
def test_an_impossible_size_is_defaulted(value):
    info, warnings = read({**DETECT, "imgsz": value}, spec(None, 7, None), image=OPEN)
    assert info.imgsz == (640, 640)
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "value", ["['RBC', 'WBC', 3]", "{2: 3, 0: 'RBC', 1: 'WBC'}", "{'0': 'RBC', '1': 'WBC', '2': '3'}"]
)
def test_names_may_be_a_list_or_numbered_by_text_and_come_out_in_order(value):
    info, warnings = read({**DETECT, "names": value}, spec(1, 7, 252))
    assert list(info.names.items()) == [(0, "RBC"), (1, "WBC"), (2, "3")]
    assert warnings == []


def test_names_with_a_gap_are_replaced_by_numbers():
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
def test_a_missing_task_is_inferred_from_the_shapes(metadata, outputs, task):
    info, warnings = read(without("task", metadata=metadata), *outputs)
    assert info.task == task
    assert warnings == [
        f"'task' is missing in the file's metadata: using {task}, inferred from the shape of its outputs"
    ]


def test_final_detections_are_recognised_by_their_columns_without_metadata():
    info, warnings = read(without("end2end", "args"), spec(1, 300, 6))
    assert (info.decoded, info.embedded_nms) == (True, True)
    assert len(warnings) == 1
    assert read(without("end2end", "args"), spec(1, 7, 252))[0].decoded is False


def test_final_detections_without_names_have_no_names():
    info, warnings = read({**without("names"), **NMS}, spec(1, 300, 6))
    assert info.names == {}
    assert warnings == ["'names' is missing in the file's metadata: classes are shown by number"]


@pytest.mark.parametrize(("channels", "shape"), [(56, (17, 3)), (5 + 4, (2, 2)), (5 + 21, (7, 3))])
def test_a_missing_keypoint_shape_is_inferred_if_only_one_fits(channels, shape):
    info, warnings = read(without("kpt_shape", metadata=POSE), spec(1, channels, 252))
    assert info.keypoint_shape == shape
    assert len(warnings) == 1


def test_a_keypoint_shape_of_four_numbers_is_replaced():
    info, warnings = read({**POSE, "kpt_shape": "[17, 4]"}, spec(1, 56, 252))
    assert (info.keypoint_shape, len(warnings)) == ((17, 3), 1)


@pytest.mark.parametrize("channels", [5, 5 + 12, 5 + 7, None])
def test_ambiguous_keypoint_shapes_are_refused(channels):
    with pytest.raises(FGDError, match="pose model without a keypoint shape"):
        read(without("kpt_shape", metadata=POSE), spec(1, channels, 252))


@pytest.mark.parametrize(
    ("metadata", "outputs", "complaint"),
    [
        ({**DETECT, "task": "classify"}, [spec(1, 3)], "it is a classify model; supported are detect"),
        ({**DETECT, "task": "semantic"}, [spec(1, 3, 96, 128)], "it is a semantic model"),
        ({**DETECT, "task": "depth"}, [spec(1, 1, 252)], "it is a depth model"),
        ({}, [spec(1, 1000)], "its outputs are 1 x 1000 float32"),
        ({}, [spec(1, 25200, 85)], "class names are missing, and its output is 1 x 25200 x 85"),
        ({}, [spec(1, 4, 252)], "class names are missing"),
        ({}, [spec(None, None, None)], "class names are missing, and its output is . x . x ."),
        ({}, [], "its outputs are"),
        (DETECT, [spec(1, 7, 252)] * 2, "its outputs are 1 x 7 x 252 float32, 1 x 7 x 252"),
        (DETECT, [spec(1, 84, 252)], "task detect with 3 classes needs columns of 7 numbers, but its output is 1 x 84"),
        (DETECT, [spec(1, 300, 7)], "needs columns of 7 numbers"),
        ({**DETECT, **NMS}, [spec(1, 300, 7)], "needs rows of 6 numbers"),
        ({**DETECT, "task": "obb"}, [spec(1, 7, 252)], "task obb with 3 classes needs columns of 8 numbers"),
        (POSE, [spec(1, 39, 252)], "needs columns of 56 numbers"),
        (DETECT, [spec(1, 39, 252), PROTOTYPES], "its task is detect, but its outputs are"),
        ({**DETECT, "task": "segment"}, [spec(1, 39, 252)], "its task is segment, but its outputs are"),
        (without("task"), [spec(1, 20, 252)], "its task is missing"),
    ],
)
def test_a_file_that_is_not_a_detector_or_contradicts_itself_is_refused(metadata, outputs, complaint):
    with pytest.raises(FGDError, match=complaint) as caught:
        read(metadata, *outputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ([], "it has 0 inputs"),
        ([IMAGE, spec(1, 2, name="sizes")], r"it has 2 inputs \(x, sizes\)"),
        ([spec(1, 96, 128)], "its input is 1 x 96 x 128 float32"),
        ([spec(1, 3, 96, 128, dtype=np.int64)], "its input is 1 x 3 x 96 x 128 int64"),
        ([spec(1, 96, 128, 3)], "its input has 96 channels .*, but its metadata has no 'channels'"),
    ],
)
def test_an_input_that_is_not_an_image_is_refused(inputs, complaint):
    with pytest.raises(FGDError, match=complaint):
        read_model_info(DETECT, inputs, [spec(1, 7, 252)])


@pytest.mark.parametrize(
    ("channels", "described", "expected"),
    [(1, "1", 1), (1, None, 1), (3, None, 3), (4, "4", 4), (10, "10", 10), (None, "4", 4), (None, None, 3)],
)
def test_the_number_of_channels_is_that_of_the_input_or_of_the_metadata(channels, described, expected):
    metadata = DETECT if described is None else {**DETECT, "channels": described}
    info, warnings = read(metadata, spec(1, 7, 252), image=spec(1, channels, 96, 128))
    assert (info.channels, warnings) == (expected, [])
    assert info.input_shape(2, (32, 64)) == (2, expected, 32, 64)


@pytest.mark.parametrize(("channels", "described"), [(3, 1), (1, 3), (4, 3), (3, 4)])
def test_metadata_that_contradicts_the_channels_of_the_input_is_refused(channels, described):
    numbers = f"its input has {channels} channels .*, but its metadata has 'channels' {described}"
    with pytest.raises(FGDError, match=numbers):
        read({**DETECT, "channels": str(described)}, spec(1, 7, 252), image=spec(1, channels, 96, 128))


BYTES = spec(None, 96, 128, 3, dtype=np.uint8)
PREPARED = {"input": "uint8", "layout": "NHWC", "channels": "BGR", "scale": 1, "padding": 114, "fit": "letterbox"}


def own_entry(**preprocessing) -> dict[str, str]:
    return {**DETECT, "fgd_yolo": json.dumps({"version": "0.1.0", "preprocessing": preprocessing})}


def test_the_format_that_the_export_writes_is_the_one_that_is_read():
    entry = {FGD_YOLO_KEY: json.dumps({PREPROCESSING_KEY: UINT8_INPUT._asdict()})}
    assert UINT8_INPUT._asdict() == PREPARED
    assert read({**DETECT, **entry}, spec(None, 7, 252), image=BYTES)[0].uint8_input


def test_a_file_with_uint8_input_is_read():
    info, warnings = read(own_entry(**PREPARED), spec(None, 7, 252), image=BYTES)
    assert (info.uint8_input, info.dtype, info.imgsz, info.batch) == (True, np.uint8, (96, 128), None)
    assert warnings == []


@pytest.mark.parametrize(("channels", "order"), [(1, "GRAY"), (4, "UNCHANGED")])
def test_uint8_input_of_other_channels_has_its_own_channel_order(channels, order):
    image, described = spec(None, 96, 128, channels, dtype=np.uint8), {"channels": str(channels)}
    info, _ = read({**own_entry(**{**PREPARED, "channels": order}), **described}, spec(1, 7, 252), image=image)
    assert (info.channels, info.input_shape(1, (96, 128))) == (channels, (1, 96, 128, channels))
    assert UINT8_INPUT.of_channels(channels)._asdict() == {**PREPARED, "channels": order}
    with pytest.raises(FGDError, match=r"does not support its preprocessing \(channels BGR\)"):
        read({**own_entry(**PREPARED), **described}, spec(1, 7, 252), image=image)


@pytest.mark.parametrize("entry", [{}, {"preprocessing": 3}, {"preprocessing": {"input": "uint8"}}])
def test_uint8_input_of_unknown_channel_order_is_refused(entry):
    with pytest.raises(FGDError, match="has no channel order"):
        read({**DETECT, "fgd_yolo": json.dumps(entry)}, spec(None, 7, 252), image=BYTES)


def test_an_rtdetr_is_recognized_by_its_head_and_takes_stretched_images():
    head = {"head": "RTDETRDecoder"}
    info, warnings = read({**DETECT, **head}, spec(1, 300, 6))
    assert (info.rtdetr, info.decoded, info.embedded_nms, warnings) == (True, True, False, [])
    assert not read(DETECT, spec(1, 7, 252))[0].rtdetr
    assert read({**own_entry(**{**PREPARED, "fit": "stretch"}), **head}, spec(1, 300, 6), image=BYTES)[0].rtdetr
    with pytest.raises(FGDError, match=r"does not support its preprocessing \(fit stretch\)"):
        read(own_entry(**{**PREPARED, "fit": "stretch"}), spec(None, 7, 252), image=BYTES)


@pytest.mark.parametrize("strange", [{"channels": "RGB"}, {"layout": "NCHW"}, {"padding": 0}, {"scale": "x"}])
def test_other_preprocessing_is_refused(strange):
    with pytest.raises(FGDError, match=f"does not support its preprocessing \\({next(iter(strange))} "):
        read(own_entry(**{**PREPARED, **strange}), spec(None, 7, 252), image=BYTES)


def test_a_float_file_of_fgd_yolo_is_read_and_one_with_another_scale_refused():
    floats = {"input": "float32", "layout": "NCHW", "channels": "RGB", "padding": 114}
    assert read(own_entry(**floats, scale=0.00392157), spec(1, 7, 252))[1] == []
    with pytest.raises(FGDError, match=r"does not support its preprocessing \(scale 1\)"):
        read(own_entry(**floats, scale=1), spec(1, 7, 252))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_damaged_metadata_of_fgd_yolo_is_refused(text):
    with pytest.raises(FGDError, match="'fgd_yolo' is damaged"):
        read({**DETECT, "fgd_yolo": text}, spec(1, 7, 252))


def test_names_cannot_control_the_terminal():
    strange = "{0: 'red\\x1b[31m', 1: 'two\\nlines', 2: '\\ud800 Zelle'}"
    info, warnings = read({**DETECT, "names": strange}, spec(1, 7, 252))
    assert warnings == []
    assert info.names == {0: "red?[31m", 1: "two?lines", 2: "? Zelle"}


@pytest.mark.parametrize("image", [spec(1, 3, 0, 128), spec(0, 3, 96, 128)])
def test_an_input_of_size_zero_is_refused(image):
    with pytest.raises(FGDError, match="expected a batch of images"):
        read(DETECT, spec(1, 7, 252), image=image)
