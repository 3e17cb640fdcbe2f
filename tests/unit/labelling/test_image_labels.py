"""The numbers of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgd_yolo.labelling import ImageLabels, LabelledObject, label_numbers

BOX = (0.5, 0.4, 0.2, 0.6)


def image(*objects: tuple[int, float]) -> ImageLabels:
    return ImageLabels(Path("a.jpg"), 10, 20, tuple(LabelledObject(number, score, BOX) for number, score in objects))


def test_numbers_count_images_objects_and_scores():
    labels = [image((2, 0.9), (0, 0.5)), image(), image((2, 0.7)), image((1, 0.09))]
    numbers = label_numbers(labels, above=0.1)
    assert (numbers.images, numbers.with_objects, numbers.objects) == (4, 2, {0: 1, 2: 2})
    assert label_numbers(labels, above=0.09).with_objects == 3, "the score itself counts"
    assert numbers.scores == pytest.approx((0.5, 0.6, 0.7, 0.8, 0.9))
    names = {0: "car", 1: "bus", 2: "person"}
    assert numbers.text(names) == "objects on 2 of 4 images: 2 person, 1 car; median score 0.70"


def test_without_objects_there_are_no_scores():
    numbers = label_numbers([image(), image()])
    assert numbers == (2, 0, {}, ())
    assert numbers.text({}) == "objects on 0 of 2 images: none"


def test_the_edges_of_a_box():
    np.testing.assert_allclose(LabelledObject(0, 1.0, BOX).xyxy, [0.4, 0.1, 0.6, 0.7])
