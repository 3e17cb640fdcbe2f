"""Files that are no detector, contradict themselves, or were prepared for other pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.metadata import read_info
from file_metadata import DETECT, IMAGE, NMS, POSE, PROTOTYPES, read, spec, without


@pytest.mark.parametrize("channels", [5, 5 + 12, 5 + 7, None])
def test_keypoint_shapes_that_could_be_either_are_refused(channels):
    with pytest.raises(FGDError, match="does not say its keypoints"):
        read(without("kpt_shape", metadata=POSE), spec(1, channels, 252))


@pytest.mark.parametrize(
    ("metadata", "outputs", "complaint"),
    [
        ({**DETECT, "task": "classify"}, [spec(1, 3)], "it is a classify model, and this reads detect"),
        ({**DETECT, "task": "semantic"}, [spec(1, 3, 96, 128)], "it is a semantic model"),
        ({**DETECT, "task": "depth"}, [spec(1, 1, 252)], "it is a depth model"),
        ({}, [spec(1, 1000)], "its outputs are 1 x 1000 float32"),
        ({}, [spec(1, 25200, 85)], "class names are missing, and its output is 1 x 25200 x 85"),
        ({}, [spec(1, 4, 252)], "class names are missing"),
        ({}, [spec(None, None, None)], "class names are missing, and its output is . x . x ."),
        ({}, [], "its outputs are"),
        (DETECT, [spec(1, 7, 252)] * 2, "its outputs are 1 x 7 x 252 float32, 1 x 7 x 252"),
        (DETECT, [spec(1, 84, 252)], "task detect with 3 classes needs columns of 7 numbers, and its output is 1 x 84"),
        (DETECT, [spec(1, 300, 7)], "needs columns of 7 numbers"),
        ({**DETECT, **NMS}, [spec(1, 300, 7)], "needs rows of 6 numbers"),
        ({**DETECT, "task": "obb"}, [spec(1, 7, 252)], "task obb with 3 classes needs columns of 8 numbers"),
        (POSE, [spec(1, 39, 252)], "needs columns of 56 numbers"),
        (DETECT, [spec(1, 39, 252), PROTOTYPES], "said to be a detect model, but its outputs are"),
        ({**DETECT, "task": "segment"}, [spec(1, 39, 252)], "said to be a segment model"),
        (without("task"), [spec(1, 20, 252)], "its task is not said"),
    ],
)
def test_a_file_that_is_no_detector_or_contradicts_itself_is_refused(metadata, outputs, complaint):
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
        ([spec(1, 1, 96, 128)], "its input has 1 channels"),
        ([spec(1, 96, 128, 3)], "its input has 96 channels"),
    ],
)
def test_an_input_that_is_no_colour_picture_is_refused(inputs, complaint):
    with pytest.raises(FGDError, match=complaint):
        read_info(DETECT, inputs, [spec(1, 7, 252)])


BYTES = spec(None, 96, 128, 3, dtype=np.uint8)
PREPARED = {"input": "uint8", "layout": "NHWC", "channels": "BGR", "scale": 1, "padding": 114}


def ours(**preprocessing) -> dict[str, str]:
    return {**DETECT, "fgd_yolo": json.dumps({"version": "0.1.0", "preprocessing": preprocessing})}


def test_a_file_that_takes_bytes_is_read():
    info, notes = read(ours(**PREPARED), spec(None, 7, 252), image=BYTES)
    assert (info.uint8_input, info.dtype, info.imgsz, info.batch) == (True, np.uint8, (96, 128), None)
    assert notes == []


@pytest.mark.parametrize("claim", [{}, {"preprocessing": 3}, {"preprocessing": {"input": "uint8"}}])
def test_bytes_of_unknown_colour_order_are_refused(claim):
    with pytest.raises(FGDError, match="in which order the colours are"):
        read({**DETECT, "fgd_yolo": json.dumps(claim)}, spec(None, 7, 252), image=BYTES)


@pytest.mark.parametrize("strange", [{"channels": "RGB"}, {"layout": "NCHW"}, {"padding": 0}, {"scale": "x"}])
def test_another_preparation_is_refused(strange):
    with pytest.raises(FGDError, match=f"does not know \\({next(iter(strange))} "):
        read(ours(**{**PREPARED, **strange}), spec(None, 7, 252), image=BYTES)


def test_a_float_file_of_ours_is_read_and_one_with_another_scale_refused():
    floats = {"input": "float32", "layout": "NCHW", "channels": "RGB", "padding": 114}
    assert read(ours(**floats, scale=0.00392157), spec(1, 7, 252))[1] == []
    with pytest.raises(FGDError, match=r"does not know \(scale 1\)"):
        read(ours(**floats, scale=1), spec(1, 7, 252))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_our_own_metadata_damaged_is_refused(text):
    with pytest.raises(FGDError, match="'fgd_yolo' is damaged"):
        read({**DETECT, "fgd_yolo": text}, spec(1, 7, 252))


def test_names_cannot_steer_the_terminal():
    strange = "{0: 'red\\x1b[31m', 1: 'two\\nlines', 2: '\\ud800 Zelle'}"
    info, notes = read({**DETECT, "names": strange}, spec(1, 7, 252))
    assert notes == []
    assert info.names == {0: "red?[31m", 1: "two?lines", 2: "? Zelle"}


@pytest.mark.parametrize("image", [spec(1, 3, 0, 128), spec(0, 3, 96, 128)])
def test_an_input_without_room_for_a_picture_is_refused(image):
    with pytest.raises(FGDError, match="and a detector's is a batch of pictures"):
        read(DETECT, spec(1, 7, 252), image=image)
