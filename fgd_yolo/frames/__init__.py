"""Frames without labels: gathered from folders, lists and videos, near-duplicates dropped, linked in the cache.

- `gather`: reads all sources and fills a folder. `frame_files`: the files behind a path. `video_samples`: frames of
  a video at equal times. `pictures`: one frame after the other, from images and videos. `interval`: that time as text.
- `frame_folder`: the folder, and what is known about each frame.
- `held_out`: frames that are not trained on. `leak`: frames that are also validated on.

Labels beside an image are never opened.
"""

from __future__ import annotations

from fgd_yolo.frames.frame_folder import FrameCounts, Frames, read_frames
from fgd_yolo.frames.gather import gather_frames
from fgd_yolo.frames.held_out import hold_out
from fgd_yolo.frames.interval import parse_interval
from fgd_yolo.frames.leak import refuse_leak

__all__ = ["FrameCounts", "Frames", "gather_frames", "hold_out", "parse_interval", "read_frames", "refuse_leak"]
