import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.drawing import class_colour

NAMES = {0: "cell", 1: "a name that is much longer than the box of its object"}


def detections(shape, box, label=0, **extra):
    return Detections(np.float32([box]), np.float32([0.5]), np.array([label]), NAMES, shape, **extra)


def changed(before, after):
    return (before != after).any(axis=2)


@pytest.mark.parametrize("height", [60, 480, 3000])
def test_a_box_is_drawn_in_its_class_colour_with_its_caption_above(height):
    image = np.full((height, height, 3), 90, np.uint8)
    low, high = round(height * 0.4), round(height * 0.8)
    drawn = detections(image.shape[:2], [low, low, high, high]).draw(image)
    middle = round(height * 0.6)
    for y, x in ((middle, low), (middle, high), (high, middle)):
        assert drawn[y, x].tolist() == list(class_colour(0))
    marked = changed(image, drawn)
    margin = max(3, height // 100)
    assert not marked[low + margin : high - margin, low + margin : high - margin].any()
    assert marked[:low, low:high].any() and not marked[high + margin :].any()
    assert (image == 90).all()


def test_lines_and_text_grow_with_the_image():
    def drawn_fraction(height):
        image = np.full((height, height, 3), 90, np.uint8)
        box = np.array([0.2, 0.4, 0.8, 0.8]) * height
        return changed(image, detections(image.shape[:2], box).draw(image)).mean()

    assert 0.5 < drawn_fraction(4000) / drawn_fraction(800) < 2


@pytest.mark.parametrize("box", [[0, 0, 20, 20], [180, 0, 200, 12], [190, 90, 200, 100], [0, 0, 200, 100]])
def test_a_caption_stays_inside_the_image(box):
    image = np.full((100, 200, 3), 90, np.uint8)
    drawn = detections((100, 200), box).draw(image)
    strip = (drawn == class_colour(0)).all(axis=2)
    assert strip.sum() > 300 and drawn.shape == image.shape


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (40, 3)])
def test_images_too_small_for_a_caption_are_drawn_on_too(shape):
    image = np.zeros((*shape, 3), np.uint8)
    drawn = detections(shape, [0, 0, shape[1], shape[0]], label=1).draw(image)
    assert drawn.shape == image.shape and drawn.any()


def test_a_mask_is_blended_so_that_the_image_shows_through():
    image = np.random.default_rng(0).integers(0, 200, (100, 100, 3), dtype=np.uint8)
    masks = np.zeros((1, 100, 100), bool)
    masks[0, 50:70, 50:70] = True
    drawn = detections((100, 100), [40, 40, 90, 90], mask=masks).draw(image)
    expected = image[50:70, 50:70] * 0.6 + np.array(class_colour(0)) * 0.4
    assert np.abs(drawn[50:70, 50:70] - expected).max() <= 1
    assert (drawn[72:85, 50:70] == image[72:85, 50:70]).all()


def test_invisible_keypoints_are_not_drawn():
    image = np.full((100, 100, 3), 90, np.uint8)
    keypoints = np.float32([[[50, 60, 0.9], [80, 60, 0.1]]])
    drawn = detections((100, 100), [30, 30, 95, 95], keypoints=keypoints).draw(image)
    assert drawn[60, 50].tolist() == [255, 255, 255] and drawn[60, 80].tolist() == [90, 90, 90]
    drawn = detections((100, 100), [30, 30, 95, 95], keypoints=keypoints[..., :2]).draw(image)
    assert drawn[60, 80].tolist() == [255, 255, 255]


def test_a_rotated_box_is_drawn_rotated():
    image = np.full((200, 200, 3), 90, np.uint8)
    rotated = np.float32([[100, 120, 80, 40, np.pi / 4]])
    drawn = detections((200, 200), [57, 77, 143, 163], xywhr=rotated).draw(image)
    marked = changed(image, drawn)
    assert (
        marked[148, 128] and not marked[161, 141] and not marked[120, 100]
    )  # side, corner of the enclosing box, centre


def test_classes_have_different_constant_colours():
    colours = [class_colour(label) for label in range(80)]
    assert len(set(colours)) == 80 and class_colour(np.int64(3)) == colours[3]
    distances = [np.abs(np.subtract(colours[a], colours[b])).max() for a in range(8) for b in range(a)]
    assert min(distances) > 40


def test_grey_images_are_drawn_on_in_colour():
    drawn = detections((50, 50), [10, 10, 40, 40]).draw(np.full((50, 50), 90, np.uint8))
    assert drawn.shape == (50, 50, 3)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(FGDError, match=r"of 50 x 50 pixels on an image of 200 x 100"):
        detections((50, 50), [1, 1, 9, 9]).draw(np.zeros((100, 200, 3), np.uint8))
