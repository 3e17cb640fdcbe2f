"""`test://`: the demo video's scene, drawn live at a camera's pace, with its truth."""

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
from fgd_yolo.runtime.pixel_budget import StreamBudget
from fgd_yolo.streams.address import show_address
from fgd_yolo.streams.sources.source import SourceEnded, SourceFrame

_ROUND_S = 60  # after so long the scene begins again, with new ids
_LEAST_FPS, _MOST_FPS = 0.5, 240  # a camera that is silent for longer than two seconds soon counts as lost
_DRAWN_PIXELS = 1920 * 1080  # a larger scene is drawn at a whole fraction of its size, and each pixel repeated
_STREAM = 3  # of random numbers: the data set and the demo video use 0 to 2


class SceneOptions(NamedTuple):
    """What `test://?fps=15&size=640x480&seconds=10&seed=0` says; without `seconds` it never ends."""

    fps: float = 15.0
    width_px: int = 640
    height_px: int = 480
    seconds: float | None = None
    seed: int = 0


def parse_scene(address: str) -> SceneOptions:
    """Read the options of a `test://` address.

    Raises:
        UsageError: an unknown option or a value that makes no sense.
    """
    place, _, query = address.partition("://")[2].partition("?")
    if place.strip("/"):
        raise UsageError(f"'{show_address(address)}': test:// takes options only, such as test://?fps=15&size=640x480")
    options = SceneOptions()
    for key, value in parse_qsl(query, keep_blank_values=True):
        try:
            options = options._replace(**_option(key, value))
        except ValueError:
            hint = f"try fps=15 (from {_LEAST_FPS:g} to {_MOST_FPS}), size=640x480"
            raise UsageError(f"'{show_address(address)}': {key} cannot be '{value}'; {hint}") from None
    return options


def _option(key: str, value: str) -> dict[str, float]:
    known = ("fps", "size", "seconds", "seed")
    if key not in known:
        raise UsageError(f"test:// has no option '{key}'{close_match(key, known)}; it has {', '.join(known)}")
    if key == "size":
        width, height = map(int, value.lower().split("x"))
        return {"width_px": _within(width, 32, 4096), "height_px": _within(height, 32, 4096)}
    if key == "seed":
        return {"seed": _within(int(value), 0, 2**63)}
    if key == "fps":
        return {"fps": _within(float(value), _LEAST_FPS, _MOST_FPS)}
    return {"seconds": _within(float(value), 0.1, 1e9)}


def _within(value, low, high):
    if not low <= value <= high:
        raise ValueError
    return value


class _Film:
    """Everything that a scene's frames are drawn from: some 40 bytes a pixel, so a large scene is drawn smaller."""

    def __init__(self, options: SceneOptions):
        rng = np.random.default_rng([options.seed, _STREAM])
        self.size = options.width_px, options.height_px
        self.factor = math.ceil(math.sqrt(options.width_px * options.height_px / _DRAWN_PIXELS))
        width, height = (-(-side // self.factor) for side in self.size)
        self.background = static_background(rng, width, height)
        self.signs = random_crossings(rng, _ROUND_S, width, height)
        self.light, self.noise = lighting(rng, height, width), sensor_noise(rng, height + 64, width + 64)

    def paint(self, time_s: float) -> tuple[np.ndarray, list[dict[str, object]]]:
        """Return the radiance and the truth of one instant."""
        rounds, within_s = divmod(time_s, _ROUND_S)
        canvas = Canvas(self.background.copy())
        truth = paint_frame(canvas, self.signs, within_s)
        for found in truth:
            found["id"] += int(rounds) * len(self.signs)
            found["xyxy"] = tuple(
                min(side * self.factor, most) for side, most in zip(found["xyxy"], 2 * self.size, strict=True)
            )
        return canvas.image, truth

    def expose(self, radiance: np.ndarray, index: int) -> np.ndarray:
        down, right = index * 29 % 64, index * 43 % 64  # another cut of the noise for each frame
        height, width = radiance.shape[:2]
        picture = add_noise(radiance * self.light, self.noise[down : down + height, right : right + width])
        if self.factor == 1:
            return picture
        large = (width * self.factor, height * self.factor)
        width, height = self.size
        return np.ascontiguousarray(cv2.resize(picture, large, interpolation=cv2.INTER_NEAREST)[:height, :width])


_film = lru_cache(maxsize=2)(_Film)


def scene_truth(address: str, pts: float) -> list[dict[str, object]]:
    """Return what is on the frame of a `test://` address that has this `pts`, as in the demo video's `truth.json`."""
    return _film(parse_scene(address)).paint(pts)[1]


class SceneSource:
    """Draws a frame whenever one is due; a reader that comes late gets the newest one, as from a camera."""

    live = True

    def __init__(self, address: str, share: StreamBudget):
        self._options, self._share = parse_scene(address), share
        share.check(self._options.width_px, self._options.height_px)
        self.fps = self._options.fps
        self._film = _film(self._options)
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
        image = self._film.expose(self._film.paint(pts)[0], self._index)
        return SourceFrame(image, arrived, time.monotonic(), pts)

    def close(self) -> None:
        self._share.release()
