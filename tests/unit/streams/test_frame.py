import av
import numpy as np

from fgd_yolo.streams.frame import Frame
from stream_parts import make_frame


def decoder_frame(side=16):
    rows = np.zeros((side, side, 3), np.uint8)
    rows[..., 2] = 255  # red
    return av.VideoFrame.from_ndarray(rows, format="bgr24").reformat(format="yuv420p")


def test_a_decoders_frame_is_converted_to_bgr():
    image = Frame("door", 0, decoder_frame(), 0.0, 0.0, None).image()
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8
    blue, green, red = image[8, 8]
    assert red > 240 and blue < 10 and green < 10


def test_a_frame_is_converted_once_and_the_decoders_frame_is_released():
    frame = Frame("door", 0, decoder_frame(), 0.0, 0.0, None)
    assert frame.image() is frame.image()
    assert isinstance(frame.pixels, np.ndarray)


def test_frames_of_changing_size_and_format_are_converted_as_by_pyav():
    random = np.random.default_rng(0)
    for side, layout in ((64, "yuv420p"), (32, "yuv422p"), (64, "yuv420p"), (48, "gray"), (64, "yuvj420p")):
        frame = av.VideoFrame.from_ndarray(random.integers(0, 255, (side, 64, 3), np.uint8), format="bgr24")
        frame = frame.reformat(format=layout)
        expected = frame.to_ndarray(format="bgr24")
        np.testing.assert_array_equal(Frame("door", 0, frame, 0.0, 0.0, None).image(), expected)


def test_a_bgr_frame_is_used_as_it_is():
    frame = make_frame()
    assert frame.image() is frame.pixels


def test_nbytes_is_the_memory_that_the_frame_currently_occupies():
    frame = Frame("door", 0, decoder_frame(64), 0.0, 0.0, None)
    assert frame.nbytes == 64 * 64 * 3 // 2
    frame.image()
    assert frame.nbytes == 64 * 64 * 3
