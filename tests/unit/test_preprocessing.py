import cv2
import numpy as np
import pytest
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.utils import ops

from fgd_yolo.preprocessing import letterbox, place, rotated_to_image, stretch, to_image, to_planes

SIZES = [(480, 640), (640, 480), (333, 777), (97, 101), (1, 1), (1, 300), (3000, 1), (2, 3), (320, 320), (1000, 301)]
SIZES += [(799, 800), (500, 40), (161, 320), (101, 1000)]
SIZES += [tuple(int(side) for side in pair) for pair in np.random.default_rng(0).integers(1, 900, (150, 2))]


def noise(shape, channels=3):
    return np.random.default_rng(1).integers(0, 256, (*shape, channels), dtype=np.uint8)


@pytest.mark.parametrize("canvas", [(320, 320), (96, 160), (224, 64)])
def test_a_fixed_canvas_is_ultralytics_to_the_pixel(canvas):
    for shape in SIZES:
        image = noise(shape)
        result = letterbox(image, place(shape, canvas))
        expected = LetterBox(canvas)(image=image)
        assert result.shape == (*canvas, 3) and np.array_equal(result, expected), shape


@pytest.mark.parametrize(("canvas", "stride"), [((320, 320), 32), ((320, 320), 64), ((96, 160), 32)])
def test_a_canvas_of_minimal_padding_is_ultralytics_to_the_pixel(canvas, stride):
    for shape in SIZES:
        image = noise(shape)
        result = letterbox(image, place(shape, canvas, stride))
        expected = LetterBox(canvas, auto=True, stride=stride)(image=image)
        assert np.array_equal(result, expected), shape


def test_a_stretched_image_is_ultralytics_to_the_pixel_and_points_go_back_by_a_gain_for_each_axis():
    canvas = (96, 160)
    for shape in SIZES:
        image = noise(shape)
        placement = stretch(shape, canvas)
        expected = LetterBox(canvas, scale_fill=True)(image=image)
        assert np.array_equal(letterbox(image, placement), expected), shape
        corners = to_image(np.array([[0, 0], [80, 24], [200, 96]], np.float32), placement)
        height, width = shape
        np.testing.assert_allclose(corners, [[0, 0], [width / 2, height / 4], [width, height]], rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 4, 10])
def test_a_canvas_of_other_channels_is_ultralytics_to_the_pixel(channels):
    for shape in ((480, 640), (97, 101), (1, 300), (320, 320), (1000, 301)):
        image = noise(shape, channels)
        expected = LetterBox((96, 160))(image=image)
        assert expected.shape == (96, 160, channels)
        assert np.array_equal(letterbox(image, place(shape, (96, 160))), expected), shape


@pytest.mark.parametrize("channels", [1, 2, 4, 10])
def test_planes_of_other_channels_keep_their_order(channels):
    canvas = noise((64, 96), channels)
    result = to_planes(canvas, np.empty((1, channels, 64, 96), np.float32))
    for channel in range(channels):  # divided in float32, as by Ultralytics
        assert np.array_equal(result[0, channel], canvas[..., channel].astype(np.float32) / np.float32(255))


def test_planes_are_those_of_ultralytics_bit_for_bit():
    canvas = noise((64, 96))
    rgb = torch.from_numpy(canvas)[None].permute(0, 3, 1, 2).contiguous().flip(1)
    for dtype, expected in ((np.float32, rgb.float()), (np.float16, rgb.half())):
        result = to_planes(canvas, np.empty((1, 3, 64, 96), dtype))
        assert result.dtype == dtype and np.array_equal(result, expected.div_(255).numpy())


def test_a_given_canvas_is_overwritten_completely():
    dirty = np.full((320, 320, 3), 7, np.uint8)
    for shape in ((100, 320), (320, 101)):
        placement = place(shape, (320, 320))
        image = noise(shape)
        painted = letterbox(image, placement, dirty)
        assert painted is dirty and np.array_equal(dirty, letterbox(image, placement))


@pytest.mark.parametrize("stride", [None, 32])
def test_points_come_back_as_in_ultralytics(stride):
    random = np.random.default_rng(2)
    for shape in SIZES:
        placement = place(shape, (320, 224), stride)
        boxes = random.uniform(-40, 400, (20, 4)).astype(np.float32)
        expected = ops.scale_boxes(placement.canvas, torch.from_numpy(boxes.copy()), shape).numpy()
        result = to_image(boxes.reshape(-1, 2, 2), placement).reshape(-1, 4)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3, err_msg=str(shape))
        expected = ops.scale_coords(placement.canvas, torch.from_numpy(boxes[None].copy()), shape).numpy()[0, :, :2]
        np.testing.assert_allclose(to_image(boxes[:, :2], placement), expected, rtol=0, atol=1e-3, err_msg=str(shape))


def test_rotated_boxes_come_back_as_in_ultralytics_and_may_reach_over_the_border():
    random = np.random.default_rng(3)
    for shape in SIZES:
        placement = place(shape, (320, 320))
        boxes = random.uniform(-40, 400, (20, 5)).astype(np.float32)
        result = rotated_to_image(boxes, placement)
        expected = ops.scale_boxes((320, 320), torch.from_numpy(boxes[:, :4].copy()), shape, xywh=True).numpy()
        np.testing.assert_allclose(result[:, :4], expected, rtol=1e-6, atol=1e-3, err_msg=str(shape))
        assert np.array_equal(result[:, 4], boxes[:, 4])
    outside = rotated_to_image(np.float32([[-10, -10, 400, 8, 1]]), place((480, 640), (320, 320)))
    np.testing.assert_allclose(outside, [[-20, -100, 800, 16, 1]])


def test_a_mark_on_the_image_comes_back_to_its_position():
    image = np.zeros((700, 1200, 3), np.uint8)
    cv2.circle(image, (900, 200), 12, (255, 255, 255), -1)
    placement = place((700, 1200), (320, 320))
    bright = np.argwhere(letterbox(image, placement)[..., 0] > 180)
    y, x = bright.mean(axis=0) + 0.5  # the centre of a pixel
    point = to_image(np.array([x, y], np.float32), placement)
    np.testing.assert_allclose(point, [900.5, 200.5], atol=1.0)
