"""A mask must survive the way through one polygon and Ultralytics' drawing of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ultralytics.data.utils import polygon2mask

from fgd_yolo.demo.outlines import mask_outline
from fgd_yolo.demo.rendering import render_scene


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def drawn(mask: np.ndarray) -> np.ndarray:
    """Return what Ultralytics draws from the label of a mask: fractions with six decimals, read as float32."""
    height, width = mask.shape
    fractions = np.round(mask_outline(mask) / (width, height), 6).astype(np.float32)
    return polygon2mask((height, width), [(fractions * np.float32([width, height])).ravel()]).astype(bool)


@pytest.mark.parametrize(
    "mask",
    [
        mask_of("....", ".#..", "...."),
        mask_of("####", "####", "####"),
        mask_of("#....", ".#...", "..##.", "..##."),  # parts that meet at corners only
        mask_of("..#..", ".###.", "#####", ".###.", "..#.."),
        mask_of("####", "#..#", "##..", "####"),  # a hole that is open at a corner
        mask_of("######", "#.##.#", "######", "#..#.#", "######"),  # several holes
    ],
)
def test_a_mask_of_one_part_is_drawn_exactly(mask):
    np.testing.assert_array_equal(drawn(np.pad(mask, 2)), np.pad(mask, 2))
    np.testing.assert_array_equal(drawn(mask), mask)


def test_the_outline_is_the_edge_of_the_pixels_a_fiftieth_inside():
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3:9] = True
    corners = {(3.02, 2.02), (8.98, 2.02), (8.98, 4.98), (3.02, 4.98)}
    assert set(map(tuple, np.round(mask_outline(mask), 6))) == corners


def test_two_parts_are_joined_by_one_line_of_pixels():
    mask = mask_of("####......####", "####......####", "####......####", "####......####")
    added = drawn(mask) & ~mask
    assert (drawn(mask) | ~mask).all()
    assert added.sum() == 6
    assert len(set(np.nonzero(added)[0])) == 1


def test_a_part_smaller_than_its_bridge_is_left_out():
    mask = mask_of("####......##", "####......##", "####........", "####........")
    np.testing.assert_array_equal(drawn(mask), mask & (np.arange(12) < 4))


def test_an_island_in_a_hole_is_drawn():
    mask = np.zeros((40, 40), dtype=np.uint8)
    cv2.circle(mask, (20, 20), 18, 1, 4)
    cv2.circle(mask, (20, 20), 9, 1, -1)
    mask = mask.astype(bool)
    assert (drawn(mask) | ~mask).all()
    assert 0 < (drawn(mask) & ~mask).sum() <= 8


@pytest.mark.parametrize("side_px", [96, 160])
def test_every_visible_part_of_the_scenes_is_drawn_exactly_but_for_bridges(side_px):
    """An object of one part is exact. Between separate parts, `fillPoly` paints the bridge, which costs up to a tenth
    of the overlap, and a quarter for the smallest objects; parts left out cost less than their bridge would."""
    overlaps, pixels = [], []
    for seed in range(60):
        scene = render_scene(np.random.default_rng(seed), side_px)
        for layer in scene.object_layers:
            mask = scene.layers == layer
            same = drawn(mask)
            if cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] == 2:  # background and one part
                np.testing.assert_array_equal(same, mask)
            else:
                pixels.append(mask.sum())
                overlaps.append((same & mask).sum() / (same | mask).sum())
    assert len(overlaps) > 10
    assert min(overlaps) > 0.75
    assert min(overlap for overlap, count in zip(overlaps, pixels, strict=True) if count > 100) > 0.9
    assert np.mean(overlaps) > 0.97
