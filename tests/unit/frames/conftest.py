"""Images and videos of different views."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cameras.clips import write_frames


def draw_scene(seed: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """Return an image of (width, height) px; no two seeds show the same view."""
    random, (width, height) = np.random.default_rng(seed), size
    image = np.full((height, width, 3), 128, np.uint8)
    for _ in range(12):
        centre = int(random.integers(width)), int(random.integers(height))
        cv2.circle(image, centre, int(random.integers(4, 30)), random.integers(0, 255, 3).tolist(), cv2.FILLED)
    return image


@pytest.fixture
def scene():
    return draw_scene


@pytest.fixture
def save():
    """Save scenes in a folder as NAME by seed, and return the folder."""

    def save_scenes(folder: Path, **seeds: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, seed in seeds.items():
            path = folder / (name if "." in name else f"{name}.jpg")
            assert cv2.imwrite(str(path), draw_scene(seed))
        return folder

    return save_scenes


@pytest.fixture
def film():
    """Save a video of one scene for each second, at 10 frames per second, and return its path."""

    def save_film(path: Path, seconds: int, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        scenes = [draw_scene(1000 * seed + second, (128, 96)) for second in range(seconds)]
        return write_frames(path, (image for image in scenes for _ in range(10)), fps=10)

    return save_film
