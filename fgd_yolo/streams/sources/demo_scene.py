"""`test://`: the scene of the demo video, drawn live at a camera's pace, with its ground truth."""

from __future__ import annotations

import math
import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

import cv2
import numpy as np

from fgd_yolo.demo.demo_video import paint_frame, random_crossings, static_background
from fgd_yolo.demo.rendering import Canvas, add_noise, lighting, sensor_noise
from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.runtime.pixel_budget import PixelBudget, StreamBudget
from fgd_yolo.streams.address import show_address
from fgd_yolo.streams.sources.source import SourceEnded, SourceFrame

_ROUND_S = 60  # after so long the scene starts again, with new ids
_MIN_FPS, _MAX_FPS = 0.5, 240  # a camera that is silent for longer than two seconds soon counts as lost
_MAX_DRAWN_PIXELS = 1920 * 1080  # a larger scene is drawn at an integer fraction of its size, each pixel repeated
_RANDOM_STREAM = 3  # the dataset and the demo video use 0 to 2
_OPTIONS = ("fps", "size", "seconds", "seed")


def check(address: str, budget: PixelBudget) -> None:
    """Refuse wrong options; see `parse_scene`."""
    parse_scene(address)


def open_source(address: str, share: StreamBudget, timeout_s: float) -> SceneSource:
    """Open a scene by its address; see `SceneSource`."""
    return SceneSource(address, share)


class SceneOptions(NamedTuple):
    """The options of `test://?fps=15&size=640x480&seconds=10&seed=0`; without `seconds` it never ends."""

    fps: float = 15.0
    width_px: int = 640
    height_px: int = 480
    seconds: float | None = None
    seed: int = 0


def parse_scene(address: str) -> SceneOptions:
    """Parse the options of a `test://` address.

    Raises:
        UsageError: an unknown option or an invalid value.
    """
    place, _, query = address.partition("://")[2].partition("?")
    if place.strip("/"):
        raise UsageError(f"'{show_address(address)}': test:// takes options only, such as test://?fps=15&size=640x480")
    options = SceneOptions()
    for key, value in parse_qsl(query, keep_blank_values=True):
        try:
            options = options._replace(**_option(key, value))
        except ValueError:
            hint = f"try fps=15 (from {_MIN_FPS:g} to {_MAX_FPS}), size=640x480"
            raise UsageError(f"'{show_address(address)}': invalid {key} '{value}'; {hint}") from None
    return options


def _option(key: str, value: str) -> dict[str, float]:
    if key not in _OPTIONS:
        guess = close_match(key, _OPTIONS)
        raise UsageError(f"unknown option '{key}' of test://{guess} (choose from {', '.join(_OPTIONS)})")
    if key == "size":
        width, height = map(int, value.lower().split("x"))
        return {"width_px": _within(width, 32, 4096), "height_px": _within(height, 32, 4096)}
    if key == "seed":
        return {"seed": _within(int(value), 0, 2**63)}
    if key == "fps":
        return {"fps": _within(float(value), _MIN_FPS, _MAX_FPS)}
    return {"seconds": _within(float(value), 0.1, 1e9)}


def _within(value, low, high):
    if not low <= value <= high:
        raise ValueError
    return value


class _Scene:
    """Everything that a scene's frames are drawn from: some 40 bytes per pixel, so a large scene is drawn smaller."""

    def __init__(self, options: SceneOptions):
        rng = np.random.default_rng([options.seed, _RANDOM_STREAM])
        self.size = options.width_px, options.height_px
        self.factor = math.ceil(math.sqrt(options.width_px * options.height_px / _MAX_DRAWN_PIXELS))
        width, height = (-(-side // self.factor) for side in self.size)
        self.background = static_background(rng, width, height)
        self.signs = random_crossings(rng, _ROUND_S, width, height)
        self.light, self.noise = lighting(rng, height, width), sensor_noise(rng, height + 64, width + 64)

    def paint(self, time_s: float) -> tuple[np.ndarray, list[dict[str, object]]]:
        """Return the radiance and the ground truth at one instant."""
        rounds, within_s = divmod(time_s, _ROUND_S)
        canvas = Canvas(self.background.copy())
        truth = paint_frame(canvas, self.signs, within_s)
        for sign in truth:
            sign["id"] += int(rounds) * len(self.signs)
            sign["xyxy"] = tuple(
                min(side * self.factor, limit) for side, limit in zip(sign["xyxy"], 2 * self.size, strict=True)
            )
        return canvas.image, truth

    def expose(self, radiance: np.ndarray, index: int) -> np.ndarray:
        """Return the frame (H, W, 3) that a camera makes of it."""
        down, right = index * 29 % 64, index * 43 % 64  # another part of the noise for each frame
        height, width = radiance.shape[:2]
        image = add_noise(radiance * self.light, self.noise[down : down + height, right : right + width])
        if self.factor == 1:
            return image
        large = (width * self.factor, height * self.factor)
        width, height = self.size
        return np.ascontiguousarray(cv2.resize(image, large, interpolation=cv2.INTER_NEAREST)[:height, :width])


_scene = lru_cache(maxsize=2)(_Scene)


def scene_truth(address: str, pts: float) -> list[dict[str, object]]:
    """Return the objects on the frame of a `test://` address with this `pts`, as in the demo video's `truth.json`."""
    return _scene(parse_scene(address)).paint(pts)[1]


class SceneSource:
    """Draws a frame whenever one is due; a reader that is late gets the newest one, as from a camera."""

    live = True

    def __init__(self, address: str, share: StreamBudget):
        self._options, self._share = parse_scene(address), share
        share.check(self._options.width_px, self._options.height_px)
        self.fps = self._options.fps
        self._scene = _scene(self._options)
        self._start = time.monotonic()
        self._index = -1

    def read(self) -> SourceFrame:
        passed_s = time.monotonic() - self._start
        self._index = max(self._index + 1, int(passed_s * self.fps))
        pts = self._index / self.fps
        if self._options.seconds is not None and pts >= self._options.seconds:
            raise SourceEnded
        time.sleep(max(0.0, pts - passed_s))
        arrived = time.monotonic()
        image = self._scene.expose(self._scene.paint(pts)[0], self._index)
        return SourceFrame(image, arrived, time.monotonic(), pts)

    def close(self) -> None:
        self._share.release()
